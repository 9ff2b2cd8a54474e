"""Check one architecture: trace it, find its structures, cut them at random, run the result."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnxruntime
import torch

from prunec.backends.onnx import export_onnx
from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.analysis.coupling.kinds import name_kinds
from prunec.passes.ir import Program, execute
from prunec.passes.ir.axes import leaves
from prunec.passes.ir.selection import PerUnit, Selection
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program, random_feeds, traced_architecture
from support.laws import choose_units
from support.oracle import law_error, relative_error

PAST_TOKENS = 3
MIXED_TRIALS = 3


def check_architecture(name: str, seed: int) -> dict[str, Any]:
    """Everything that is said about one architecture, for the JSON file.

    Args:
        name: One of the architectures of the tests.
        seed: Of selections and inputs.
    """
    started = time.perf_counter()
    model, _ = traced_architecture(name)
    trace_seconds = time.perf_counter() - started
    program = architecture_program(name)
    started = time.perf_counter()
    coupling = find_structures(program)
    analysis_seconds = time.perf_counter() - started
    return {
        "model": type(model).__name__,
        "nodes": len(program.main.graph.nodes),
        "trace_seconds": round(trace_seconds, 2),
        "analysis_seconds": round(analysis_seconds, 3),
        "kinds": {kind: _check_kind(program, coupling, kind, seed) for kind in _kinds(coupling)},
        "mixed": _check(program, coupling, _mixed(coupling, Random(seed)), seed),
        "refused": _refused(program, coupling),
        "onnx": _check_onnx(name, seed),
    }


def _kinds(coupling: Coupling) -> list[str]:
    return list(dict.fromkeys(s.kind for s in coupling.structures))


def _check_kind(program: Program, coupling: Coupling, kind: str, seed: int) -> dict[str, Any]:
    structures = coupling.of_kind(kind)
    selections = list(_selections(structures, Random(f"{seed}/{kind}")))
    return {
        "structures": len(structures),
        "sizes": sorted({s.size for s in structures}),
        "units_apart_trials": sum(isinstance(k, PerUnit) for s in selections for k in s.values()),
        **_check(program, coupling, selections, seed),
    }


def _selections(structures: Sequence[Structure], random: Random) -> Iterator[Selection]:
    """Of each structure as few units as may be; then any number, where it may be for each head."""
    for structure in structures:
        few = random.sample(range(structure.size), structure.least)
        yield {structure.atom: np.array(sorted(few), dtype=np.int64)}
        yield {structure.atom: choose_units(structure, random)}


def _mixed(coupling: Coupling, random: Random) -> list[Selection]:
    """Selections of all structures at once, none like another."""
    structures = coupling.structures
    trials = range(MIXED_TRIALS if structures else 0)
    return [{s.atom: choose_units(s, random) for s in structures} for _ in trials]


def _check(
    program: Program, coupling: Coupling, selections: Sequence[Selection], seed: int
) -> dict[str, Any]:
    """The largest law-1 error over the selections; what fails is counted and the first shown."""
    feeds = random_feeds(program.main, seed, past=PAST_TOKENS)
    started = time.perf_counter()
    errors, failures = [0.0], []
    for selection in selections:
        try:
            errors.append(law_error(program, coupling, selection, feeds))
        except Exception as error:  # whatever it is, the other selections still count
            failures.append(_first_line(error))
    return {
        "trials": len(selections),
        "largest_error": max(errors),
        "failed": len(failures),
        **({"first_failure": failures[0]} if failures else {}),
        "seconds": round(time.perf_counter() - started, 2),
    }


def _refused(program: Program, coupling: Coupling) -> list[dict[str, Any]]:
    """The refused axes by reason, with the kind that the graph shows each to be, if any.

    What an input fixes (the colours of an image) is of no kind that could be cut.
    """
    kinds = name_kinds(coupling.walk, coupling.weight_axes)
    inputs = {node.name for node in program.main.input_nodes()}
    of_member = {
        (weight, dim, atom.size): kinds.get(atom)
        for weight, axes in coupling.weight_axes.items()
        for dim, axis in enumerate(axes)
        for atom in leaves(axis)
    }
    rows: dict[tuple[str | None, str], dict[str, Any]] = {}
    for axis in coupling.refusals:
        if axis.size == 1:
            continue
        first, refusal = axis.members[0], axis.refusal
        kind = of_member.get((first.weight, first.dim, axis.size))
        kind = None if refusal.node in inputs else kind
        row = rows.setdefault(
            (kind, refusal.reason),
            {
                "kind": kind,
                "reason": refusal.reason,
                "axes": 0,
                "weight": f"{first.weight}[{first.dim}]",
                "node": refusal.node,
                "source": refusal.source,
            },
        )
        row["axes"] += 1
    return list(rows.values())


def _check_onnx(name: str, seed: int) -> dict[str, Any]:
    """Whether ONNX Runtime agrees with torch on a model with every structure cut."""
    started = time.perf_counter()
    try:
        program = architecture_program(name, torch.float32)
        coupling = find_structures(program)
        random = Random(f"{seed}/onnx")
        selection = {
            s.atom: choose_units(s, random) for s in coupling.structures if s.kind != "layer"
        }
        after = cut_program(program, coupling, selection)
        feeds = random_feeds(after.main, seed, past=PAST_TOKENS)
        expected = execute(after, feeds)
        found = _run_onnx(after, feeds)
        error = max(relative_error(found[n], expected[n]) for n in expected)
    except Exception as problem:  # a backend that fails is a result
        return {"failed": _first_line(problem)}
    return {"largest_error": error, "seconds": round(time.perf_counter() - started, 2)}


def _run_onnx(program: Program, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(program, path)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        wanted = {i.name for i in session.get_inputs()}
        outputs = session.run(None, {n: t.numpy() for n, t in feeds.items() if n in wanted})
        names = [o.name for o in session.get_outputs()]
    return {n: torch.from_numpy(v) for n, v in zip(names, outputs, strict=True)}


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"[:300]
