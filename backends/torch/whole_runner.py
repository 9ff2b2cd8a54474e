"""A program that reads texts whole, as a runner in eager PyTorch."""

from __future__ import annotations

import torch

from prunec.backends.torch.place import place
from prunec.backends.whole_runner import output_of
from prunec.passes.ir import Program, Role, execute, language_feeds


class TorchWholeRunner:
    """Run an encoder or a classifier on a device of PyTorch.

    Args:
        program: Takes tokens and what follows from them, and keeps no cache.
        device: Where to run, for example ``cpu`` or ``cuda``.

    Raises:
        ProgramError: it has several entry points.
    """

    def __init__(self, program: Program, device: str = "cpu") -> None:
        self.name = f"torch/{device}"
        self._device = torch.device(device)
        self._program = place(program, self._device)
        self.outputs = tuple(output_of(port) for port in program.main.outputs)
        self.vocabulary = _vocabulary(program)

    @torch.no_grad()
    def run(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """See `prunec.backends.whole_runner.WholeRunner.run`.

        Raises:
            ProgramError: it takes an input that text does not give.
        """
        feeds = language_feeds(self._program.main, tokens.to(self._device), mask.to(self._device))
        found = execute(self._program, feeds)
        return {name: value.float().cpu() for name, value in found.items()}


def _vocabulary(program: Program) -> int | None:
    """The rows of the table that tokens are looked up in; None where none is found."""
    entry = program.main
    ports = zip(entry.input_nodes(), entry.inputs, strict=True)
    tokens = {node for node, port in ports if port.role is Role.TOKENS}
    tables = [
        node.args[0].meta["val"].shape[0]
        for node in entry.graph.nodes
        if node.target is torch.ops.aten.embedding.default and node.args[1] in tokens
    ]
    return int(min(tables)) if tables else None
