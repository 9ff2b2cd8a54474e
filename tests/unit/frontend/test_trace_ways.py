"""Each way to trace is tried in order, and what each met is kept for whoever asks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import prunec.frontend
from prunec.frontend.export import ExportError, program_from_exported, trace_config, trace_module
from prunec.frontend.tracing.errors import TracerError
from prunec.frontend.tracing.ways import WAYS, first_that_works
from prunec.passes.ir import Program, execute
from support.architectures import random_feeds, random_model, traced_architecture
from support.configs.untraceable import NOT_TRACEABLE
from support.models import small_program
from support.oracle import relative_error

FRONTEND = Path(prunec.frontend.__file__).resolve().parent
ONLY_IN_PYTHON = re.compile(
    r"trace_module|\.eval\(\)|torch\.[a-z]|run_decompositions|example inputs|in the model|your"
)
OPEN_BATCH = ({0: Dim.DYNAMIC},)


def failing(*errors: ExportError | None) -> tuple[list[int], Callable[[int], Program]]:
    """What was tried, and a trace that raises the error of its way."""
    seen: list[int] = []

    def trace(way: int) -> Program:
        seen.append(way)
        if (error := errors[way]) is not None:
            raise error
        return small_program()

    return seen, trace


def test_ways_are_tried_in_order_until_one_works() -> None:
    seen, trace = failing(ExportError("a"), TracerError("b"), None, None)
    assert first_that_works(range(4), trace) is not None
    assert seen == [0, 1, 2]


def test_a_refused_graph_tells_more_than_a_trace_that_stopped() -> None:
    _, trace = failing(TracerError("stopped"), ExportError("refused"), ExportError("again"))
    with pytest.raises(ExportError, match=r"^refused$") as raised:
        first_that_works(range(3), trace)
    assert raised.value.tried == (("0", "stopped"), ("1", "refused"), ("2", "again"))


def test_the_first_stop_is_told_where_no_way_gave_a_graph() -> None:
    _, trace = failing(TracerError("first"), TracerError("second"))
    with pytest.raises(ExportError, match=r"^first$"):
        first_that_works(range(2), trace)


def test_every_way_of_a_model_is_named_once_with_its_reason() -> None:
    with pytest.raises(ExportError) as refused:
        trace_config(NOT_TRACEABLE["mamba"][0]())
    assert [way for way, _ in refused.value.tried] == [str(way) for way in WAYS]
    assert len({str(way) for way in WAYS}) == len(WAYS)
    assert all(reason for _, reason in refused.value.tried)


class Mapped(nn.Module):
    """Calls a function for each row: the tracer keeps the calls, a decomposition spells it out."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.vmap(lambda row: torch.where(row > 0, row, 2 * row))(x)


def test_a_mapped_function_is_decomposed() -> None:
    x = torch.randn(4, 5)
    program = trace_module(Mapped().eval(), (x,), OPEN_BATCH)
    for rows in (x, torch.randn(7, 5)):
        assert torch.equal(execute(program, {"x": rows})["output"], Mapped()(rows))


def test_a_graph_that_needs_no_decomposition_is_taken_as_traced() -> None:
    plain, decomposed = (
        {str(node.target) for node in traced_architecture(name)[1].main.graph.nodes}
        for name in ("gemma3", "gemma3-bidirectional")
    )
    spelled_out = "aten._to_copy.default"
    assert spelled_out in decomposed
    assert spelled_out not in plain


def test_a_mask_made_by_a_mapped_function_equals_the_model() -> None:
    name = "gemma3-bidirectional"
    model, program = random_model(name), traced_architecture(name)[1]
    feeds = random_feeds(program.main, new=9, past=0)
    mask = feeds["attention_mask"]
    with torch.no_grad():
        wanted = model(input_ids=feeds["input_ids"], attention_mask=mask).logits
    found = execute(program, feeds)["logits"]
    assert relative_error(found[mask.bool()], wanted[mask.bool()]) < 1e-5
    # A token sees those behind it.
    feeds["input_ids"] = feeds["input_ids"].clone()
    feeds["input_ids"][1, -1] = 5 if feeds["input_ids"][1, -1] != 5 else 6
    assert not torch.allclose(execute(program, feeds)["logits"][1, -3], found[1, -3])


class Lookahead(nn.Module):
    """Writes to a part of a view that another value shows, with one size for two inputs."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = x.clone()
        shown = h.view(-1)
        h[:, 0].add_(y[: x.shape[0], 0])
        return shown * 2


def test_claims_about_sizes_do_not_stop_a_decomposition() -> None:
    x, y = torch.randn(4, 5), torch.randn(4, 5)
    exported = torch.export.export(
        Lookahead(), (x, y), dynamic_shapes=({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC})
    )
    exported._guards_code = ["nowhere.size()[0] <= 100"]
    program = program_from_exported(exported)
    assert torch.equal(execute(program, {"x": x, "y": y})["output"], Lookahead()(x, y))


def reasons() -> Iterator[tuple[str, str]]:
    """(where, the text) of the reason of every error that the frontend's source raises."""
    for path in FRONTEND.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and _name(call.func).endswith("Error") and call.args:
                parts = [c.value for c in ast.walk(call.args[0]) if isinstance(c, ast.Constant)]
                yield f"{path.name}:{call.lineno}", " ".join(p for p in parts if isinstance(p, str))


def _name(function: ast.expr) -> str:
    return getattr(function, "id", getattr(function, "attr", ""))


def test_what_only_python_can_do_is_kept_apart_from_the_reason() -> None:
    found = list(reasons())
    assert len(found) > 20
    assert [(where, text) for where, text in found if ONLY_IN_PYTHON.search(text)] == []
