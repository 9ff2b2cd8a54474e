"""Run a loaded model and its program once on the same few inputs."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from prunec.frontend.binding.feeds import random_inputs
from prunec.frontend.tracing.cache import cache_parameters, returned_cache
from prunec.frontend.tracing.errors import ExportError
from prunec.frontend.tracing.quiet import quietly
from prunec.passes.ir import Interpreter, Program, Role, language_feeds, model_dtype
from prunec.passes.ir.run import next_cache

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
"""Of the largest value of an output. Sums differ by their order alone; seen: 1e-7 to 1e-4. In
float64 models still compute norms and rotary tables in float32; seen: 2e-7."""
_LONGEST = 2048
"""Tokens; where a trace holds for more, nothing longer is tried."""
REDUCED_TOLERANCE = 0.1
"""bfloat16 has 8 bits and errors add up over the layers."""


@torch.no_grad()
def require_agreement(program: Program, model: Any) -> None:
    """Compare every output of the program with the model's own, padding included.

    A language model reads a prompt of a few tokens and one more, whose keys and values of the
    prompt come from the cache of either.

    Args:
        program: Computes in the type that the model computes in.
        model: The loaded model of transformers; left as it is.

    Raises:
        ExportError: they differ, or one of them cannot run; says in what and how far, or why.
    """
    feeds = random_inputs(program.main, model)
    has_cache = bool(program.main.ports(Role.CACHE)[0])
    try:
        with quietly(), _evaluating(model):
            expected = _steps_of_model(model, feeds) if has_cache else _call(model, feeds)
    except Exception as error:  # whatever the model's own code raises
        raise ExportError(
            f"{type(model).__name__} itself cannot run on {list(feeds)} "
            f"({type(error).__name__}: {error}): nothing can be compared with its program"
        ) from error
    try:
        found = _steps_of_program(program, feeds) if has_cache else _run(program, feeds)
    except RuntimeError as error:
        raise ExportError(
            f"the program of {type(model).__name__} cannot run in {_type_of(program)}, though the "
            f"model can ({str(error).splitlines()[0]}): its code makes the type of some "
            "values itself. Take float32 as the dtype"
        ) from error
    for name, value in found.items():
        if name in expected:
            _compare(name, value, expected[name].cpu(), feeds.get("attention_mask"), model)
    most = program.origin.get("size_limits", {}).get("sequence_length", _LONGEST)
    if most < _LONGEST:
        _require_agreement_beyond(most, program, model)


@torch.no_grad()
def _require_agreement_beyond(most: int, program: Program, model: Any) -> None:
    """Compare both on texts longer than the trace holds for, where both of them run there.

    A table of so many positions ends there for either; a branch on the length does not.
    """
    feeds = random_inputs(program.main, model, length=most + 2)
    has_cache = bool(program.main.ports(Role.CACHE)[0])
    try:
        with quietly(), _evaluating(model):
            expected = _steps_of_model(model, feeds) if has_cache else _call(model, feeds)
        found = _steps_of_program(program, feeds) if has_cache else _run(program, feeds)
    except Exception:  # either says so itself, where it is run
        return
    mask = feeds.get("attention_mask")
    try:
        for name in found.keys() & expected.keys():
            _compare(name, found[name], expected[name].cpu(), mask, model)
    except ExportError as error:
        raise ExportError(
            f"{type(model).__name__} decides by the length of a text what it computes: the trace "
            f"holds to {most} tokens, and the model goes on otherwise. A program needs a graph "
            "that is the same for all lengths",
            in_python="Replace the branch in the model, for example by torch.where on positions",
        ) from error


def _call(model: Any, feeds: Mapping[str, torch.Tensor], **options: Any) -> Mapping[str, Any]:
    device = next(model.parameters()).device
    options = {"return_dict": True, "use_cache": False, **options}
    found = inspect.signature(model.forward).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in found.values())
    given = {name: option for name, option in options.items() if name in found or takes_any}
    result: Mapping[str, Any] = model(**{n: t.to(device) for n, t in feeds.items()}, **given)
    return result


def _steps_of_model(model: Any, feeds: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    """What `_steps_of_program` does, with the model's own cache."""
    mask = feeds["attention_mask"]
    first = _call(model, {n: t[:, :-1] for n, t in feeds.items()}, use_cache=True)
    rest = {n: t[:, -1:] for n, t in feeds.items()} | {"attention_mask": mask}
    second = _call(
        model, rest, use_cache=True, **{cache_parameters(model)[0]: returned_cache(first)}
    )
    return {"logits": torch.cat([first["logits"], second["logits"]], dim=1)}


def _steps_of_program(
    program: Program, feeds: Mapping[str, torch.Tensor]
) -> Mapping[str, torch.Tensor]:
    """Logits of a prompt, and of one more token after it."""
    entry, tokens, mask = program.main, feeds["input_ids"], feeds["attention_mask"]
    first = _run(program, language_feeds(entry, tokens[:, :-1], mask[:, :-1]))
    cache = next_cache(entry, first)
    second = _run(program, language_feeds(entry, tokens[:, -1:], mask, cache))
    return {"logits": torch.cat([first["logits"], second["logits"]], dim=1)}


def _run(program: Program, feeds: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    values = Interpreter(program, program.main).feed(feeds)
    return dict(zip((p.name for p in program.main.outputs), values, strict=True))


def _type_of(program: Program) -> str:
    return str(model_dtype(program)).removeprefix("torch.")


def _compare(
    name: str,
    found: torch.Tensor,
    expected: torch.Tensor,
    mask: torch.Tensor | None,
    model: Any,
) -> None:
    what = f"{type(model).__name__} and its program"
    if found.shape != expected.shape:
        raise ExportError(
            f"{what} differ: {name} is {list(expected.shape)} from the model and "
            f"{list(found.shape)} from the program. {_REASON}",
            in_python=_IN_PYTHON,
        )
    if mask is not None and found.shape[:2] == mask.shape:
        found, expected = found[mask.bool()], expected[mask.bool()]  # padding means nothing
    if bool(expected.isnan().any()):
        raise ExportError(
            f"{name} of {type(model).__name__} itself is not a number in places: its weights or "
            "the numbers of its configuration are damaged. Obtain the checkpoint again"
        )
    limit = limit_of(expected)
    apart = difference(found.double(), expected.double())
    if not apart <= limit:  # also where it is not a number
        raise ExportError(
            f"{what} differ: {name} by {apart:.1e} of the largest value, the limit in "
            f"{str(expected.dtype).removeprefix('torch.')} is {limit:g}. {_REASON}",
            in_python=_IN_PYTHON,
        )


def limit_of(expected: torch.Tensor) -> float:
    """How far a value of this type may be from it, as a share of the largest."""
    return TOLERANCE.get(expected.dtype, REDUCED_TOLERANCE)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference as a share of the largest value; infinite ones must be equal."""
    same = found == expected
    if bool(same.all()):
        return 0.0
    largest = expected[expected.isfinite()].abs().max() if expected.isfinite().any() else 0.0
    return float(((found - expected)[~same].abs() / largest).max())


@contextmanager
def _evaluating(model: torch.nn.Module) -> Iterator[None]:
    """The model in evaluation mode for a while."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


_REASON = (
    "Something that the loaded model does is not in its graph, such as code that asks for values "
    "or keeps a state"
)
_IN_PYTHON = (
    "Save it with save_pretrained and load that; if it still differs, trace it with trace_module"
)
