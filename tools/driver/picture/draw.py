"""Draw a structure as a self-contained SVG that reads on light and on dark pages."""

from __future__ import annotations

from itertools import starmap
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from prunec.driver.picture.boxes import Box, Role, find_boxes, find_structure
from prunec.driver.picture.layout import Layout, place
from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.ir import Program, replaced_file

_POINTS = 8  # of the letters
_CHARACTER = 0.602 * _POINTS / 72  # inches; what one takes in the monospaced font
_ROW = 0.72  # inches from one row to the next
_BOX = 0.40  # inches; height of a box
_HEAD = 0.7  # inches above the first row
_INK = "#1c1c1a"
_GREY = "#85857f"  # reads on white and on black
_COLOURS = {
    Role.WEIGHT: ("#dbe7f5", "#4f7fb5"),
    Role.CACHE: ("#e2efda", "#6a9a52"),
    Role.CARRIER: ("#f0efea", "#8f8e86"),
    Role.READER: ("#faeed7", "#c0913a"),
}
_FONT: dict[str, Any] = {"family": "monospace", "size": _POINTS}


def draw_structure(program: Program, coupling: Coupling, name: str, path: Path) -> Structure:
    """Write a picture of one structure and return it.

    Args:
        program: What was analysed.
        coupling: Its structures.
        name: Of a structure, or a kind: the first of it.
        path: The SVG file.

    Raises:
        PictureError: there is no such structure, or it cannot be drawn.
        OSError: the file cannot be written; what was there before is untouched.
    """
    structure = find_structure(coupling, name)
    boxes, left_out = find_boxes(program, coupling, structure)
    figure = _figure(boxes, place(boxes), _caption(structure, left_out))
    # Without a salt, each file would have other names inside.
    with rc_context({"svg.hashsalt": "prunec"}), replaced_file(path) as partial:
        figure.savefig(partial, format="svg", transparent=True, metadata={"Date": None})
    return structure


def _caption(structure: Structure, left_out: int) -> str:
    more = f"; {left_out} more boxes follow" if left_out else ""
    return (
        f"{structure.name}\n"
        f"{structure.size} units of kind {structure.kind}: the sizes between asterisks{more}\n"
        "blue: weights  green: cache  grey: operators  ochre: operators that end it"
    )


def _figure(boxes: list[Box], layout: Layout, caption: str) -> Figure:
    left = min(x - w / 2 for (x, _), w in zip(layout.centres, layout.widths, strict=True)) - 2
    right = max(x + w / 2 for (x, _), w in zip(layout.centres, layout.widths, strict=True)) + 2
    right = max(right, left + max(map(len, caption.splitlines())) + 4)
    rows = max(row for _, row in layout.centres) + 1
    width, height = (right - left) * _CHARACTER, _HEAD + rows * _ROW
    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)

    def point(across: float, row: float) -> tuple[float, float]:
        return (across - left) * _CHARACTER, _HEAD + (row + 0.5) * _ROW

    for line in layout.lines:
        # Straight down through a row between its boxes, at an angle from row to row.
        through = [(x, y + side * _BOX / 2) for x, y in starmap(point, line) for side in (-1, 1)]
        axes.plot(*zip(*through[1:-1], strict=True), color=_GREY, linewidth=0.9, zorder=1)
    for box, (x, row), box_width in zip(boxes, layout.centres, layout.widths, strict=True):
        _draw_box(axes, box, point(x, row), box_width * _CHARACTER)
    axes.text(2 * _CHARACTER, 0.2, caption, color=_GREY, va="top", **_FONT)
    return figure


def _draw_box(axes: Axes, box: Box, middle: tuple[float, float], width: float) -> None:
    x, y = middle
    fill, edge = _COLOURS[box.role]
    corner = (x - width / 2, y - _BOX / 2)
    style = "round,pad=0,rounding_size=0.05"
    patch = FancyBboxPatch(corner, width, _BOX, style, fc=fill, ec=edge, linewidth=0.9, zorder=2)
    axes.add_patch(patch)
    axes.text(x, y - 0.08, box.title, color=_INK, ha="center", va="center", zorder=3, **_FONT)
    axes.text(x, y + 0.09, box.detail, color=_INK, ha="center", va="center", zorder=3, **_FONT)
