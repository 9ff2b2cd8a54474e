"""Cut models of several architectures, lowered: ONNX Runtime computes what torch does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import execute
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program, random_feeds
from support.oracle import relative_error

# float32 through two layers, with other kernels and another order of sums.
ROUNDING = 1e-4
CUT = ("ffn-channel", "kv-group", "head", "expert", "expert-channel", "conv-channel", "qk-dim")


@pytest.mark.parametrize(
    "name",
    [
        "gemma2",
        "gpt2",
        "mixtral",
        "deepseek-v2",  # its rotary tables are complex, and gathered after a cut
        "falcon-new",
        "vit",
        "resnet",
        "t5",
    ],
)
def test_onnx_runtime_agrees_with_torch_on_the_cut_model(name: str, tmp_path: Path) -> None:
    program = architecture_program(name, torch.float32)
    coupling = find_structures(program)
    kept = {s: max(s.least, s.size // 2) for s in coupling.of_kind(*CUT)}
    after = cut_program(program, coupling, {s.atom: np.arange(n) for s, n in kept.items()})
    export_onnx(after, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    for past in (0, 3):
        feeds = random_feeds(after.main, past=past)
        wanted = execute(after, feeds)
        taken = {i.name for i in session.get_inputs()}
        found = session.run(list(wanted), {n: t.numpy() for n, t in feeds.items() if n in taken})
        for (port, value), other in zip(wanted.items(), found, strict=True):
            assert relative_error(torch.from_numpy(other), value) < ROUNDING, port
