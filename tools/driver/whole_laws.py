"""The law of a model that reads texts whole: its file computes what the program computes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.fx import Node

from prunec.backends.ort import OrtWholeRunner
from prunec.backends.torch import TorchWholeRunner
from prunec.driver.tolerances import difference, judge
from prunec.passes.ir import Program, Role

_CASES = ((1, 1, "none"), (1, 7, "none"), (3, 5, "right"), (3, 9, "left"), (4, 12, "right"))
"""Batch, tokens, and where every row but the first is padded."""


def padding_law(program: Program, onnx: Path) -> str:
    """An ONNX file gives the program's outputs for padded batches, at real tokens.

    Raises:
        ViolationError: it does not.
    """
    here, there = TorchWholeRunner(program), OrtWholeRunner(onnx)
    worst = 0.0
    for batch, length, side in _CASES:
        tokens, mask = _padded(program, batch, length, side)
        expected, found = here.run(tokens, mask), there.run(tokens, mask)
        for output in here.outputs:
            real = mask.bool() if output.is_per_token else torch.ones(batch, dtype=torch.bool)
            a, b = expected[output.name][real], found[output.name][real]
            worst = max(worst, difference(a, b))
    return judge(worst, program, "outputs", len(_CASES))


def _padded(
    program: Program, batch: int, length: int, side: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens and their mask, padding in place of tokens where the program knows one."""
    generator = torch.Generator().manual_seed(batch * 100 + length)
    tokens = torch.randint(_known_tokens(program), (batch, length), generator=generator)
    mask = torch.ones_like(tokens)
    for row in range(1, batch):
        count = min(row, length - 1)
        mask[row, :count] = 0
    mask = mask.flip(1) if side == "right" else mask
    padding = program.origin.get("pad_token_id")
    if padding is not None:
        tokens = torch.where(mask.bool(), tokens, padding)
    return tokens, mask


def _known_tokens(program: Program) -> int:
    """How many tokens surely exist: the rows of the smallest table that tokens lead to."""
    entry = program.main
    ports = zip(entry.input_nodes(), entry.inputs, strict=True)
    reached: set[Node] = {node for node, port in ports if port.role is Role.TOKENS}
    rows = []
    for node in entry.graph.nodes:
        if not reached.isdisjoint(node.all_input_nodes):
            reached.add(node)
        if node.target is torch.ops.aten.embedding.default and node.args[1] in reached:
            rows.append(int(node.args[0].meta["val"].shape[0]))
    return min(rows, default=1)
