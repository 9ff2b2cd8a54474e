"""What to build: the sizes that an engine accepts, its targets, and the builder's limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from prunec.backends.tensorrt.library import (
    EngineError,
    Library,
    gpu_capability,
    require_library,
)

# The mask covers what is in the cache and what is new.
_DERIVED = {"total_sequence_length": "past_sequence_length + sequence_length"}


@dataclass(frozen=True)
class AxisRange:
    """Sizes of a dynamic axis: the least, the one that kernels are chosen for, the greatest."""

    minimum: int
    optimum: int
    maximum: int

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.optimum <= self.maximum:
            raise EngineError(
                f"sizes of an axis must ascend from 0 or more: minimum {self.minimum}, "
                f"optimum {self.optimum}, maximum {self.maximum}"
            )

    def __add__(self, other: AxisRange) -> AxisRange:
        return AxisRange(
            self.minimum + other.minimum,
            self.optimum + other.optimum,
            self.maximum + other.maximum,
        )

    def __contains__(self, size: int) -> bool:
        return self.minimum <= size <= self.maximum


@dataclass(frozen=True)
class Profile:
    """An optimisation profile: one phase of use, with a range for each dynamic axis.

    Attributes:
        name: For example ``decode``.
        axes: Axis label to range. ``total_sequence_length`` follows from past and new tokens
            where it is not given; so does any label written as a sum, ``a + b``.
    """

    name: str
    axes: Mapping[str, AxisRange]

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", MappingProxyType(dict(self.axes)))

    def require_range(self, label: str) -> AxisRange:
        """The range of an axis.

        Raises:
            EngineError: the profile says nothing about it.
        """
        if label in self.axes:
            return self.axes[label]
        terms = [term.strip() for term in _DERIVED.get(label, label).split("+")]
        unknown = [term for term in terms if term not in self.axes]
        if unknown:
            raise EngineError(
                f"profile {self.name!r} has no range for the dynamic axis {label!r}; "
                f"it has {sorted(self.axes)}"
            )
        return sum((self.axes[term] for term in terms), AxisRange(0, 0, 0))

    def shapes(self, shape: Sequence[int | str]) -> tuple[tuple[int, ...], ...]:
        """The least, the best and the greatest shape of a tensor with these sizes and labels."""
        ranges = [
            AxisRange(s, s, s) if isinstance(s, int) else self.require_range(s) for s in shape
        ]
        return (
            tuple(r.minimum for r in ranges),
            tuple(r.optimum for r in ranges),
            tuple(r.maximum for r in ranges),
        )

    def accepts(self, sizes: Mapping[str, int]) -> bool:
        """Whether these sizes, by axis label, all lie in their ranges."""
        return all(size in self.require_range(label) for label, size in sizes.items())


def language_profiles(
    *, batch_size: int = 1, new_tokens: int = 1024, max_length: int = 2048
) -> tuple[Profile, Profile]:
    """A profile for reading a prompt and one for adding tokens one by one.

    Decode is for one token but accepts two: TensorRT-RTX lays the weights of a product with a
    single row out in another way, and an engine whose profiles differ in that carries every
    weight twice (SmolLM2-135M in bfloat16: 503 MB instead of 301).

    Args:
        batch_size: The greatest number of rows.
        new_tokens: The longest prompt.
        max_length: The most tokens that prompt and answer have together.
    """
    batch = AxisRange(1, batch_size, batch_size)
    prefill = {
        "batch_size": batch,
        "sequence_length": AxisRange(1, max(1, new_tokens // 2), new_tokens),
        "past_sequence_length": AxisRange(0, 0, 0),
    }
    decode = {
        "batch_size": batch,
        "sequence_length": AxisRange(1, 1, 2),
        "past_sequence_length": AxisRange(1, max(1, max_length // 2), max_length - 1),
    }
    return Profile("prefill", prefill), Profile("decode", decode)


@dataclass(frozen=True)
class EngineOptions:
    """How to build an engine.

    Attributes:
        library: ``tensorrt_rtx``, ``tensorrt`` or ``auto``.
        profiles: The sizes that it accepts, one profile for each phase of use.
        workspace_bytes: Scratch memory that kernels may ask for; the library's own where None.
        optimisation_level: 0 builds fastest, 5 searches longest; the library's own where None.
        timing_cache: A file of kernel timings, read and extended (``tensorrt`` only: RTX times
            nothing when it builds, so it leaves the file alone).
        targets: Compute capabilities such as ``8.9`` (RTX only). Empty: Ampere and later.
        version_compatible: Whether later versions of the library can load it (``tensorrt``).
        hardware_compatible: Whether every GPU from Ampere on can run it (``tensorrt``).
    """

    library: str = "auto"
    profiles: tuple[Profile, ...] = language_profiles()
    workspace_bytes: int | None = None
    optimisation_level: int | None = None
    timing_cache: Path | None = None
    targets: tuple[str, ...] = ()
    version_compatible: bool = False
    hardware_compatible: bool = False


def require_buildable(options: EngineOptions) -> Library:
    """Check everything that can be known before the work begins, and give the library.

    Raises:
        EngineError: the library is missing, does not know a target or an option, or needs a GPU.
    """
    library = require_library(options.library)
    if not options.profiles:
        raise EngineError("an engine needs at least one optimisation profile; none is given")
    if not library.builds_without_gpu and gpu_capability() is None:
        raise EngineError(
            f"{library.name} times kernels while it builds and there is no NVIDIA GPU here. "
            "Build with tensorrt_rtx (pip install 'prunec[rtx]'), or on a machine with a GPU"
        )
    if options.targets:
        _require_targets(library, options.targets)
    wants_compatibility = options.version_compatible or options.hardware_compatible
    if wants_compatibility and not library.has_compatibility:
        raise EngineError(
            f"{library.name} has no version_compatible or hardware_compatible engines: it compiles "
            "kernels on the device. Leave the option out, or name targets"
        )
    return library


def _require_targets(library: Library, targets: tuple[str, ...]) -> None:
    if not library.has_targets:
        raise EngineError(
            f"{library.name} builds for the GPU that it runs on and takes no targets; given: "
            f"{', '.join(targets)}. Use hardware_compatible, or tensorrt_rtx"
        )
    known = library.known_targets()
    unknown = [target for target in targets if target not in known]
    if unknown:
        raise EngineError(
            f"{library.name} {library.version} does not know the target {', '.join(unknown)}; "
            f"it knows {', '.join(known)}"
        )
