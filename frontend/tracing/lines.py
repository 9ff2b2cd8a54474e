"""Note at little cost which line of the model each operator comes from."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch.fx.traceback import preserve_node_meta, set_stack_trace
from torch.overrides import TorchFunctionMode

_TORCH = str(Path(torch.__file__).parent)


class _ModelLines(TorchFunctionMode):
    """Tells the tracer the innermost line that is not torch's own.

    Left alone, it looks up the source of all the hundred frames of the stack for each operator,
    of which one is of use: a tenth of the time that a trace takes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[CodeType, int], list[str]] = {}

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_filename.startswith(_TORCH):
            frame = frame.f_back
        if frame is not None:
            place = frame.f_code, frame.f_lineno
            if place not in self._known:
                self._known[place] = _as_traceback(*place)
            set_stack_trace(self._known[place])
        return func(*args, **(kwargs or {}))


def _as_traceback(code: CodeType, line: int) -> list[str]:
    text = linecache.getline(code.co_filename, line).strip()
    return [f'  File "{code.co_filename}", line {line}, in {code.co_name}\n    {text}']


@contextmanager
def model_lines() -> Iterator[None]:
    """Let every node that is traced meanwhile carry the model's line as its stack trace."""
    with preserve_node_meta(), _ModelLines():
        yield
