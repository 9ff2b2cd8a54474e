"""Hold a finished result to the laws that it must obey on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prunec.backends.experts import has_experts
from prunec.backends.tensorrt import read_manifest
from prunec.backends.tensorrt.manifest import file_sha256
from prunec.driver.artefact import ArtefactError, find_file
from prunec.driver.doubts import doubt_report
from prunec.driver.origin_checks import origin_checks
from prunec.driver.preflight import REPORT
from prunec.driver.program_folder import find_program
from prunec.driver.tasks import task_of_program
from prunec.driver.tolerances import ViolationError
from prunec.passes.analysis.cost import measure
from prunec.passes.ir import Program, load_program, verify


@dataclass(frozen=True)
class Finding:
    """The outcome of one check."""

    name: str
    passed: bool
    detail: str

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON object."""
        return asdict(self)


def check_folder(folder: Path) -> Iterator[Finding]:
    """Check everything that is in a result or program folder, one finding at a time.

    Raises:
        ArtefactError: there is no program in it.
        ProgramError: the program cannot be read at all.
    """
    found = find_program(str(folder))
    if found is None:
        raise ArtefactError(
            f"{folder} holds no program.json, here or in program/: give the folder of a finished "
            "job or of a program"
        )
    program = load_program(found)
    yield _attempt("program obeys its grammar", partial(_verified, program))
    if (folder / REPORT).is_file():
        yield _attempt("sizes are those of the report", partial(_bill, program, folder / REPORT))
        yield _attempt("the report does not contradict itself", partial(_doubts, folder / REPORT))
    for name, check in task_of_program(program).checks(program, _find_onnx(folder / "onnx")):
        yield _attempt(name, check)
    for name, check in origin_checks(program, folder):
        yield _attempt(name, check)
    for engine in sorted((folder / "engine").glob("*.engine")):
        yield _attempt(f"{engine.name} is that of its manifest", partial(_engine, engine))


def _find_onnx(folder: Path) -> Path | None:
    """What `open_onnx` opens: the folder itself where it holds the models of a prompt's choice."""
    return folder if has_experts(folder) else find_file(folder, ".onnx")


def _attempt(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception as error:  # whatever goes wrong inside is what the check is there to find
        return Finding(name, False, str(error) or type(error).__name__)


def _verified(program: Program) -> str:
    verify(program)
    nodes = sum(len(entry.graph.nodes) for entry in program.entries.values())
    return f"{nodes} nodes, {len(program.weights)} weights"


def _bill(program: Program, report: Path) -> str:
    promised = json.loads(report.read_text())["sizes"]["after"]
    there = measure(program).to_json()
    if promised != there:
        raise ViolationError(f"the report says {promised}, the program has {there}")
    return f"{there['parameters']} parameters"


def _doubts(report: Path) -> str:
    document = json.loads(report.read_text())
    if "warnings" not in document:
        return "not looked at: it was written before prunec doubted its numbers"
    found = [doubt.to_json() for doubt in doubt_report(document)] + document["warnings"]
    fatal = dict.fromkeys(doubt["message"] for doubt in found if doubt["is_fatal"])
    if fatal:
        raise ViolationError("; ".join(fatal))
    codes = ", ".join(dict.fromkeys(doubt["code"] for doubt in found))
    return f"doubtful, though no failure: {codes}" if codes else "no doubts"


def _engine(engine: Path) -> str:
    manifest = read_manifest(engine)
    if file_sha256(engine) != manifest.engine_sha256:
        raise ViolationError("its SHA-256 is another: the file was changed or damaged")
    return f"{manifest.library} {manifest.library_version}; {manifest.runs_on}"
