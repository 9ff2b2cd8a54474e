"""Programs of many architectures as ONNX: ONNX Runtime against torch, on the same inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.passes.ir import Entry, Role, execute
from support.architectures import ARCHITECTURES, architecture_program, random_feeds
from support.oracle import relative_error

# float32 through two layers in two libraries; transforms of Fourier are the worst with 2e-5.
ROUNDING = 1e-4
# One or two for each thing that the lowering treats in a way of its own.
EVERY_RUN = (
    "llama", "mistral-sliding", "gemma2", "falcon-mqa", "bloom", "mpt", "mixtral", "deepseek-v2",
    "bert", "modernbert", "swin", "resnet", "t5", "whisper", "clip",
)  # fmt: skip
NAMES = [n if n in EVERY_RUN else pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES]


def open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def steps(entry: Entry) -> list[dict[str, torch.Tensor]]:
    """Inputs of several sizes: from no past, of one token, of one row."""
    sizes = (
        [(9, 0, 2), (1, 11, 2), (5, 7, 1)] if entry.ports(Role.CACHE)[0] else [(9, 0, 2), (5, 0, 1)]
    )
    return [random_feeds(entry, new, new=new, past=past, batch=b) for new, past, b in sizes]


def real(value: torch.Tensor, feeds: dict[str, torch.Tensor]) -> torch.Tensor:
    """The values of a text's tokens without those of its padding, which mean nothing."""
    if "attention_mask" not in feeds or value.shape[:2] != feeds["input_ids"].shape:
        return value
    return value[feeds["attention_mask"][:, -value.shape[1] :].bool()]


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_agrees_with_torch(name: str, tmp_path: Path) -> None:
    program = architecture_program(name, torch.float32)
    export_onnx(program, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    for feeds in steps(program.main):
        values = session.run(None, {k: np.ascontiguousarray(v) for k, v in feeds.items()})
        for (output, expected), value in zip(execute(program, feeds).items(), values, strict=True):
            found = torch.from_numpy(value)
            assert relative_error(real(found, feeds), real(expected, feeds)) < ROUNDING, output


@pytest.mark.parametrize("name", ["llama", "clip", "t5"])
def test_inputs_and_outputs_are_labelled_like_the_ports(name: str, tmp_path: Path) -> None:
    program = architecture_program(name, torch.float32)
    export_onnx(program, tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    for values, ports in (
        (session.get_inputs(), program.main.inputs),
        (session.get_outputs(), program.main.outputs),
    ):
        assert [(v.name, tuple(v.shape)) for v in values] == [(p.name, p.shape) for p in ports]


@pytest.mark.parametrize(
    ("name", "rewrite", "count"),
    [
        ("deepseek-v2", "spell_out_complex", 10),
        ("falcon-mqa", "share_key_value_heads", 2),
        ("falcon-mqa", "fuse_rotary_embedding", 4),
        ("modernbert", "fuse_rotary_embedding", 0),
    ],
)
def test_rewrites_apply_where_they_can(name: str, rewrite: str, count: int, tmp_path: Path) -> None:
    report = export_onnx(architecture_program(name, torch.float32), tmp_path / "model.onnx")
    assert report.rewritten[rewrite] == count
