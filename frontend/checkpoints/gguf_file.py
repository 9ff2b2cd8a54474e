"""Look at a GGUF file before any weight is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prunec.frontend.checkpoints.findings import Finding, first_line
from prunec.frontend.checkpoints.gguf import parsed_once, read_file
from prunec.frontend.tracing.quiet import quietly

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_OBTAIN = "Obtain it again"


def read_gguf(path: Path) -> tuple[Any, list[Finding]]:
    """The reader of a GGUF file (gguf), and what is wrong with the file; None where damaged."""
    if not path.is_file():
        return None, [Finding("there is no such file", "Check the path")]
    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        return None, [Finding(f"it is not a GGUF file: it begins with {magic!r}", _OBTAIN)]
    size = path.stat().st_size
    try:
        reader = read_file(path)
        end = max((int(t.data_offset) + int(t.n_bytes) for t in reader.tensors), default=0)
    except (ValueError, IndexError, KeyError, TypeError):
        there = f"the file is cut short or damaged: its header cannot be read in {size} bytes"
        return None, [Finding(there, _OBTAIN)]
    if size < end:
        return None, [Finding(f"the file is cut short: {size} bytes of {end}", _OBTAIN)]
    return reader, _no_whole_model(path, reader)


def gguf_config(path: Path) -> tuple[Any, list[Finding]]:
    """The configuration (transformers) of a GGUF file; None and a finding where there is none."""
    import transformers
    from transformers import AutoConfig

    try:
        with parsed_once(), quietly():
            return AutoConfig.from_pretrained(
                path.parent, gguf_file=path.name, trust_remote_code=False
            ), []
    except Exception as error:  # the loader raises anything from KeyError to RuntimeError
        there = f"transformers {transformers.__version__} makes no model of the GGUF file"
        remedy = "Give the model as a folder with config.json and safetensors files"
        return None, [Finding(f"{there}: {first_line(error)}", remedy)]


def gguf_tokenizer(reader: Any, needs_tokenizer: bool) -> list[Finding]:
    """A tokenizer that is missing, or has more tokens than the embedding has rows."""
    field = reader.get_field("tokenizer.ggml.tokens")
    if field is None:
        remedy = "Give the model as a folder with its tokenizer"
        return [Finding("the file has no tokenizer", remedy)] if needs_tokenizer else []
    rows = [int(t.shape[-1]) for t in reader.tensors if t.name == "token_embd.weight"]
    if not rows or len(field.data) <= rows[0]:
        return []
    there = f"the tokenizer has {len(field.data)} tokens, the embedding {rows[0]} rows"
    return [Finding(there, "Convert the model again, with the tokenizer that it was trained with")]


def _no_whole_model(path: Path, reader: Any) -> list[Finding]:
    """A file that is a part of a model, or only something beside one."""
    part = _PART.search(path.name)
    if part and int(part[2]) > 1:
        return [
            Finding(
                f"it is part {int(part[1])} of {int(part[2])} of a model",
                f"Merge the parts first: llama-gguf-split --merge {path.name} MERGED.gguf",
            )
        ]
    kind = reader.get_field("general.type")
    if kind is not None and kind.contents() != "model":
        there = f"it holds no model but what GGUF calls {kind.contents()!r}"
        return [Finding(there, "Give the file of the model; merge an adapter into it first")]
    if not reader.tensors:
        return [Finding("the file holds no tensors", _OBTAIN)]
    return []
