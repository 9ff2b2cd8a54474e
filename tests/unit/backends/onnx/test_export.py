"""What stands in the exported files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch

from prunec.backends.onnx import OnnxError, OnnxReport, export_onnx, lower
from prunec.passes.ir import Program
from support.models import small_program
from support.uneven import narrow_value_program, uneven_program

ELEMENTS = {  # of the model's own tensors; the others are integers
    torch.float32: ir.DataType.FLOAT,
    torch.float16: ir.DataType.FLOAT16,
    torch.bfloat16: ir.DataType.BFLOAT16,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OnnxReport]:
    path = tmp_path_factory.mktemp("exported") / "decoder.onnx"
    return path, export_onnx(small_program(), path)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(small_program, id="even-float32"),
        pytest.param(lambda: small_program(torch.bfloat16), id="even-bfloat16"),
        pytest.param(lambda: narrow_value_program(torch.float16), id="narrow-float16"),
        pytest.param(lambda: uneven_program(torch.bfloat16), id="uneven-bfloat16"),
    ],
)
def test_ports_keep_names_labels_and_types(program: Callable[[], Program], tmp_path: Path) -> None:
    entry = program().main
    path = tmp_path / "model.onnx"
    report = export_onnx(program(), path)
    onnx.checker.check_model(str(path))
    graph = ir.load(path).graph
    assert report.node_count == len(graph)
    assert report.size_bytes == sum(f.stat().st_size for f in tmp_path.iterdir())
    for values, ports in (
        (graph.inputs, entry.inputs),
        (graph.outputs, entry.outputs),
    ):
        assert [v.name for v in values] == [p.name for p in ports]
        for value, port in zip(values, ports, strict=True):
            assert [d if isinstance(d, int) else str(d) for d in value.shape] == list(port.shape)
            assert value.dtype == ELEMENTS.get(port.dtype, ir.DataType.INT64)


def test_the_graph_has_the_high_level_operators_and_nothing_unread(
    exported: tuple[Path, OnnxReport],
) -> None:
    graph = ir.load(exported[0]).graph
    kinds = Counter(node.op_type for node in graph)
    assert kinds["Attention"] == 2
    assert kinds["RotaryEmbedding"] == 4
    assert kinds["RMSNormalization"] == 5
    assert kinds["Expand"] == kinds["Slice"] == kinds["Neg"] == 0
    assert {node.domain for node in graph} == {""}
    assert all(len(n.outputs) == 1 for n in graph if n.op_type == "Attention")
    assert all(n.inputs[1].const_value is not None for n in graph if n.op_type == "Reshape")
    assert all(value.uses() for value in graph.initializers.values())
    assert all(v.uses() or v.is_graph_output() for n in graph for v in n.outputs)


def test_each_weight_is_stored_once(exported: tuple[Path, OnnxReport]) -> None:
    tensors = [v.const_value for v in ir.load(exported[0]).graph.initializers.values()]
    stored = sorted(t.nbytes for t in tensors if t is not None and t.dtype != ir.DataType.INT64)
    weights = small_program().weights.values()
    assert stored == sorted(w.numel() * w.element_size() for w in weights)


def test_weights_lie_beside_the_graph_under_its_final_name(
    exported: tuple[Path, OnnxReport],
) -> None:
    path, _ = exported
    assert sorted(f.name for f in path.parent.iterdir()) == ["decoder.onnx", "decoder.onnx.data"]
    tensors = [v.const_value for v in ir.load(path).graph.initializers.values()]
    places = {t.location for t in tensors if isinstance(t, ir.ExternalTensor)}
    assert places == {"decoder.onnx.data"}


def test_the_report_says_what_was_done(exported: tuple[Path, OnnxReport]) -> None:
    report = exported[1]
    assert report.seconds.keys() == {"rewrite", "translate", "tidy", "write", "check"}
    assert report.rewritten["share_key_value_heads"] == 2


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("before")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ir, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export_onnx(small_program(), path)
    assert path.read_text() == "before"
    assert [f.name for f in tmp_path.iterdir()] == ["model.onnx"]


def test_an_operator_without_a_translation_of_its_own_is_decomposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it was traced the graph has casts that the exporter knows only decomposed.
    monkeypatch.setattr(lower, "normalise", lambda draft: None)
    monkeypatch.setattr(lower, "REWRITES", ())
    path = tmp_path / "model.onnx"
    export_onnx(small_program(), path)
    onnx.checker.check_model(str(path))
    assert "Cast" in {node.op_type for node in ir.load(path).graph}


def test_an_operator_without_translation_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise torch.onnx.OnnxExporterError("no function for aten.mystery")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(OnnxError, match=r"aten\.mystery"):
        export_onnx(small_program(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
