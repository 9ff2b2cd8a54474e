"""From the JSON of `readers.py` to the Markdown table that people read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

PRECISIONS = ("float32", "float16", "bfloat16")
BARS = {"float32": 1e-4, "float16": 2e-2}
"""Kernels that add in another order, relative to the largest value; a half has 11 bits."""

_HEAD = """# The files of many architectures and their readers

Tiny random models of transformers, {count} of them, lowered in three precisions. Written by
`python tools/bench/readers.py` ({versions}).

- *ONNX*: `onnx.checker` in full agrees (what it refuses is not written).
- *ONNX Runtime*: the largest error against torch in the same precision, with earlier tokens in the
  cache where there is one (the bar is {single:.0e} in float32 and {half:.0e} in float16). On the
  CPU it has too few kernels in bfloat16.
- *Engine*: seconds to rewrite and build, and how many attentions had to be spelled out for it.

{good} of {rows} files are taken by all their readers.{failures}
"""


def is_good(precision: str, row: Mapping[str, Any]) -> bool:
    """Whether every reader took the file, and ONNX Runtime agreed with torch."""
    if "failed" in row or "failed" in row["engine"]:
        return False
    runtime = row.get("onnxruntime")
    return runtime is None or bool(runtime.get("largest_error", math.inf) < BARS[precision])


def to_markdown(document: Mapping[str, Any]) -> str:
    """The head and one line for each architecture."""
    found = document["architectures"]
    rows = [(n, p, row) for n, parts in found.items() for p, row in parts.items()]
    bad = [f"{n} in {p}" for n, p, row in rows if not is_good(p, row)]
    versions = document["machine"]["versions"]
    named = ("torch", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "tensorrt-rtx")
    head = _HEAD.format(
        count=len(found),
        versions=", ".join(f"{n} {versions[n]}" for n in named if n in versions),
        single=BARS["float32"],
        half=BARS["float16"],
        good=len(rows) - len(bad),
        rows=len(rows),
        failures=f" Not so: {', '.join(bad)}." if bad else "",
    )
    return "\n".join([head, *_table(found)]) + "\n"


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    titles = [f"{reader}, {p}" for p in PRECISIONS for reader in ("ONNX Runtime", "engine")]
    yield "| architecture | " + " | ".join(titles) + " |"
    yield "|---" * (len(titles) + 1) + "|"
    for name, parts in found.items():
        cells = [cell for p in PRECISIONS for cell in _cells(parts.get(p))]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _cells(row: Mapping[str, Any] | None) -> tuple[str, str]:
    if row is None:
        return "not tried", ""
    if "failed" in row:
        return _escaped(row["failed"]), ""
    runtime, engine = row.get("onnxruntime"), row["engine"]
    if runtime is None:
        agreement = "no kernels"
    else:
        agreement = _escaped(runtime["failed"]) if "failed" in runtime else _error(runtime)
    if "failed" in engine:
        return agreement, _escaped(engine["failed"])
    spelled = engine["rewritten"]["spell_out_attention"]
    return agreement, f"{engine['seconds']} s" + (f", {spelled} spelled out" if spelled else "")


def _error(row: Mapping[str, Any]) -> str:
    return f"{row['largest_error']:.0e}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
