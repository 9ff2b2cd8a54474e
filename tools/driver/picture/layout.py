"""Place boxes in rows, sources above their readers, with few crossings.

Source: Sugiyama, Tagawa and Toda 1981, "Methods for visual understanding of hierarchical system
structures": layers, a placeholder on each row that a long line passes, barycentres.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from prunec.driver.picture.boxes import Box

_SWEEPS = 8
_GAP = 2.0  # characters between two boxes
_LINE_WIDTH = 3.0  # what a line that passes a row takes of it


@dataclass(frozen=True)
class Layout:
    """Where everything is, in characters across and rows down.

    Attributes:
        centres: The middle of each box: across, row.
        widths: Of each box.
        lines: For each line the points that it goes through.
    """

    centres: Sequence[tuple[float, int]]
    widths: Sequence[float]
    lines: Sequence[Sequence[tuple[float, int]]]


def place(boxes: Sequence[Box]) -> Layout:
    """Lay the boxes out."""
    rows = _rows(boxes)
    widths = [float(max(len(box.title), len(box.detail)) + 2) for box in boxes]
    chains: list[list[int]] = []
    for reader, box in enumerate(boxes):
        for source in box.sources:
            between = range(rows[source] + 1, rows[reader])
            passing = range(len(rows), len(rows) + len(between))
            rows += between
            widths += [_LINE_WIDTH] * len(between)
            chains.append([source, *passing, reader])
    across = _across(rows, widths, chains)
    points = list(zip(across, rows, strict=True))
    lines = [[points[item] for item in chain] for chain in chains]
    return Layout(points[: len(boxes)], widths[: len(boxes)], lines)


def _rows(boxes: Sequence[Box]) -> list[int]:
    """Each box below what it reads, and no higher than right above its first reader."""
    rows = [0] * len(boxes)
    readers: dict[int, list[int]] = defaultdict(list)
    for item, box in enumerate(boxes):
        rows[item] = 1 + max((rows[source] for source in box.sources), default=-1)
        for source in box.sources:
            readers[source].append(item)
    for item in sorted(readers, reverse=True):
        rows[item] = min(rows[reader] for reader in readers[item]) - 1
    return rows


def _across(
    rows: Sequence[int], widths: Sequence[float], chains: Sequence[Sequence[int]]
) -> list[float]:
    """Draw each item to the middle of its neighbours, downwards and upwards in turn."""
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for chain in chains:
        for upper, lower in pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    members = [[i for i, row in enumerate(rows) if row == r] for r in range(max(rows) + 1)]
    across = [0.0] * len(rows)
    for row in members:
        _pack(row, [float(i) for i in range(len(row))], widths, across)
    for sweep in range(_SWEEPS):
        neighbours = below if sweep % 2 else above
        for row in reversed(members) if sweep % 2 else members:
            wanted = [_mean([across[n] for n in neighbours[i]], across[i]) for i in row]
            _pack(row, wanted, widths, across)
    return across


def _pack(
    row: Sequence[int], wanted: Sequence[float], widths: Sequence[float], across: list[float]
) -> None:
    """Put the items of a row as near to where they are wanted as their widths allow."""
    order = sorted(range(len(row)), key=lambda i: wanted[i])
    right = float("-inf")
    for i in order:
        across[row[i]] = max(wanted[i], right + widths[row[i]] / 2)
        right = across[row[i]] + widths[row[i]] / 2 + _GAP
    shift = _mean([wanted[i] - across[row[i]] for i in order], 0.0)
    for item in row:
        across[item] += shift


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise
