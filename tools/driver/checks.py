"""Hold a finished result to the laws that it must obey on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from prunec.backends.experts import has_experts
from prunec.backends.ort import open_onnx
from prunec.backends.runner import Runner
from prunec.backends.tensorrt import read_manifest
from prunec.backends.tensorrt.manifest import file_sha256
from prunec.backends.torch import open_runner
from prunec.driver.artefact import ArtefactError, find_file
from prunec.driver.doubts import doubt_report
from prunec.driver.generation_checks import compare_genai, compare_greedy, has_genai
from prunec.driver.preflight import REPORT
from prunec.driver.program_folder import find_program
from prunec.passes.analysis.cost import measure
from prunec.passes.ir import Program, load_program, model_dtype, verify
from prunec.passes.ir.chosen import has_choice

_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}
"""Of the largest logit. Sums in float32 differ by their order alone; seen: 1e-5 to 1e-4."""
_REDUCED_TOLERANCE = 0.1
"""bfloat16 has 8 bits and errors add up over the layers."""

_CASES = ((1, 1, 0), (1, 7, 0), (3, 5, 0), (1, 1, 6), (2, 1, 9), (3, 4, 5))
"""Batch, new tokens, past tokens; every row but the first is padded on the left."""


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
    if has_choice(program):
        yield _attempt("decode law in torch", partial(_decode_law, program))
    else:
        yield _attempt("cache law in torch", partial(_cache_law, program))
    if (folder / REPORT).is_file():
        yield _attempt("sizes are those of the report", partial(_bill, program, folder / REPORT))
        yield _attempt("the report does not contradict itself", partial(_doubts, folder / REPORT))
    onnx = _find_onnx(folder / "onnx")
    if onnx is not None:
        yield _attempt("ONNX computes what torch computes", partial(_lowering, program, onnx))
        yield _attempt("ONNX writes what torch writes", partial(compare_greedy, program, onnx))
        if has_genai() and (onnx.parent / "genai_config.json").is_file():
            compare = partial(compare_genai, program, onnx.parent)
            yield _attempt("onnxruntime-genai writes what torch writes", compare)
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


class _ViolationError(Exception):
    """A law does not hold."""


def _verified(program: Program) -> str:
    verify(program)
    nodes = sum(len(entry.graph.nodes) for entry in program.entries.values())
    return f"{nodes} nodes, {len(program.weights)} weights"


def _bill(program: Program, report: Path) -> str:
    promised = json.loads(report.read_text())["sizes"]["after"]
    there = measure(program).to_json()
    if promised != there:
        raise _ViolationError(f"the report says {promised}, the program has {there}")
    return f"{there['parameters']} parameters"


def _doubts(report: Path) -> str:
    document = json.loads(report.read_text())
    found = [doubt.to_json() for doubt in doubt_report(document)] + document["warnings"]
    fatal = dict.fromkeys(doubt["message"] for doubt in found if doubt["is_fatal"])
    if fatal:
        raise _ViolationError("; ".join(fatal))
    codes = ", ".join(dict.fromkeys(doubt["code"] for doubt in found))
    return f"doubtful, though no failure: {codes}" if codes else "no doubts"


def _engine(engine: Path) -> str:
    manifest = read_manifest(engine)
    if file_sha256(engine) != manifest.engine_sha256:
        raise _ViolationError("its SHA-256 is another: the file was changed or damaged")
    return f"{manifest.library} {manifest.library_version}; {manifest.runs_on}"


def _decode_law(program: Program) -> str:
    """After a prompt, tokens one by one give what they give together."""
    runner = open_runner(program)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(runner.vocabulary, batch, past + new + 2)
        together = _last_logits(runner, tokens, mask, 2)
        _, cache = runner.step(tokens[:, :-2], mask[:, :-2], None)
        first, cache = runner.step(tokens[:, -2:-1], mask[:, :-1], cache)
        second, _ = runner.step(tokens[:, -1:], mask, cache)
        stepped = torch.cat([first, second], dim=1)
        worst = max(worst, _difference(together, stepped, mask[:, -2:]))
    return _judge(worst, program)


def _cache_law(program: Program) -> str:
    runner = open_runner(program)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(runner.vocabulary, batch, past + new)
        whole, _ = runner.step(tokens, mask, None)
        stepped = _last_logits(runner, tokens, mask, new)
        worst = max(worst, _difference(whole[:, -new:], stepped, mask[:, -new:]))
    return _judge(worst, program)


def _lowering(program: Program, onnx: Path) -> str:
    here, there = open_runner(program), open_onnx(onnx)
    worst = 0.0
    for batch, new, past in _CASES:
        tokens, mask = _left_padded(here.vocabulary, batch, past + new)
        expected = _last_logits(here, tokens, mask, new)
        found = _last_logits(there, tokens, mask, new)
        worst = max(worst, _difference(expected, found, mask[:, -new:]))
    return _judge(worst, program)


def _left_padded(vocabulary: int, batch: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch * 100 + length)
    tokens = torch.randint(vocabulary, (batch, length), generator=generator)
    mask = torch.ones(batch, length, dtype=torch.int64)
    for row in range(1, batch):
        mask[row, : min(row, length - 1)] = 0
    return tokens, mask


def _last_logits(
    runner: Runner, tokens: torch.Tensor, mask: torch.Tensor, new: int
) -> torch.Tensor:
    """Logits of the last tokens, the others having gone into the cache before."""
    past = tokens.shape[1] - new
    cache = None
    if past:
        _, cache = runner.step(tokens[:, :past], mask[:, :past], None)
    logits, _ = runner.step(tokens[:, past:], mask, cache)
    return logits


def _difference(expected: torch.Tensor, found: torch.Tensor, mask: torch.Tensor) -> float:
    """The largest difference at real tokens, as a share of the largest logit."""
    real = mask.bool()
    largest = (expected[real] - found[real]).abs().max()
    return float(largest / expected[real].abs().max())


def _judge(worst: float, program: Program) -> str:
    tolerance = _TOLERANCE.get(model_dtype(program), _REDUCED_TOLERANCE)
    if not worst <= tolerance:  # also where it is not a number
        raise _ViolationError(f"logits differ by {worst:.1e} of the largest, limit {tolerance:g}")
    return f"{len(_CASES)} cases, logits within {worst:.1e} of the largest"
