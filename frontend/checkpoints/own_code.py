"""Code that a checkpoint brings along: it is never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prunec.frontend.checkpoints.documents import read_object
from prunec.frontend.checkpoints.facts import Facts
from prunec.frontend.checkpoints.findings import Finding, some

_REMEDY = (
    "Code from a checkpoint is not run. Use the form of this model that transformers has a class "
    "for (often a repository whose name ends in -hf)"
)


def needs_own_code(document: Mapping[str, Any]) -> list[Finding]:
    """A configuration or model class that only the checkpoint's own code has.

    Where transformers has a class of that name, that class is used and the code left alone.
    """
    import transformers
    from transformers import CONFIG_MAPPING

    own = _own_classes(document)
    if not own:
        return []
    named = document.get("architectures") or []
    models = [key for key in own if key.startswith("AutoModel")]
    is_known = document.get("model_type") in CONFIG_MAPPING and (
        not models or any(hasattr(transformers, str(name)) for name in named)
    )
    if is_known:
        return []
    there = f"the model is made of code of its own ({_files(own)}, by auto_map in config.json)"
    return [Finding(there, _REMEDY)]


def code_left_alone(document: Mapping[str, Any]) -> list[str]:
    """A note that the checkpoint has code of its own, and transformers' class is used instead."""
    own = _own_classes(document)
    if not own or needs_own_code(document):
        return []
    named = some(map(str, document.get("architectures") or ["the class of its model_type"]))
    return [f"Code of its own ({_files(own)}) is not run: {named} of transformers is used"]


def _own_classes(document: Mapping[str, Any]) -> Mapping[str, Any]:
    own = document.get("auto_map")
    return own if isinstance(own, dict) else {}


def _files(own: Mapping[str, Any]) -> str:
    return some({str(value).split("--")[-1].split(".")[0] + ".py" for value in own.values()})


def needs_own_tokenizer(facts: Facts) -> list[Finding]:
    """A tokenizer class that only the checkpoint's own code has."""
    from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

    if not facts.has("tokenizer_config.json"):
        return []
    document, damaged = read_object(facts.folder / "tokenizer_config.json")
    own = document.get("auto_map")
    if damaged or not own or (isinstance(own, dict) and "AutoTokenizer" not in own):
        return []
    name = document.get("tokenizer_class")
    if isinstance(name, str) and tokenizer_class_from_name(name) is not None:
        return []
    there = f"the tokenizer is code of its own (class {name}, by auto_map in tokenizer_config.json)"
    return [Finding(there, f"{_REMEDY}, or replace it by a tokenizer.json")]


def loads_kernels(document: Mapping[str, Any]) -> list[Finding]:
    """An implementation of attention or experts that transformers would fetch as code."""
    found = sorted({f"{key} = {value}" for key, value in _implementations(document)})
    if not found:
        return []
    there = f"config.json asks for code from elsewhere: {some(found)}"
    return [Finding(there, "Such code is not run: remove the entry from config.json")]


def _implementations(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in document.items():
        if isinstance(value, dict):
            yield from _implementations(value)
        elif key.endswith("_implementation") and isinstance(value, str) and "/" in value:
            yield key, value
