"""Loops, also one inside another, say that they go on."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from prunec.backends.onnx import export_experts
from prunec.backends.onnx.state_loop_conditions import state_loop_conditions
from prunec.passes.contract import Context
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ir.Model:
    folder: Path = tmp_path_factory.mktemp("refit")
    context = Context(calibration=random_tokens(3, 9))
    export_experts(SelectExperts(refit="prompt").apply(small_program(), context), folder)
    return ir.load(folder / "prefill.onnx")


def loops(graph: ir.Graph) -> list[ir.Node]:
    found = [node for node in graph if node.op_type == "Loop"]
    return found + [inner for node in found for inner in loops(node.attributes["body"].as_graph())]


def test_a_written_model_states_every_condition(model: ir.Model) -> None:
    found = loops(model.graph)
    assert len(found) == 2 * 2  # of each layer, the elimination and its inverse inside
    assert all(node.inputs[1] is not None for node in found)
    assert state_loop_conditions(model) == 0


def test_a_condition_that_is_missing_is_one_that_holds(model: ir.Model) -> None:
    for node in loops(model.graph):
        node.replace_input_with(1, None)
    assert state_loop_conditions(model) == 4
    for node in loops(model.graph):
        stated = node.inputs[1]
        assert stated is not None
        producer = stated.producer()
        assert producer is not None
        assert producer.attributes["value"].as_tensor().numpy().item() is True
        assert producer.graph is node.graph
