"""Numbers as people read them, the same on the terminal and in the report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_COUNT_UNITS = (("G", 1e9), ("M", 1e6), ("k", 1e3))
_ABBREVIATIONS = ("ffn", "kv", "qk", "vo")
_BYTE_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def format_count(value: float) -> str:
    """Four digits and a unit of a thousand.

    >>> format_count(134_515_008)
    '134.5 M'
    """
    for unit, size in _COUNT_UNITS:
        if abs(value) >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g}"


def format_bytes(value: float) -> str:
    """Four digits and a decimal unit.

    >>> format_bytes(290_000_000)
    '290 MB'
    """
    for unit, size in _BYTE_UNITS:
        if abs(value) >= size:
            return f"{value / size:.4g} {unit}"
    return f"{value:g} bytes"


def format_change(before: float, after: float) -> str:
    """The relative change with its sign.

    >>> format_change(200, 150)
    '-25.0 %'
    """
    if not before:
        return "-"
    change = 100 * (after / before - 1)
    return "0 %" if abs(change) < 0.05 else f"{change:+.1f} %"


def format_seconds(value: float) -> str:
    """Seconds below two minutes, minutes and seconds above.

    >>> format_seconds(151)
    '2 min 31 s'
    """
    if value < 120:
        return f"{value:.1f} s"
    return f"{value // 60:.0f} min {value % 60:02.0f} s"


def format_kind(kind: str) -> str:
    """A kind of structure as a heading.

    >>> format_kind("ffn-channel")
    'FFN channels'
    """
    words = [w.upper() if w in _ABBREVIATIONS else w for w in kind.split("-")]
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}s"


def format_rate(value: float) -> str:
    """A fraction in percent.

    >>> format_rate(0.8125)
    '81.2 %'
    """
    return f"{100 * value:.1f} %"


def format_json(document: Mapping[str, Any]) -> str:
    """A JSON document; numbers that JSON does not have become null."""
    return json.dumps(_finite(document), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
