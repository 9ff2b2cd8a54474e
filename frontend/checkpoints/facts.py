"""What was read of a checkpoint before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stored:
    """A tensor as the header of its file describes it.

    Attributes:
        shape: Its sizes.
        dtype: Its type in the words of safetensors, such as ``BF16``.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Facts:
    """What the checks of a folder look at.

    Attributes:
        folder: Where it lies.
        document: What ``config.json`` holds; empty where it cannot be read.
        config: The configuration (transformers); None where there is none to be made of it.
        tensors: What the headers of the weight files hold, by name; empty where they are not
            looked at or cannot be read.
    """

    folder: Path
    document: Mapping[str, Any]
    config: Any
    tensors: Mapping[str, Stored]

    def has(self, name: str) -> bool:
        """Whether the folder has a file of this name."""
        return (self.folder / name).is_file()
