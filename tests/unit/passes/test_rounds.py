"""Cutting and repairing more than once, and with other passes in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.fx import Graph

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Entry, Program, execute, language_feeds, propagate
from prunec.passes.ir.shapes import copy_graph
from prunec.passes.ir.staged import StagedRun
from prunec.passes.manager import PipelineError, run_pipeline
from prunec.passes.repair import CompensateBias, Reconstruct, Refit
from prunec.passes.repair.windows import find_windows
from prunec.passes.spec import parse_pipeline
from prunec.passes.surgery import cut_program
from support.cuts import TOKENS, cut
from support.models import small_program
from support.oracle import relative_error

PROGRAM = small_program(torch.float64)
CUT = "score,allocate{keep=0.75 multiple=1},remove-structures"
DOWN = "model.layers.0.mlp.down_proj.weight"
SAME = 1e-10  # float64 sums in another order


@dataclass(frozen=True)
class Rewrites(Pass):
    """What a pass of another package does to a program."""

    name = "rewrites"
    change: Callable[[Program], Program]

    def apply(self, program: Program, context: Context) -> Program:
        return self.change(program)


def logits(program: Program) -> torch.Tensor:
    return execute(program, language_feeds(program.main, TOKENS))["logits"]


def steps_of(passes: tuple[Pass, ...], context: Context) -> list[Program]:
    """The program before the first pass and after each one."""
    programs = [PROGRAM]
    run_pipeline(PROGRAM, passes, context, lambda _pass, after, _record: programs.append(after))
    return programs


def squared_error(found: Program, whole: Program) -> float:
    return float((logits(found) - logits(whole)).square().mean())


def test_every_refit_mends_the_cut_of_its_round() -> None:
    passes = parse_pipeline(",".join([CUT, "refit"] * 2))
    programs = steps_of(passes, Context(calibration=TOKENS))
    for before in (2, 6):
        whole, as_cut, refitted = programs[before : before + 3]
        assert squared_error(refitted, whole) < 0.8 * squared_error(as_cut, whole)


def test_every_compensation_keeps_the_mean_of_what_its_cut_was_given() -> None:
    text = "score{kinds=ffn-channel},allocate{kinds=ffn-channel keep=0.8},remove-structures"
    passes = parse_pipeline(",".join([text, "compensate-bias"] * 2))
    programs = steps_of(passes, Context(calibration=TOKENS))
    stream = find_windows(PROGRAM, find_structures(PROGRAM))[1].result.name
    for before in (2, 6):
        whole, as_cut, mended = (mean_at(p, stream) for p in programs[before : before + 3])
        assert relative_error(as_cut, whole) > 1e-4
        assert relative_error(mended, whole) < SAME


def mean_at(program: Program, name: str) -> torch.Tensor:
    run = StagedRun(program, program.main, [language_feeds(program.main, TOKENS)], [name])
    return run.peek(run.advance(name, 0), 0).flatten(0, -2).mean(0)


def test_the_teacher_stays_the_dense_program_and_the_record_is_of_the_last_cut() -> None:
    context = Context(calibration=TOKENS)
    programs = steps_of(parse_pipeline(f"{CUT},refit,{CUT}"), context)
    assert context.teacher is PROGRAM
    assert context.require_cut("a test").before.weights[DOWN] is programs[4].weights[DOWN]
    assert context.require_cut("a test").plan is context.plan


def test_a_second_compensation_adds_to_the_first_one() -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    once = CompensateBias().apply(after, context)
    twice = CompensateBias().apply(once, context)
    first, second = (
        {n: w for n, w in p.weights.items() if n.endswith("compensation")} for p in (once, twice)
    )
    assert first
    assert first.keys() == second.keys()
    assert all(torch.equal(2 * first[n], second[n]) for n in first)
    assert len(list(once.main.graph.nodes)) == len(list(twice.main.graph.nodes))


def test_a_lossy_pass_before_the_cut_is_neither_undone_nor_in_the_way() -> None:
    doubled = Rewrites(lambda p: p.with_weights({DOWN: 2 * p.weights[DOWN]}))
    passes = parse_pipeline(f"{CUT},refit")
    found = run_pipeline(PROGRAM, (doubled, *passes), Context(calibration=TOKENS))
    expected = run_pipeline(doubled.change(PROGRAM), passes, Context(calibration=TOKENS))
    assert all(torch.equal(w, expected.weights[n]) for n, w in found.weights.items())


def renamed(program: Program) -> Program:
    reads = {p: "renamed" if n == DOWN else n for p, n in program.main.reads.items()}
    weights = {"renamed" if n == DOWN else n: w for n, w in program.weights.items()}
    return replace(program, entries={"main": replace(program.main, reads=reads)}, weights=weights)


def scaled(program: Program) -> Program:
    return program.with_weights({DOWN: 2 * program.weights[DOWN]})


def turned(program: Program) -> Program:
    """Square as the weight is after the cut, it fits as well without being turned."""
    entry = program.main
    graph, _ = copy_graph(entry.graph)
    for node in [n for n in graph.nodes if n.target is torch.ops.aten.linear.default]:
        if entry.reads.get(node.args[1].name) == DOWN:
            node.target = torch.ops.aten.matmul.default
    changed = Entry(graph, entry.reads, entry.inputs, entry.outputs)
    propagate(changed, program.weights)
    return replace(program, entries={"main": changed})


@pytest.mark.parametrize("repair", [Refit(), CompensateBias()], ids=lambda repair: repair.name)
@pytest.mark.parametrize(
    ("change", "reason"),
    [(renamed, "is gone"), (scaled, "has other values"), (turned, "is used in another way")],
)
def test_what_was_rewritten_since_the_cut_is_refused_with_the_reason(
    repair: Pass, change: Callable[[Program], Program], reason: str
) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 60))
    with pytest.raises(PassError, match=f"{reason}.*before that pass"):
        repair.apply(change(after), context)
    with pytest.raises(PassError, match=reason):  # another repair in between hides nothing
        repair.apply(Reconstruct(epochs=1).apply(change(after), context), context)


def rebuilt(program: Program, first: int = 0) -> Program:
    """The same graph, every node under a new name, in the way of a pass that builds graphs anew."""
    entry = program.main
    graph, copies = Graph(), {}
    for place, node in enumerate(entry.graph.nodes):
        copies[node] = graph.node_copy(node, copies.__getitem__)
        copies[node].meta = dict(node.meta)
        if node.op != "output":
            copies[node].name = f"node_{first + place}"
    reads = {copies[n].name: entry.reads[n.name] for n in copies if n.name in entry.reads}
    return replace(program, entries={"main": replace(entry, graph=graph, reads=reads)})


@pytest.mark.parametrize("repair", [Refit(), CompensateBias()], ids=lambda repair: repair.name)
def test_a_graph_that_was_only_built_anew_is_repaired_all_the_same(repair: Pass) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    again = replace(context)
    expected = repair.apply(after, context)
    found = repair.apply(rebuilt(after), again)
    assert relative_error(logits(found), logits(expected)) < SAME
    assert not torch.equal(logits(found), logits(after))


@pytest.mark.parametrize("first", [0, -1])
def test_reconstruct_refuses_streams_that_the_dense_program_does_not_name(first: int) -> None:
    after, context = cut(PROGRAM, "ffn-channel", slice(0, 70))
    context.teacher = PROGRAM if first == 0 else rebuilt(PROGRAM)
    with pytest.raises(PassError, match="no stream like that"):
        Reconstruct(epochs=1).apply(rebuilt(after, 40 * first), context)


def test_reconstruct_refuses_a_stream_that_was_itself_cut() -> None:
    text = "score{kinds=residual},allocate{kinds=residual keep=0.75 multiple=1},remove-structures"
    passes = parse_pipeline(f"{text},reconstruct")
    with pytest.raises(PipelineError, match="45 wide and the dense one 60"):
        run_pipeline(PROGRAM, passes, Context(calibration=TOKENS))


def test_a_later_cut_keeps_the_index_tables_of_an_earlier_one() -> None:
    def without_the_last(program: Program, kind: str) -> Program:
        coupling = find_structures(program)
        first = coupling.of_kind(kind)[0]
        return cut_program(program, coupling, {first.atom: np.arange(first.size - 1)})

    once = without_the_last(PROGRAM, "qk-dim")
    tables = once.weights.keys() - PROGRAM.weights.keys()
    assert tables
    # As after a pass that dropped weights: the next number is one that a table has.
    renamed_table = f"kept_indices_{len(once.weights)}"
    (table, *_) = sorted(tables)
    reads = {p: renamed_table if n == table else n for p, n in once.main.reads.items()}
    weights = {renamed_table if n == table else n: w for n, w in once.weights.items()}
    buffers = once.buffers - {table} | {renamed_table}
    entries = {"main": replace(once.main, reads=reads)}
    again = replace(once, entries=entries, weights=weights, buffers=buffers)
    twice, expected = (without_the_last(p, "qk-dim") for p in (again, once))
    assert torch.equal(logits(twice), logits(expected))
