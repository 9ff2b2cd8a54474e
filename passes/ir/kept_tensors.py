"""Tensors on disk that can be made again: what is damaged is found out when it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from prunec.passes.ir.digest import digest
from prunec.passes.ir.outputs import replaced_file

_DIGEST = "digest"


def keep_tensors(file: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors with a digest of them; the file appears complete or not at all."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    with replaced_file(file) as partial:
        save_file(whole, partial, {_DIGEST: digest(whole).hex()})


def read_tensors(file: Path, notice: Callable[[str], None]) -> dict[str, torch.Tensor] | None:
    """What `keep_tensors` wrote; None where nothing was, or where it is damaged.

    Args:
        file: Where it was written.
        notice: Is told of damage.
    """
    try:
        with safe_open(file, "pt") as stored:
            expected = (stored.metadata() or {}).get(_DIGEST)
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except FileNotFoundError:
        return None
    except SafetensorError:
        tensors, expected = {}, None
    if digest(tensors).hex() == expected:
        return tensors
    notice(f"{file} is damaged; what it held is made anew")
    return None
