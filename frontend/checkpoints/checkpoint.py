"""A checkpoint that was found, and the loaders of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.findings import first_line
from prunec.frontend.checkpoints.gguf import parsed_once
from prunec.frontend.checkpoints.quantisation import unpacking, unpacking_gguf
from prunec.frontend.checkpoints.tokenizer import load_tokenizer
from prunec.frontend.tracing.architecture import model_class
from prunec.frontend.tracing.quiet import quietly


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looks complete.

    Attributes:
        reference: What the user wrote.
        location: The folder that was looked at, and that its parts are loaded from.
        gguf_file: The file's name inside the folder where it is a GGUF file.
        config: The model's configuration (transformers).
        notes: What the user should know about it.
    """

    reference: str
    location: str
    gguf_file: str | None
    config: Any
    notes: tuple[str, ...] = ()

    def load_model(self) -> torch.nn.Module:
        """The model in float32 on the CPU, in evaluation mode: of the class that is traced.

        Raises:
            SourceError: a weight file is damaged, or weights are missing from it.
            ExportError: transformers has no class for its configuration.
        """
        kind = model_class(self.config)

        def load() -> Any:
            return kind.from_pretrained(
                self.location,
                config=unpacking(self.config),
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
                **self._files(),
            )

        model, loading = explained(load, f"the weights of {self.reference}")
        if loading["missing_keys"] or loading.get("mismatched_keys"):
            missing = sorted(map(str, loading["missing_keys"]))[:5]
            raise SourceError(
                f"{self.reference}: the checkpoint lacks weights of {kind.__name__}, the class of "
                f"its configuration, for example {missing}. Name the class that it was saved from "
                "under architectures in config.json, or obtain the weights again"
            )
        return model.eval()

    def load_tokenizer(self) -> Any:
        """The tokenizer (transformers).

        Raises:
            SourceError: the checkpoint carries none.
        """

        def load() -> Any:
            return load_tokenizer(self.location, **self._gguf())

        return explained(load, f"the tokenizer of {self.reference}")

    def _files(self) -> dict[str, Any]:
        """Which files are loaded: those that were looked at."""
        if self.gguf_file is None:
            return {"use_safetensors": True}
        return {**self._gguf(), **unpacking_gguf()}

    def _gguf(self) -> dict[str, str]:
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


def explained(load: Callable[[], Any], what: str) -> Any:
    """Run a loader of transformers quietly; turn whatever it raises into one sentence.

    Raises:
        SourceError: it raises.
    """
    try:
        with parsed_once(), quietly():
            return load()
    except SourceError:
        raise
    except Exception as error:  # the loaders raise anything from KeyError to RuntimeError
        raise SourceError(f"{what} could not be loaded: {first_line(error)}") from error
