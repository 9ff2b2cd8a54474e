"""Bring a checkpoint from the Hugging Face hub, or its cache, into a folder of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prunec.frontend.checkpoints.errors import SourceError
from prunec.frontend.checkpoints.findings import first_line

SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")
"""All files of a checkpoint but its weights."""


def hub_folder(reference: str, names: Sequence[str]) -> Path:
    """The folder with a repository's files of these names or patterns, as the cache keeps it.

    Raises:
        SourceError: the repository is unknown, needs a licence or a login, or can be neither
            reached nor found in the cache.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(reference, allow_patterns=list(names)))
    except GatedRepoError as error:
        raise SourceError(
            f"{reference} needs its licence accepted at https://hf.co/{reference}, and a login: "
            "hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"{reference} is neither a folder here nor a model on the hub, or it is private. Check "
            "the name, or log in: hf auth login"
        ) from error
    except HFValidationError as error:
        raise SourceError(f"{reference} is neither a folder here nor a hub id: {error}") from error
    except Exception as error:  # a network can fail in any way; what is in the cache will do
        return _cached(reference, error)


def _cached(reference: str, error: Exception) -> Path:
    from huggingface_hub import constants, try_to_load_from_cache

    for name in ("config.json", "adapter_config.json"):
        found = try_to_load_from_cache(reference, name)
        if isinstance(found, str):
            return Path(found).parent
    raise SourceError(
        f"{reference} is not in the cache ({constants.HF_HUB_CACHE}) and the hub cannot be reached "
        f"({first_line(error)}). Check the network and HF_HUB_OFFLINE, or give a folder: hf "
        f"download {reference} --local-dir FOLDER, where there is a network"
    ) from error
