"""Take both sides of a branch on values where a module makes tables: rotary frequencies, mostly.

Some tables depend on how long the text is: a longer one gets other frequencies, by an `if` on a
tensor, and the module remembers what it chose. A program chooses anew each time it runs: both
sides are traced, and the condition picks.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

_MOST = 6
"""Questions that one run of a module may ask; every one more can double the trace."""


class BranchError(Exception):
    """The two sides of a branch cannot be put together."""


def table_makers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules that compute from buffers alone: no parameters, nothing inside of them."""
    return [
        module
        for module in model.modules()
        if module._buffers and not module._parameters and not module._modules
    ]


@contextmanager
def both_sides(model: torch.nn.Module) -> Iterator[None]:
    """Let each such module of the model take both sides of its branches, and keep no state."""
    makers = table_makers(model)
    for module in makers:
        anew = _made_anew(module)
        module.forward = partial(_without_state, anew, _start(anew))
    try:
        yield
    finally:
        for module in makers:
            del module.forward


def _made_anew(module: torch.nn.Module) -> torch.nn.Module:
    """The module as its configuration makes it: what it ran on before may have changed its tables.

    The module itself where it has kept no configuration, or takes more than that.
    """
    config = getattr(module, "config", None)
    if config is None:
        return module
    try:
        return type(module)(config)
    except TypeError:
        return module


def _start(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The buffers as the configuration makes them; one that a checkpoint has is read from there."""
    made = module._non_persistent_buffers_set
    return {
        name: buffer.detach().clone() if name in made else buffer
        for name, buffer in module._buffers.items()
        if buffer is not None
    }


def _without_state(
    module: torch.nn.Module, buffers: dict[str, torch.Tensor], *args: Any, **kwargs: Any
) -> Any:
    def run() -> Any:
        fresh = copy.copy(module)
        vars(fresh).pop("forward", None)
        # What is written to a copy is seen in this run alone.
        fresh._buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        return fresh.forward(*args, **kwargs)

    return _run_on(run, ())


def _run_on(run: Callable[[], Any], answers: Sequence[bool]) -> Any:
    """What `run` returns if its first questions are answered so and all others truly."""
    questions = _Questions(answers)
    with questions:
        result = run()
    for place in reversed(range(len(answers), len(questions.asked))):
        other = _run_on(run, (*questions.answers[:place], False))
        result = _choose(questions.asked[place], result, other)
    return result


class _Questions(TorchFunctionMode):
    """Answers what a branch asks a tensor, and notes the tensor."""

    def __init__(self, answers: Sequence[bool]) -> None:
        super().__init__()
        self.answers = list(answers)
        self.asked: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is not torch.Tensor.__bool__:
            return func(*args, **(kwargs or {}))
        if len(self.asked) == _MOST:
            raise BranchError(f"a module that makes tables branches more than {_MOST} times")
        self.asked.append(args[0])
        if len(self.answers) < len(self.asked):
            self.answers.append(True)
        return self.answers[len(self.asked) - 1]


def _choose(asked: torch.Tensor, yes: Any, no: Any) -> Any:
    (left, structure), (right, other) = pytree.tree_flatten(yes), pytree.tree_flatten(no)
    if structure != other:
        raise BranchError("the two sides of a branch return different things")
    return pytree.tree_unflatten(
        [_choose_one(asked.bool(), a, b) for a, b in zip(left, right, strict=True)], structure
    )


def _choose_one(condition: torch.Tensor, yes: Any, no: Any) -> Any:
    if not isinstance(yes, torch.Tensor) or not isinstance(no, torch.Tensor):
        if type(yes) is type(no) and yes == no:
            return yes
        raise BranchError(f"the two sides of a branch return different things: {yes} and {no}")
    if yes.dtype != no.dtype or yes.shape != no.shape:
        raise BranchError("the two sides of a branch return tensors of different types or sizes")
    return torch.where(condition, yes, no)
