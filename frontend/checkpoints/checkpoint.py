"""A checkpoint that was found, and the loaders of its parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.gguf import parsed_once
from prunec.frontend.tracing.architecture import model_class


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was found and looks complete.

    Attributes:
        reference: What the user wrote.
        location: A folder, or a hub id.
        gguf_file: The file's name inside the folder where it is a GGUF file.
        config: The model's configuration (transformers).
    """

    reference: str
    location: str
    gguf_file: str | None
    config: Any

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
                config=self.config,
                dtype=torch.float32,
                output_loading_info=True,
                **self._gguf(),
            )

        model, loading = _quietly(load, f"the weights of {self.reference}")
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
        from transformers import AutoTokenizer

        def load() -> Any:
            return AutoTokenizer.from_pretrained(self.location, **self._gguf())

        return _quietly(load, f"the tokenizer of {self.reference}")

    def _gguf(self) -> dict[str, str]:
        return {"gguf_file": self.gguf_file} if self.gguf_file else {}


def open_checkpoint(reference: str, location: str, gguf_file: str | None) -> Checkpoint:
    """Read the configuration of a checkpoint.

    Args:
        reference: What the user wrote.
        location: A folder, or a hub id.
        gguf_file: The file's name inside the folder where it is a GGUF file.

    Raises:
        SourceError: it cannot be read, or the architecture is unknown.
    """
    from transformers import AutoConfig

    options = {"gguf_file": gguf_file} if gguf_file else {}

    def load() -> Any:
        return AutoConfig.from_pretrained(location, **options)

    return Checkpoint(
        reference, location, gguf_file, _quietly(load, f"the configuration of {reference}")
    )


def _quietly(load: Callable[[], Any], what: str) -> Any:
    """Run a loader of transformers; turn whatever it raises into one sentence."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with parsed_once():
            return load()
    except SourceError:
        raise
    except Exception as error:  # the loaders raise anything from KeyError to RuntimeError
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{what} could not be loaded: {first}") from error
    finally:
        logging.set_verbosity(verbosity)
