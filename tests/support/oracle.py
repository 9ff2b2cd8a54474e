"""Law 1 as a function: the cut program against the original with the removed units at zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.coupling import Coupling
from prunec.passes.ir import Entry, Interpreter, Program, Role, execute, language_feeds
from prunec.passes.ir.axes import Selection, is_cut, kept, size
from prunec.passes.ir.run import next_cache
from prunec.passes.surgery import cut_program


class MaskedInterpreter(Interpreter):
    """Runs the original and holds removed units at zero in every value that carries them."""

    def __init__(
        self, program: Program, entry: Entry, coupling: Coupling, selection: Selection
    ) -> None:
        super().__init__(program, entry)
        # The interpreter runs a copy of the graph; nodes correspond by name.
        self._axes = {node.name: axes for node, axes in coupling.walk.axes.items()}
        self._selection = selection

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.op == "output" or not isinstance(value, torch.Tensor):
            return value
        for dim, axis in enumerate(self._axes.get(n.name, ())):
            if axis is not None and is_cut(axis, self._selection):
                mask = torch.zeros(size(axis), dtype=torch.bool)
                mask[torch.from_numpy(kept(axis, self._selection))] = True
                shape = [1] * value.dim()
                shape[dim] = -1
                value = torch.where(mask.view(shape), value, torch.zeros((), dtype=value.dtype))
        return value


def law_error(
    program: Program, coupling: Coupling, selection: Selection, tokens: torch.Tensor
) -> float:
    """The largest relative error between cut and masked outputs over two steps.

    Args:
        program: The original, best in float64.
        coupling: Its structures.
        selection: What stays.
        tokens: [batch, tokens]: the first half is the first step, the rest the second, so that
            the cache goes through the cut as well.
    """
    after = cut_program(program, coupling, selection)
    entry = program.main
    half = tokens.shape[1] // 2
    masked_cache: Mapping[str, torch.Tensor] | None = None
    cut_cache: Mapping[str, torch.Tensor] | None = None
    worst = 0.0
    for step in (tokens[:, :half], tokens[:, half:]):
        interpreter = MaskedInterpreter(program, entry, coupling, selection)
        values = interpreter.feed(language_feeds(entry, step, cache=masked_cache))
        masked = dict(zip((p.name for p in entry.outputs), values, strict=True))
        cut = execute(after, language_feeds(after.main, step, cache=cut_cache))
        for port, node in zip(entry.outputs, entry.output_nodes(), strict=True):
            expected = masked[port.name]
            for dim, axis in enumerate(coupling.walk.axes[node]):
                if axis is not None and is_cut(axis, selection):
                    stays = torch.from_numpy(kept(axis, selection))
                    expected = expected.index_select(dim, stays)
            worst = max(worst, relative_error(cut[port.name], expected))
        masked_cache, cut_cache = next_cache(entry, masked), next_cache(after.main, cut)
    return worst


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference over the largest expected magnitude."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} for {tuple(expected.shape)}"
    if expected.numel() == 0:
        return 0.0
    scale = float(expected.abs().max()) or 1.0
    return float((found - expected).abs().max()) / scale


def cache_law_error(
    program: Program, tokens: torch.Tensor, mask: torch.Tensor, first: int
) -> float:
    """Law 5: prefill of `first` tokens and single steps against one pass over all tokens.

    Logits of padding are left out: they mean nothing and need not agree.
    """
    entry = program.main
    (logits,) = (p.name for p in entry.ports(Role.LOGITS)[1])
    whole = execute(program, language_feeds(entry, tokens, mask))[logits]
    outputs = execute(program, language_feeds(entry, tokens[:, :first], mask[:, :first]))
    parts = [outputs[logits]]
    for position in range(first, tokens.shape[1]):
        feeds = language_feeds(
            entry,
            tokens[:, position : position + 1],
            mask[:, : position + 1],
            next_cache(entry, outputs),
        )
        outputs = execute(program, feeds)
        parts.append(outputs[logits])
    real = mask.bool()
    return relative_error(torch.cat(parts, dim=1)[real], whole[real])
