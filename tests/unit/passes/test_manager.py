from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from prunec.passes.contract import Context, Pass, PassError, Record
from prunec.passes.ir import Program
from prunec.passes.manager import PipelineError, run_pipeline
from prunec.passes.spec import parse_pipeline
from support.models import random_tokens, small_program


@dataclass(frozen=True)
class Refuses(Pass):
    name = "refuses"
    count: int = 3

    def apply(self, program: Program, context: Context) -> Program:
        raise PassError("not today")


@dataclass(frozen=True)
class LosesAnInput(Pass):
    name = "loses-an-input"

    def apply(self, program: Program, context: Context) -> Program:
        entry = program.main
        return replace(program, entries={"main": replace(entry, inputs=entry.inputs[:-1])})


@dataclass(frozen=True)
class AddsAWeight(Pass):
    name = "adds-a-weight"

    def apply(self, program: Program, context: Context) -> Program:
        return program.with_weights({"nobody.reads.me": torch.zeros(2)})


def test_a_failure_names_pass_options_and_trail() -> None:
    passes = (*parse_pipeline("merge-duplicates"), Refuses(count=5))
    with pytest.raises(
        PipelineError, match=r"refuses\{count=5\} failed after merge-dup.*not today"
    ):
        run_pipeline(small_program(), passes, Context())


@pytest.mark.parametrize(
    ("broken", "message"), [(LosesAnInput(), "ports for"), (AddsAWeight(), "nobody.reads.me")]
)
def test_a_pass_that_breaks_the_program_is_caught(broken: Pass, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        run_pipeline(small_program(), (broken,), Context())


def test_a_whole_pipeline_leaves_records_and_the_program_it_was_given() -> None:
    program = small_program()
    before = dict(program.weights)
    seen: list[Record] = []
    context = Context(calibration=random_tokens(4, 16))
    text = "score,allocate{keep=0.6 multiple=1},remove-structures,refit"
    after = run_pipeline(
        program, parse_pipeline(text), context, lambda _pass, _program, record: seen.append(record)
    )
    assert [r.spec.split("{")[0] for r in seen] == text.replace("{keep=0.6 multiple=1}", "").split(
        ","
    )
    assert [r["spec"] for r in after.records[-2:]] == ["remove-structures", "refit"]
    assert all(program.weights[n] is w for n, w in before.items())
    assert context.teacher is program


def test_a_pass_with_nothing_to_do_leaves_no_record() -> None:
    program = small_program()
    assert run_pipeline(program, parse_pipeline("clean"), Context()) is program
