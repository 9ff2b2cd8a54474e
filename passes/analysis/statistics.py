"""Sums over the calibration text of what contractions are given, one contraction after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from prunec.passes.analysis.contractions import Contraction
from prunec.passes.analysis.products import second_moments
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, language_feeds
from prunec.passes.ir.staged import StagedRun

_BATCH = 8  # windows a forward pass


@dataclass(frozen=True)
class Moments:
    """Sums over all tokens of one contraction's inputs, in float64.

    Attributes:
        tokens: How many vectors were summed.
        total: Of the inputs: [in].
        squares: Of their squares, for each batch of the text: [batch, in].
        second: Of their products, XᵀX: [in, in]. None where nobody asked for it.
    """

    tokens: int
    total: torch.Tensor
    squares: torch.Tensor
    second: torch.Tensor | None

    @property
    def variance(self) -> torch.Tensor:
        """The variance of each input over the tokens: [in]."""
        tokens = max(self.tokens, 1)  # an expert may be given none
        return (self.squares.sum(0) / tokens - (self.total / tokens).square()).clamp_min(0)

    def require_second(self) -> torch.Tensor:
        """The second moments of one who asked for them."""
        assert self.second is not None
        return self.second


def stream_moments(
    program: Program,
    wanted: Sequence[Contraction],
    context: Context,
    wanted_by: str,
    *,
    with_second: bool = False,
) -> Iterator[tuple[Contraction, Moments]]:
    """Give the moments of one contraction after another.

    All batches advance to a contraction before any goes past it, so what is in memory at once is
    the moments of one contraction and the activations that later ones need.

    Args:
        program: What to run.
        wanted: The contractions, in graph order.
        context: Has the text and shows the progress.
        wanted_by: For the message where there is no text.
        with_second: Whether to sum the products of inputs too: that costs as much as a layer.

    Raises:
        PassError: there is no text, or an input is not finite; names the node.
    """
    batches = context.require_calibration(wanted_by).split(_BATCH)
    feeds = [language_feeds(program.main, batch) for batch in batches]
    held = {c.places for c in wanted if c.places is not None}
    run = StagedRun(program, program.main, feeds, [c.node.name for c in wanted], held)
    for contraction in context.progress(wanted, "Activations", len(wanted)):
        yield contraction, _sum(run, contraction, len(feeds), with_second)


@torch.no_grad()
def _sum(run: StagedRun, contraction: Contraction, batches: int, with_second: bool) -> Moments:
    totals, squares, tokens = [], [], 0
    second: torch.Tensor | None = None
    for batch in range(batches):
        node = run.advance(contraction.node.name, batch)
        places = None if contraction.places is None else run.read(contraction.places, batch)
        x = contraction.rows(run.operand(node, contraction.operand, batch), places)  # [token, in]
        # Within a batch in single precision, sums of batches in double: several times as fast.
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        totals.append(x.sum(0).double())
        squares.append(x.square().sum(0).double())
        tokens += len(x)
        if with_second:
            products = second_moments(x)
            second = products if second is None else second.add_(products)
    moments = Moments(tokens, torch.stack(totals).sum(0), torch.stack(squares), second)
    _require_finite(moments, contraction)
    return moments


def _require_finite(moments: Moments, contraction: Contraction) -> None:
    bad = ~torch.isfinite(moments.squares)
    if moments.second is not None:
        bad = bad | ~torch.isfinite(moments.second).all(1)
    if bad.any():
        inputs = torch.nonzero(bad.any(0))[:, 0].tolist()
        raise PassError(
            f"activations at {contraction.node.name} are not finite: {len(inputs)} of "
            f"{bad.shape[1]} inputs, the first {inputs[0]}, in {int(bad.any(1).sum())} of "
            f"{len(bad)} batches. Check the checkpoint, or compute in float32"
        )
