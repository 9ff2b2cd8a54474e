"""How the loss answers to changes of what contractions return."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.loss import TextLoss
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Interpreter, Program, language_feeds

_WINDOWS = 16
"""Of the text at most, evenly spread: a backward pass costs far more than it gives after that."""


def output_sensitivities(
    program: Program, wanted: Sequence[Contraction], context: Context, wanted_by: str
) -> dict[Contraction, torch.Tensor]:
    """The second moments of the loss's gradient at each contraction's outputs.

    With g the gradient of the summed loss at the outputs of one token, that is the mean of g gᵀ
    over the tokens (of an expert, those that it is given): the factor of the empirical Fisher
    matrix that belongs to the outputs. A change δ of one token's outputs raises the loss by about
    ½ δᵀ G δ.

    Args:
        program: A model of text; see `TextLoss` for the loss.
        wanted: The contractions.
        context: Has the text and shows the progress.
        wanted_by: For the message where there is no text.

    Returns:
        For each contraction [out, out], in float32 at least.

    Raises:
        PassError: there is no text, the program returns nothing to take a loss of, or a gradient is
            not finite.

    Source: Martens and Grosse 2015, arXiv 1503.05671 (K-FAC), eq. 1; van der Ouderaa et al. 2023,
    arXiv 2312.17244 (LLM Surgeon), eq. 5.
    """
    text = context.require_calibration(wanted_by)
    windows = text[:: -(-len(text) // _WINDOWS)].split(1)
    loss = TextLoss(program, context.seed, wanted_by)
    names = [port.name for port in program.main.outputs]
    listener = _Listener(program, program.main, wanted)
    for window in context.progress(windows, "Gradients", len(windows)):
        outputs = listener.feed(language_feeds(program.main, window))
        loss(dict(zip(names, outputs, strict=True)), window).total.backward()
    result = {c: listener.moments[c] / max(listener.rows[c], 1) for c in wanted}
    for contraction, moments in result.items():
        if not torch.isfinite(moments).all():
            raise PassError(f"the loss has no finite gradient at {contraction.node.name}")
    return result


class _Listener(Interpreter):
    """Adds up the products of gradients that come back to some nodes."""

    def __init__(self, program: Program, entry: Entry, wanted: Sequence[Contraction]) -> None:
        super().__init__(program, entry)
        self.moments: dict[Contraction, torch.Tensor] = {}
        self.rows: dict[Contraction, int] = defaultdict(int)
        self._wanted: dict[str, list[Contraction]] = defaultdict(list)
        for contraction in wanted:
            self._wanted[contraction.node.name].append(contraction)
        self._held = {c.places.name: torch.empty(0) for c in wanted if c.places is not None}

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if n.name in self._held:
            self._held[n.name] = value
        if n.name in self._wanted:
            # No weight asks for a gradient: the first of these nodes begins what is learned from.
            value = value if value.requires_grad else value.detach().requires_grad_(True)
            value.register_hook(lambda gradient, name=n.name: self._add(name, gradient))
        return value

    def _add(self, name: str, gradient: torch.Tensor) -> None:
        for contraction in self._wanted[name]:
            places = None if contraction.places is None else self._held[contraction.places.name]
            rows = contraction.rows(gradient.detach(), places)  # [token, out]
            rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
            products = rows.T @ rows
            known = self.moments.get(contraction)
            self.moments[contraction] = products if known is None else products + known
            self.rows[contraction] += len(rows)
