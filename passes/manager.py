"""Run passes in order; verify, time and record each one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context, Pass, PassError, Record
from prunec.passes.ir import Program, ProgramError, verify
from prunec.passes.spec import format_pass

Observer = Callable[[Pass, Program, Record], None]
"""Called after each pass with what it returned."""


class PipelineError(Exception):
    """A pass failed, or returned what is no valid program; names it and the passes before it."""


def run_pipeline(
    program: Program,
    passes: Sequence[Pass],
    context: Context,
    observe: Observer | None = None,
) -> Program:
    """Run the passes; the given program stays as it is.

    Args:
        program: Where to start.
        passes: In order.
        context: Calibration, seed, progress; carries scores, plan and cut between passes.
        observe: Sees each pass with its result, for printing and dumps.

    Raises:
        PipelineError: see the class; the cause is chained.
    """
    for position, step in enumerate(passes):
        if not step.is_exact and context.teacher is None:
            context.teacher = program
        before = program
        started = time.perf_counter()
        try:
            after = step.apply(before, context)
            seconds = time.perf_counter() - started
            if after is not before:
                verify(after, before)
        except (PassError, ProgramError) as error:
            trail = ", ".join(format_pass(p) for p in passes[:position]) or "nothing"
            raise PipelineError(f"{format_pass(step)} failed after {trail}: {error}") from error
        record = Record(
            format_pass(step), seconds, measure(before).to_json(), measure(after).to_json()
        )
        if after is not before:
            program = after.with_record(asdict(record))
        if observe is not None:
            observe(step, program, record)
    return program
