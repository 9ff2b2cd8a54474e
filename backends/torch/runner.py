"""A program as a runner in eager PyTorch."""

from __future__ import annotations

import torch
from torch.fx import GraphModule

from prunec.backends.torch.place import place
from prunec.passes.ir import Program, ProgramError, Role, language_feeds
from prunec.passes.ir.run import arguments, next_cache


class TorchRunner:
    """Step a program on a device of PyTorch.

    Args:
        program: A language model with one entry point.
        device: Where to run, for example ``cpu`` or ``cuda``.
    """

    def __init__(self, program: Program, device: str = "cpu") -> None:
        self.name = f"torch/{device}"
        self._device = torch.device(device)
        self._program = place(program, self._device)
        self._entry = self._program.main
        self._module = GraphModule({}, self._entry.graph)
        (logits,) = self._entry.ports(Role.LOGITS)[1]
        self._logits = logits.name
        self.vocabulary = int(logits.shape[-1])

    @torch.no_grad()
    def step(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        cache: dict[str, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See `prunec.backends.runner.Runner.step`.

        Raises:
            ProgramError: it keeps no cache and the text did not begin with these tokens.
        """
        if mask.shape != tokens.shape and not self._entry.ports(Role.CACHE)[0]:
            raise ProgramError(
                f"the program keeps no cache: {tokens.shape[1]} tokens of a text of "
                f"{mask.shape[1]} do not tell it the others. Open it with open_runner, which "
                "reads every text from its start"
            )
        tokens, mask = tokens.to(self._device), mask.to(self._device)
        feeds = language_feeds(self._entry, tokens, mask, cache)
        values = self._module(*arguments(self._program, self._entry, feeds))
        outputs = dict(zip((p.name for p in self._entry.outputs), values, strict=True))
        return outputs[self._logits].float().cpu(), next_cache(self._entry, outputs)
