"""The runner that a program needs."""

from __future__ import annotations

from prunec.backends.runner import Runner
from prunec.backends.torch.experts_runner import ExpertsRunner
from prunec.backends.torch.rereading_runner import RereadingRunner
from prunec.backends.torch.runner import TorchRunner
from prunec.passes.ir import Program, Role


def open_runner(program: Program, device: str = "cpu") -> Runner:
    """Step a language model in PyTorch: with a cache, without one, or as prefill and decode.

    Raises:
        ProgramError: it has other entry points.
    """
    if len(program.entries) > 1:
        return ExpertsRunner(program, device)
    if not program.main.ports(Role.CACHE)[0]:
        return RereadingRunner(program, device)
    return TorchRunner(program, device)
