"""The sizes that an engine of a program should accept, from the inputs that the program has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prunec.backends.tensorrt.library import EngineError
from prunec.backends.tensorrt.options import AxisRange, Profile, language_profiles
from prunec.passes.ir import Port, Role


def program_profiles(
    inputs: Sequence[Port],
    *,
    batch_size: int = 1,
    new_tokens: int = 1024,
    max_length: int = 2048,
    ranges: Mapping[str, AxisRange] | None = None,
) -> tuple[Profile, ...]:
    """Profiles for any entry point.

    A step with a cache has one for prefill and one for decode, see `language_profiles`. What is
    run whole has one: the first axis of an input counts rows, the others of tokens and masks count
    tokens. How long a sound or how high an image may be only the caller knows.

    Args:
        inputs: Of the entry point.
        batch_size: The greatest number of rows.
        new_tokens: The longest prompt, or text.
        max_length: The most tokens that prompt and answer have together.
        ranges: Of axes by label; they come before what is said above.

    Raises:
        EngineError: an axis is none of these and `ranges` has none for it.
    """
    given = dict(ranges or {})
    if any(port.role is Role.CACHE for port in inputs):
        steps = language_profiles(
            batch_size=batch_size, new_tokens=new_tokens, max_length=max_length
        )
        return tuple(Profile(p.name, {**p.axes, **given}) for p in steps)
    rows = AxisRange(1, batch_size, batch_size)
    tokens = AxisRange(1, max(1, new_tokens // 2), new_tokens)
    labels = list(_labels(inputs))
    known = dict.fromkeys((n for n, dim, is_text in labels if dim and is_text), tokens)
    known |= dict.fromkeys((n for n, dim, _ in labels if dim == 0), rows)
    axes = known | given
    if unknown := sorted({name for name, _, _ in labels} - axes.keys()):
        raise EngineError(
            f"nothing tells how long the axes {unknown} may be; give their least, best and "
            f"greatest size, for example ranges={{{unknown[0]!r}: AxisRange(1, 64, 128)}}"
        )
    return (Profile("whole", axes),)


def _labels(inputs: Sequence[Port]) -> Iterator[tuple[str, int, bool]]:
    """The label of each dynamic axis, its dimension, and whether integers run along it."""
    for port in inputs:
        for dim, size in enumerate(port.shape):
            if isinstance(size, str):
                yield size, dim, not port.dtype.is_floating_point
