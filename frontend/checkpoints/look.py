"""One look at a checkpoint before any weight is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.adapters import adapter_findings, has_adapter
from prunec.frontend.checkpoints.against_class import compare_with_class
from prunec.frontend.checkpoints.configuration import make_config, read_config, unknown_class
from prunec.frontend.checkpoints.documents import read_object
from prunec.frontend.checkpoints.facts import Facts
from prunec.frontend.checkpoints.findings import Finding
from prunec.frontend.checkpoints.gguf_file import gguf_config, gguf_tokenizer, read_gguf
from prunec.frontend.checkpoints.own_code import code_left_alone, loads_kernels, needs_own_code
from prunec.frontend.checkpoints.quantisation import quantised_weights
from prunec.frontend.checkpoints.tokenizer import tokenizer_findings
from prunec.frontend.checkpoints.weights import read_weights, taken_instead


@dataclass(frozen=True)
class Look:
    """What a look found.

    Attributes:
        config: The configuration (transformers); None only where there are findings.
        findings: What keeps the checkpoint from being used, all of it.
        notes: What the user should know though it can be used.
    """

    config: Any
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()


def look_at_config(folder: Path) -> Look:
    """Look at what the graph of a model depends on; the folder may have no weights."""
    facts, found = _read_config(folder)
    return Look(facts.config, tuple(found))


def look_at_folder(folder: Path, needs_tokenizer: bool = False) -> Look:
    """Look at everything: configuration, code, adapters, file headers, tokenizer.

    Args:
        folder: The checkpoint's.
        needs_tokenizer: Whether it is of no use without one.
    """
    facts, found = _read_config(folder)
    if not facts.document and has_adapter(folder):
        return Look(None, tuple(found))
    extra_files = getattr(type(facts.config), "extra_files", ())
    tensors, damaged = read_weights(folder, extra_files)
    facts = replace(facts, tensors=tensors)
    if facts.has("generation_config.json"):
        found += read_object(folder / "generation_config.json")[1]
    found += [*quantised_weights(facts), *damaged, *taken_instead(folder, facts.document)]
    model, notes = None, code_left_alone(facts.document)
    if facts.config is not None and not unknown_class(facts.document):
        comparison = compare_with_class(facts)
        model, notes = comparison.model, [*notes, *comparison.notes]
        found += comparison.findings
    unknown, unused = tokenizer_findings(facts, model, needs_tokenizer)
    return Look(facts.config, (*found, *unknown), (*notes, *unused))


def look_at_gguf(path: Path, needs_tokenizer: bool = False) -> Look:
    """Look at a GGUF file: its header, its configuration, its tokenizer."""
    reader, found = read_gguf(path)
    if found:
        return Look(None, tuple(found))
    config, odd = gguf_config(path)
    return Look(config, (*odd, *gguf_tokenizer(reader, needs_tokenizer)))


def _read_config(folder: Path) -> tuple[Facts, list[Finding]]:
    """What the folder says that it is, and what is wrong with that."""
    adapters = adapter_findings(folder)
    document, found = read_config(folder)
    if adapters and not (folder / "config.json").is_file():
        return Facts(folder, {}, None, {}), adapters
    config = None
    if not found:
        own = needs_own_code(document)
        config, odd = (None, own) if own else _made(folder, document)
        found += odd + loads_kernels(document)
    return Facts(folder, document, config, {}), found + adapters


def _made(folder: Path, document: Mapping[str, Any]) -> tuple[Any, list[Finding]]:
    config, odd = make_config(folder, document)
    return config, odd + unknown_class(document)
