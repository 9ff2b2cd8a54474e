"""Tensors' names that a wrapper around the model changed."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from prunec.frontend.checkpoints.findings import Finding, some

# What wrappers put into the names of the tensors that they hold.
_WRAPPERS = {
    "module": "DataParallel or DistributedDataParallel",
    "_orig_mod": "torch.compile",
    "base_model.model": "PEFT",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_forward_module": "Lightning Fabric",
}
_WRAPPER = re.compile("(?:^|(?<=[.]))(" + "|".join(map(re.escape, _WRAPPERS)) + ")[.]")


def wrapped_names(missing: Collection[str], extra: Collection[str]) -> Finding | None:
    """Names that only differ by what a wrapper, or one common prefix, put into them."""
    if any("lora_" in name for name in extra):
        return Finding(
            f"the file holds an adapter that was not merged: {some(extra, 2)}",
            "Merge it with PEFT (model.merge_and_unload()) and save the model again",
        )
    words = {word for name in extra for word in _WRAPPER.findall(name)}
    if words and {_WRAPPER.sub("", name) for name in extra} & set(missing):
        said = " and ".join(f"'{word}.' of {_WRAPPERS[word]}" for word in sorted(words))
        return _renamed(f"the tensors' names contain {said}", extra, sorted(words))
    for prefix in _prefixes(missing, extra):
        return _renamed(f"every tensor's name begins with '{prefix}'", extra, [prefix[:-1]])
    return None


def _prefixes(missing: Collection[str], extra: Collection[str]) -> Iterator[str]:
    """What to take off the names so that none is missing."""
    longest = max(missing, key=len, default="")
    for name in extra if longest else ():
        prefix = name.removesuffix(longest)
        if prefix != name and prefix.endswith("."):
            stripped = {other.removeprefix(prefix) for other in extra}
            if len(set(missing) - stripped) <= 1:  # a tied head is in no file
                yield prefix
                return


def _renamed(there: str, extra: Iterable[str], words: list[str]) -> Finding:
    takes_off = "".join(f".replace({word + '.'!r}, '')" for word in words)
    return Finding(
        f"{there}, for example {min(extra)}",
        "Save the model inside (model.module, model._orig_mod, ...), or take them off:\n"
        "     from safetensors.torch import load_file, save_file\n"
        "     names = load_file(FILE)\n"
        f"     save_file({{k{takes_off}: v for k, v in names.items()}}, FILE, "
        "metadata={'format': 'pt'})",
    )
