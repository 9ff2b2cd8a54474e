"""The runner that a program needs."""

from __future__ import annotations

from prunec.backends.runner import Runner
from prunec.backends.torch.experts_runner import ExpertsRunner
from prunec.backends.torch.runner import TorchRunner
from prunec.passes.ir import Program


def open_runner(program: Program, device: str = "cpu") -> Runner:
    """Step a language model in PyTorch, whether it has one entry point or prefill and decode.

    Raises:
        ProgramError: it has other entry points.
    """
    if len(program.entries) == 1:
        return TorchRunner(program, device)
    return ExpertsRunner(program, device)
