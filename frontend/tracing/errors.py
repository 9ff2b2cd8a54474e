"""What can go wrong while a model is traced, in one sentence for a person."""

from __future__ import annotations

import linecache
import traceback

from torch.fx import Node


class ExportError(Exception):
    """The model cannot be traced.

    Attributes:
        reason: What is wrong and what to do, for every user.
        in_python: What a user of Python can do besides; the command has no such thing to offer.
        tried: (way, why it failed) of every way in which the trace was tried, in order.
    """

    def __init__(self, reason: str, in_python: str = "") -> None:
        super().__init__(reason, in_python)
        self.reason = reason
        self.in_python = in_python
        self.tried: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """The reason and all that can be done."""
        return f"{self.reason}. {self.in_python}" if self.in_python else self.reason


class TracerError(ExportError):
    """There is no graph: the model's code, or the tracer, gave up on the way."""


class OperatorError(ExportError):
    """The graph calls something that is no ATen operator; a decomposition may know what it is."""


def cannot_trace(what: str, error: BaseException) -> TracerError:
    """The tracer's error as one of ours: its first line, and the model's line that raised it."""
    lines = str(error).strip().splitlines() or [repr(error)]
    telling = next((line for line in lines if "your code specialized" in line), lines[0])
    reason = telling.strip(" -.")
    place = _place(error)
    explanation, advice = _advice(error)
    where = f" (at {place})" if place else ""
    said = f"{what} cannot be traced by torch.export: {reason}{where}"
    return TracerError(f"{said}. {explanation}" if explanation else said, in_python=advice)


def at(node: Node) -> str:
    """How to name a node of an exported graph: name, operator and the model's line."""
    line = source_line(node.stack_trace or "")
    return f"node {node.name} ({node.target})" + (f", {line}" if line else "")


def source_line(stack_trace: str) -> str:
    """``file.py:12 forward: code`` of the innermost frame of a Python stack trace."""
    lines = [line.strip() for line in stack_trace.strip().splitlines()]
    # Code that torch generated has no file: its names begin with "<".
    frames = [
        i
        for i, line in enumerate(lines)
        if line.startswith('File "') and not line.startswith('File "<')
    ]
    if not frames:
        return lines[-1] if lines else ""
    file, line, function = lines[frames[-1]].split(", ", 2)
    name = file.removeprefix('File "').rstrip('"').rsplit("/", 1)[-1]
    code = lines[frames[-1] + 1] if frames[-1] + 1 < len(lines) else ""
    return f"{name}:{line.removeprefix('line ')} {function}: {code}"


def _place(error: BaseException) -> str:
    """The innermost line of the traceback that is not torch's own."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename and "/frontend/tracing/" not in frame.filename
    ]
    if not frames:
        return ""
    frame = frames[-1]
    code = (linecache.getline(frame.filename, frame.lineno or 0)).strip()
    return f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}: {code}"


def _advice(error: BaseException) -> tuple[str, str]:
    """What the errors that users meet most mean, and what can be done about them in Python."""
    kind, text = type(error).__name__, str(error)
    if "DataDependent" in kind or "data-dependent" in text:
        return (
            "A size or a branch depends on the values of a tensor; a program needs a graph that is "
            "the same for all values",
            "Replace it in the model, for example by a mask",
        )
    if "specialized it to be a constant" in text or "Constraints violated" in text:
        return (
            "The model fixes a size that should stay open",
            "Give that dimension a fixed size",
        )
    if "no padding token is defined" in text:
        return (
            "It finds the end of each text of a batch by its padding: set pad_token_id in "
            "config.json to the tokenizer's padding token, or to a token that no text has",
            "Set model.config.pad_token_id",
        )
    return "", "If it runs by itself, trace it with trace_module on inputs that it runs on"
