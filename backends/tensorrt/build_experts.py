"""Build both engines of a program whose prompt chooses units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from prunec.backends.experts import MANIFEST, read_experts
from prunec.backends.tensorrt.build import build_engine
from prunec.backends.tensorrt.library import EngineError
from prunec.backends.tensorrt.manifest import EngineManifest
from prunec.backends.tensorrt.options import AxisRange, EngineOptions, Profile
from prunec.backends.tensorrt.progress import BuildProgress
from prunec.passes.ir import PREFILL, replaced_file

_PAST = "past_sequence_length"


def build_experts_engines(
    source: Path,
    folder: Path,
    options: EngineOptions | None = None,
    progress: BuildProgress | None = None,
) -> Mapping[str, EngineManifest]:
    """Build ``prefill.engine`` and ``decode.engine``, each with its manifest, and ``experts.json``.

    Each is built for its own phase of use: prefill for prompts, also after earlier tokens (so that
    it can choose anew), decode for single tokens. What the prompt chose has one size whatever the
    prompt, so decode reads it as plain buffers.

    Args:
        source: The folder that `export_experts` wrote.
        folder: Where to write.
        options: What to build, with profiles named ``prefill`` and ``decode``.
        progress: Told the phase and the fraction done, for one engine after the other.

    Returns:
        The manifest of each engine, by its entry point.

    Raises:
        ExpertsError: the source folder is not what it must be.
        EngineError: see `build_engine`.
    """
    options = options or EngineOptions()
    manifest = read_experts(source)
    entries = {n: replace(e, file=f"{n}.engine") for n, e in manifest.entries.items()}
    profiles = _profiles(options, list(entries))
    built = {
        name: build_engine(
            source / manifest.entries[name].file,
            folder / entry.file,
            replace(options, profiles=(profiles[name],)),
            progress,
        )
        for name, entry in entries.items()
    }
    with replaced_file(folder / MANIFEST) as partial:
        partial.write_text(replace(manifest, entries=entries).to_json(), encoding="utf-8")
    return built


def _profiles(options: EngineOptions, names: list[str]) -> dict[str, Profile]:
    given = {profile.name: profile for profile in options.profiles}
    missing = [name for name in names if name not in given]
    if missing:
        raise EngineError(
            f"the two engines of a prompt's choice need profiles named {names}; there is "
            f"{sorted(given)}"
        )
    longest = max(profile.require_range(_PAST).maximum for profile in given.values())
    axes = {**given[PREFILL].axes, _PAST: AxisRange(0, 0, longest)}
    return {**given, PREFILL: Profile(PREFILL, axes)}
