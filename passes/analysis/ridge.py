"""The ridge that makes second moments invertible."""

from __future__ import annotations

import torch

from prunec.passes.contract import Context


def ridge_of(
    second: torch.Tensor, tokens: int, share: float, layer: str, context: Context
) -> float:
    """What to add to the diagonal of the second moments of a layer's inputs.

    A share of the mean of that diagonal. With fewer tokens than inputs the moments are singular,
    and the ridge is all that stands against removing anything: it grows by inputs / tokens then,
    and the run says so.

    Args:
        second: Sums of products of inputs, [in, in].
        tokens: How many were summed.
        share: Of the mean of the diagonal.
        layer: For the notice.
        context: Passes it on.
    """
    lack = max(1.0, len(second) / max(tokens, 1))
    if lack > 1:
        context.notice(
            f"{layer} has {len(second)} inputs and the calibration text {tokens} tokens: the ridge "
            f"is {lack:.1f} times what it would be; give it more text"
        )
    return lack * share * max(float(second.diagonal().mean()), 1e-30)
