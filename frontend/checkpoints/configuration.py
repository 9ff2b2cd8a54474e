"""What config.json says, and whether transformers knows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.documents import read_object
from prunec.frontend.checkpoints.findings import Finding, first_line, some
from prunec.frontend.tracing.quiet import quietly

CONFIG = "config.json"


def read_config(folder: Path) -> tuple[Mapping[str, Any], list[Finding]]:
    """What ``config.json`` holds, and what is wrong with it as a file."""
    if (folder / CONFIG).is_file():
        return read_object(folder / CONFIG)
    there = sorted(path.name for path in folder.iterdir())[:8] or "nothing"
    packed = sorted(folder.glob("*.gguf"))
    remedy = (
        f"Give the GGUF file itself: {packed[0]}"
        if packed
        else "Name the folder that save_pretrained wrote, with config.json and model.safetensors"
    )
    return {}, [Finding(f"the folder has no {CONFIG}; there is {there}", remedy)]


def make_config(folder: Path, document: Mapping[str, Any]) -> tuple[Any, list[Finding]]:
    """The configuration (transformers) of a folder; None and a finding where there is none."""
    import transformers
    from transformers import CONFIG_MAPPING, AutoConfig

    kind, version = document.get("model_type"), transformers.__version__
    if not isinstance(kind, str) or not kind:
        there = f"{CONFIG} names no model_type" + (f" but {kind!r}" if kind is not None else "")
        return None, [Finding(there, 'Add the one of its architecture, such as "llama"')]
    if kind not in CONFIG_MAPPING:
        return None, [
            Finding(
                f"{CONFIG} names the model_type {kind!r}, which transformers {version} does not "
                "know",
                f"Correct it, or install a transformers that knows it (it was written by "
                f"{document.get('transformers_version', 'an unknown version')})",
            )
        ]
    try:
        with quietly():
            return AutoConfig.from_pretrained(folder, trust_remote_code=False), []
    except Exception as error:  # whatever the configuration's class makes of odd values
        there = f"{CONFIG} is no configuration that transformers {version} accepts"
        return None, [Finding(f"{there}: {first_line(error)}", f"Correct {CONFIG}")]


def unknown_class(document: Mapping[str, Any]) -> list[Finding]:
    """A class that transformers does not have: another one would be loaded in its place."""
    import transformers

    names = document.get("architectures")
    if names is None or names == []:
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        there = f"{CONFIG} has the architectures {names!r}, not a list of names"
        return [Finding(there, f"Correct {CONFIG}")]
    if any(hasattr(getattr(transformers, name, None), "_from_config") for name in names):
        return []
    return [
        Finding(
            f"{CONFIG} names the class {some(names)}, which is no model of transformers "
            f"{transformers.__version__}",
            "Set architectures to the class of transformers whose weights these are, or install "
            "a transformers that has it",
        )
    ]
