"""Weights are read by the names of placeholders, whatever order a mapping lists them in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from prunec.backends.onnx.draft import Draft
from prunec.backends.onnx.to_exported import to_exported
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import (
    Entry,
    Program,
    ProgramError,
    Role,
    execute,
    load_program,
    save_program,
    verify,
)
from prunec.passes.ir.digest import digest_program
from prunec.passes.ir.shapes import copy_graph
from support.builder import Builder, aten


def two_inputs() -> Program:
    """Left and right go through matrices of one shape, so that any mix-up runs."""
    b = Builder(Random(0), is_dynamic=False, width=4)
    left = b.add_input("left.x", Role.OTHER, (3, 4), torch.float64)
    right = b.add_input("right.x", Role.OTHER, (3, 4), torch.float64)
    for name in ("first", "second"):
        left = b.call(aten.linear.default, left, b.parameter(name, 4, 4))
    right = b.call(aten.linear.default, right, b.parameter("third", 4, 4))
    b.add_output("y", b.call(aten.sub.Tensor, left, right), Role.OTHER, (3, 4))
    return b.finish()


PROGRAM = two_inputs()
FEEDS = {
    name: torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    for seed, name in enumerate(("left.x", "right.x"))
}


def with_main(program: Program, **changes: object) -> Program:
    return replace(program, entries={"main": replace(program.main, **changes)})  # type: ignore[arg-type]


def listed_backwards() -> Program:
    return with_main(PROGRAM, reads=dict(reversed(PROGRAM.main.reads.items())))


def test_two_equal_mappings_give_the_same_outputs() -> None:
    other = listed_backwards()
    assert other.main.reads == PROGRAM.main.reads
    verify(other)
    assert torch.equal(execute(other, FEEDS)["y"], execute(PROGRAM, FEEDS)["y"])


def test_two_equal_mappings_are_one_program_to_all_who_read_it() -> None:
    other = listed_backwards()
    assert digest_program(other) == digest_program(PROGRAM)
    names = [[s.name for s in find_structures(p).structures] for p in (PROGRAM, other)]
    assert names[0] == names[1]
    specs = [
        [(spec.arg.name, spec.target) for spec in to_exported(draft).graph_signature.input_specs]
        for draft in (Draft.of(PROGRAM), Draft.of(other))
    ]
    assert specs[0] == specs[1]


def test_a_stored_program_is_read_by_names(tmp_path: Path) -> None:
    for name, program in (("one", PROGRAM), ("other", listed_backwards())):
        save_program(program, tmp_path / name)
    assert (tmp_path / "one/program.json").read_text() == (
        tmp_path / "other/program.json"
    ).read_text()
    document = json.loads((tmp_path / "one/program.json").read_text())
    reads = document["entries"]["main"]["reads"]
    document["entries"]["main"]["reads"] = dict(reversed(reads.items()))
    (tmp_path / "one/program.json").write_text(json.dumps(document))
    loaded = load_program(tmp_path / "one")
    assert torch.equal(execute(loaded, FEEDS)["y"], execute(PROGRAM, FEEDS)["y"])


def an_input_before_the_weights(entry: Entry) -> Entry:
    graph, _ = copy_graph(entry.graph)
    first, *_, last = graph.find_nodes(op="placeholder")
    first.prepend(last)
    return replace(entry, graph=graph)


def inputs_exchanged(entry: Entry) -> Entry:
    graph, _ = copy_graph(entry.graph)
    *_, left, right = graph.find_nodes(op="placeholder")
    left.prepend(right)
    return replace(entry, graph=graph)


def ports_exchanged(entry: Entry) -> Entry:
    return replace(entry, inputs=entry.inputs[::-1])


def a_read_of_nothing(entry: Entry) -> Entry:
    weight = next(iter(entry.reads.values()))
    return replace(entry, reads={**entry.reads, "no_such_placeholder": weight})


def a_read_of_an_operator(entry: Entry) -> Entry:
    weight = next(iter(entry.reads.values()))
    return replace(entry, reads={**entry.reads, "linear": weight})


def a_placeholder_of_nothing(entry: Entry) -> Entry:
    return replace(entry, reads=dict(list(entry.reads.items())[1:]))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (an_input_before_the_weights, "right_x, an input, stands before p2_start_third, a weight"),
        (inputs_exchanged, r"port left\.x meets the placeholder right_x"),
        (ports_exchanged, r"port right\.x meets the placeholder left_x"),
        (a_read_of_nothing, r"no placeholders \['no_such_placeholder'\]"),
        (a_read_of_an_operator, r"no placeholders \['linear'\]"),
        (a_placeholder_of_nothing, "2 ports for 3 nodes"),
    ],
)
def test_the_verifier_holds_the_order_of_placeholders(
    broken: Callable[[Entry], Entry], message: str, tmp_path: Path
) -> None:
    entry = broken(PROGRAM.main)
    weights = {name: PROGRAM.weights[name] for name in set(entry.reads.values())}
    program = Program({"main": entry}, weights)
    with pytest.raises(ProgramError, match=message):
        verify(program)
    save_program(program, tmp_path / "program")
    with pytest.raises(ProgramError, match=message):
        load_program(tmp_path / "program")
