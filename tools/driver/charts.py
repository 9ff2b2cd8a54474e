"""Draw what was kept as SVG; colours come from the page's style, so that it follows the theme."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

_WIDTH = 520
_HEIGHT = 170
_LEFT = 50
_TOP = 8
_WIDEST = 40  # a column; a shallow model does not fill the width


def draw_kept(kind: Mapping[str, Any]) -> Markup:
    """Columns of one structure kind, one for each layer: what was kept of what was there.

    Args:
        kind: ``kind``, ``place`` (what a column is) and ``layers``, each with ``index``, ``size``
            and ``kept``.
    """
    layers: Sequence[Mapping[str, int]] = kind["layers"]
    most = max(layer["size"] for layer in layers)
    step = min(_WIDEST, (_WIDTH - _LEFT) / len(layers))
    columns = [
        _column(position * step, step, layer, most, kind["place"])
        for position, layer in enumerate(layers)
    ]
    every = -(-len(layers) // 12)  # a dozen labels at most
    labels = [
        _label(_LEFT + (position + 0.5) * step, layer["index"])
        for position, layer in enumerate(layers)
        if position % every == 0
    ]
    lines = [_grid_line(most, share) for share in (0.0, 0.5, 1.0)]
    total = sum(layer["size"] for layer in layers)
    kept = sum(layer["kept"] for layer in layers)
    caption = escape(f"{kind['kind']}: {kept} of {total} kept, by {kind['place']}")
    return Markup(
        f'<svg class="chart" role="img" aria-label="{caption}" '
        f'viewBox="0 0 {_WIDTH} {_TOP + _HEIGHT + 20}">{"".join(lines + columns + labels)}</svg>'
    )


def _column(offset: float, step: float, layer: Mapping[str, int], most: int, place: str) -> str:
    left, width = _LEFT + offset + step * 0.12, step * 0.76
    full, kept = (_HEIGHT * layer[key] / most for key in ("size", "kept"))
    bars = "".join(
        f'<rect class="{name}" x="{left:.1f}" y="{_TOP + _HEIGHT - height:.1f}" '
        f'width="{width:.1f}" height="{height:.1f}" rx="2"/>'
        for name, height in (("cut", full), ("kept", kept))
    )
    title = f"{place} {layer['index']}: {layer['kept']} of {layer['size']} kept"
    return f"<g><title>{title}</title>{bars}</g>"


def _label(middle: float, index: int) -> str:
    return (
        f'<text class="axis" x="{middle:.1f}" y="{_TOP + _HEIGHT + 15}" '
        f'text-anchor="middle">{index}</text>'
    )


def _grid_line(most: int, share: float) -> str:
    height = _TOP + _HEIGHT * (1 - share)
    line = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{height}" y2="{height}"/>'
    units = most * share
    if not units.is_integer():
        return line  # there are no half units
    return (
        f'{line}<text class="axis" x="{_LEFT - 7}" y="{height + 4}" text-anchor="end">'
        f"{units:g}</text>"
    )
