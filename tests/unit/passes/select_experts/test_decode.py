"""What decode makes of small feed-forwards, and those whose units cannot be chosen, and why."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.contract import PassError
from prunec.passes.ir import Program, Role, execute
from prunec.passes.surgery import cut_program
from prunec.passes.surgery.select_experts.counts import require_structures
from prunec.passes.surgery.select_experts.decode import decode_entry
from prunec.passes.surgery.select_experts.groups import Group, find_groups
from prunec.passes.surgery.select_experts.writer import GraphWriter
from support.builder import Builder, aten
from support.small_programs import through

COUNT = 4  # of 8


def prepare(step: Callable[[Builder, Node], Node]) -> tuple[Program, Coupling, list[Group]]:
    program = through(step)
    coupling = find_structures(program)
    counts = [(structure, COUNT) for structure in coupling.of_kind("ffn-channel")]
    return program, coupling, find_groups(program, coupling, counts)


def plain(b: Builder, h: Node) -> Node:
    return b.call(aten.relu.default, h)


def two_in_a_row(b: Builder, h: Node) -> Node:
    return b.call(aten.linear.default, b.call(aten.relu.default, h), b.parameter("middle", 8, 8))


def beside_a_table(b: Builder, h: Node) -> Node:
    return b.call(aten.mul.Tensor, h, b.buffer("table", b.noise(8)))


def squared_weight(b: Builder, h: Node) -> Node:
    (up,) = (n for n in b.graph.nodes if b.reads.get(n.name, "").endswith(".up"))
    rows = b.call(aten.sum.dim_IntList, up, [1])
    return b.call(aten.mul.Tensor, h, rows)


def test_a_plain_feed_forward_is_split() -> None:
    program, coupling, groups = prepare(plain)
    entry = decode_entry(program, coupling, groups, ())
    assert [p.name for p in entry.inputs] == ["features", "experts.start.up", "experts.start.down"]
    assert [p.shape for p in entry.inputs[1:]] == [(4, 6), (5, 4)]


def test_a_matrix_between_two_structures_is_refused() -> None:
    with pytest.raises(PassError, match=r"middle carries the units of .* in 2 places"):
        prepare(two_in_a_row)


def test_units_that_pick_from_constants_are_refused() -> None:
    program, coupling, groups = prepare(beside_a_table)
    with pytest.raises(PassError, match=r"also pick from constants \(1 tables\)"):
        decode_entry(program, coupling, groups, ())


def test_a_matrix_that_is_read_otherwise_too_is_refused() -> None:
    program, coupling, groups = prepare(squared_weight)
    with pytest.raises(PassError, match=r"up is read by .*sum.* too, not as a matrix alone"):
        decode_entry(program, coupling, groups, ())


def test_constants_of_one_content_are_one_if_they_have_one_type() -> None:
    program = through(plain)
    writer = GraphWriter(program.main)
    whole, fraction = torch.arange(3), torch.arange(3.0)
    nodes = [writer.constant("table", t).node for t in (whole, fraction, whole.clone())]
    assert nodes[0] is nodes[2]
    assert nodes[0] is not nodes[1]
    assert [t.dtype for t in writer.constants.values()] == [torch.int64, torch.float32]


def with_a_norm_inside() -> Program:
    """Tokens, embedded; up, an RMSNorm over the units, down."""
    b = Builder(Random(0), is_dynamic=True, width=6)
    size = ("batch_size", "sequence_length")
    tokens = b.add_input("tokens", Role.TOKENS, size, torch.int64)
    x = b.call(aten.embedding.default, b.parameter("embedding", 11, 6), tokens)
    h = b.call(aten.linear.default, x, b.parameter("up", 8, 6))
    h = b.call(aten.rms_norm.default, h, [8], b.parameter("norm", 8, around=1.0), 1e-3)
    y = b.call(aten.linear.default, h, b.parameter("down", 11, 8))
    b.add_output("logits", y, Role.LOGITS, (*size, 11))
    return b.finish()


def test_the_width_of_embeddings_is_no_feed_forward() -> None:
    program, said = with_a_norm_inside(), list[str]()
    (structure,) = require_structures(program, find_structures(program), said.append)
    assert structure.size == 8
    (line,) = said
    assert line.endswith("stays whole: it is the width of a table of embeddings")


def test_a_norm_over_chosen_units_is_that_of_the_cut() -> None:
    program = with_a_norm_inside()
    coupling = find_structures(program)
    (structure,) = require_structures(program, coupling, print)
    (group,) = find_groups(program, coupling, [(structure, COUNT)])
    decode = decode_entry(program, coupling, [group], ())
    units = torch.tensor([1, 2, 5, 7])
    up, norm, down = (program.weights[f"start.{name}"] for name in ("up", "norm", "down"))
    experts = {
        "experts.start.up": up[units],
        "experts.start.norm": norm[units],
        "experts.start.down": down[:, units],
    }
    feeds = {"tokens": torch.arange(10).reshape(2, 5)}
    cut = cut_program(program, coupling, {structure.atom: units.numpy()})
    expected = execute(cut, feeds)["logits"]
    assert torch.allclose(execute(program, feeds | experts, decode)["logits"], expected)


def test_a_norm_cannot_read_weights_that_differ_between_rows() -> None:
    program = with_a_norm_inside()
    coupling = find_structures(program)
    (structure,) = require_structures(program, coupling, print)
    groups = find_groups(program, coupling, [(structure, COUNT)])
    with pytest.raises(PassError, match=r"per_sequence: not every operator .*rms_norm"):
        decode_entry(program, coupling, groups, ("batch_size",))
