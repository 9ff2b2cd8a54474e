"""What one operator of a program is given, found without the code that is tested."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from prunec.passes.ir import Interpreter, Program, language_feeds


def layer_inputs(program: Program, weight: str, tokens: torch.Tensor) -> torch.Tensor:
    """The activations, [token, in], that the first operator to read a weight is given."""
    recorder = _Recorder(program, weight)
    with torch.no_grad():
        recorder.feed(language_feeds(program.main, tokens))
    assert recorder.found is not None
    return recorder.found


class _Recorder(Interpreter):
    def __init__(self, program: Program, weight: str) -> None:
        super().__init__(program, program.main)
        (placeholder,) = (n for n, w in program.main.reads.items() if w == weight)
        self.found: torch.Tensor | None = None
        self._placeholder = placeholder

    def run_node(self, n: Node) -> Any:
        operands = [a for a in n.args if isinstance(a, Node)]
        names = [operand.name for operand in operands]
        if self.found is None and self._placeholder in names and len(operands) > 1:
            # addmm takes the bias first, linear last: the activations come before the matrix.
            activations = operands[names.index(self._placeholder) - 1]
            inputs = self.env[activations]
            self.found = inputs.reshape(-1, inputs.shape[-1])
        return super().run_node(n)
