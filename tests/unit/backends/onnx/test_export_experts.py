"""A folder with both models of a prompt's choice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import onnxruntime
import pytest
import torch

from prunec.backends.experts import (
    MANIFEST,
    ExpertsError,
    ExpertsManifest,
    has_experts,
    read_experts,
)
from prunec.backends.onnx import export_experts
from prunec.backends.ort import fold_cache
from prunec.passes.contract import Context
from prunec.passes.ir import Program, ProgramError, cast
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program

PROGRAM = SelectExperts().apply(small_program(), Context())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experts")
    export_experts(PROGRAM, folder)
    return folder


def weights(path: Path) -> dict[str, tuple[str, int]]:
    """Where each weight of a model lies, by its name."""
    found = ((v.name, v.const_value) for v in ir.load(path).graph.initializers.values())
    return {str(n): (t.location, t.offset) for n, t in found if isinstance(t, ir.ExternalTensor)}


def test_what_both_models_read_is_written_once(folder: Path) -> None:
    prefill, decode = weights(folder / "prefill.onnx"), weights(folder / "decode.onnx")
    shared = prefill.keys() & decode.keys()
    assert {"lm_head.weight", "model.layers.0.self_attn.q_proj.weight"} <= shared
    assert all(prefill[name] == decode[name] for name in shared)
    stored = sum(w.nbytes for w in PROGRAM.weights.values())
    padding = 4096 * len({*prefill.values(), *decode.values()})
    assert (folder / "weights.data").stat().st_size < stored + padding
    names = {file.name for file in folder.iterdir()}
    assert names == {"prefill.onnx", "decode.onnx", "weights.data", MANIFEST}


def test_onnx_runtime_opens_both(folder: Path) -> None:
    for name in ("prefill.onnx", "decode.onnx"):
        session = onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        assert session.get_outputs()[0].name == "logits"


def test_the_manifest_ties_one_step_to_the_next(folder: Path) -> None:
    found = read_experts(folder)
    assert found == ExpertsManifest.of(PROGRAM, ".onnx")
    assert has_experts(folder)
    assert found.cache["present.0.key"] == "past_key_values.0.key"
    assert len(found.cache) == 4
    assert len(found.experts) == 6
    given = {p.name: (p.shape, p.dtype) for p in found.entries["prefill"].outputs}
    taken = {p.name: (p.shape, p.dtype) for p in found.entries["decode"].inputs}
    assert all(given[out] == taken[into] for out, into in found.experts.items())
    assert [(c["units"], c["count"]) for c in found.chosen] == [(96, 48)] * 2
    assert (found.choices, found.is_refitted) == ("shared", False)


def test_the_manifest_tells_what_a_choice_is() -> None:
    step = SelectExperts(per_sequence=True, refit="prompt")
    context = Context(calibration=random_tokens(3, 9))
    found = ExpertsManifest.of(step.apply(small_program(), context), ".engine")
    assert (found.choices, found.is_refitted) == ("per-sequence", True)
    assert found.entries["decode"].file == "decode.engine"


def test_a_rewrite_is_applied_to_both(tmp_path: Path) -> None:
    report = export_experts(PROGRAM, tmp_path, rewrites=(fold_cache,))
    assert {name: r["fold_cache"] for name, r in report.rewritten.items()} == {
        "prefill": 2,
        "decode": 2,
    }
    assert report.size_bytes == sum(f.stat().st_size for f in tmp_path.iterdir())


def test_a_program_with_one_entry_point_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="run select-experts on it"):
        export_experts(small_program(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failed_export_leaves_what_was_there(folder: Path) -> None:
    before = {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}

    def fail(model: ir.Model) -> int:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        export_experts(PROGRAM, folder, rewrites=(fail,))
    assert {f.name: f.stat().st_mtime_ns for f in folder.iterdir()} == before


def test_a_folder_that_lacks_something_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ExpertsError, match=r"has no experts\.json"):
        read_experts(tmp_path)
    text = (folder / MANIFEST).read_text()
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ExpertsError, match=r"lacks prefill\.onnx, decode\.onnx"):
        read_experts(tmp_path)
    for damaged in ("{", text.replace('"format": 1', '"format": 9'), text.replace("cache", "x")):
        (tmp_path / MANIFEST).write_text(damaged)
        with pytest.raises(ExpertsError, match="is no manifest of two models"):
            read_experts(tmp_path)


def test_the_length_of_the_context_is_that_of_the_model() -> None:
    program: Program = replace(PROGRAM, origin={"max_position_embeddings": 77})
    assert ExpertsManifest.of(program, ".onnx").context_length == 77


def test_a_repaired_matrix_has_the_precision_that_decode_reads(tmp_path: Path) -> None:
    context = Context(calibration=random_tokens(3, 9))
    program = cast(SelectExperts(refit="prompt").apply(small_program(), context), torch.bfloat16)
    export_experts(program, tmp_path)
    outputs = {v.name: v for v in ir.load(tmp_path / "prefill.onnx").graph.outputs}
    inputs = {v.name: v for v in ir.load(tmp_path / "decode.onnx").graph.inputs}
    parts = [name for name in inputs if str(name).startswith("experts.")]
    assert {outputs[n].dtype for n in parts} == {inputs[n].dtype for n in parts}
    assert {inputs[n].dtype for n in parts} == {ir.DataType.BFLOAT16}
