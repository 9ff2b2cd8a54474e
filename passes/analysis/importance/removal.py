"""The least-squares state of one layer from which units are removed."""

from __future__ import annotations

import torch


class LayerState:
    """A layer's weights, refitted to the inputs that are left, and what removing more would cost.

    With X the inputs that are left, H = XᵀX + λI and B the refitted weight, the loss of a set g
    of inputs is the growth of ½‖XB − targets‖² (and the ridge's share) when they go and the rest
    is refitted: ½ tr(B_gᵀ (H⁻¹_gg)⁻¹ B_g).

    Args:
        inverse: H⁻¹, [in, in], float64.
        weight: Of the layer, [out, in].
        unit: For each input the unit that it belongs to, -1 where to none: [in].
        size: How many units there are.

    Source: Kurtic et al. 2023, arXiv 2302.04089 (ZipLM), eq. 3 and 4.
    """

    def __init__(
        self, inverse: torch.Tensor, weight: torch.Tensor, unit: torch.Tensor, size: int
    ) -> None:
        self._inverse = inverse
        self._rows = weight.T.double()  # B: [in, out]
        self._unit = unit
        self._size = size

    def losses(self) -> torch.Tensor:
        """The loss of each unit if it goes alone: [size]; infinite for units that are gone."""
        result = torch.full((self._size,), torch.inf, dtype=torch.float64)
        order = torch.argsort(self._unit, stable=True)
        order = order[self._unit[order] >= 0]
        units, counts = torch.unique_consecutive(self._unit[order], return_counts=True)
        ends = counts.cumsum(0)
        for count in counts.unique():
            these = counts == count
            starts = (ends - counts)[these]
            inputs = order[starts[:, None] + torch.arange(int(count))]  # [unit, its inputs]
            result[units[these]] = self._block_losses(inputs)
        return result

    def _block_losses(self, inputs: torch.Tensor) -> torch.Tensor:
        blocks = self._inverse[inputs[:, :, None], inputs[:, None, :]]
        half = _whiten(blocks, self._rows[inputs])  # [unit, its inputs, out]
        return half.square().sum((1, 2)) / 2

    def remove(self, units: torch.Tensor) -> torch.Tensor:
        """Remove units in this order and refit the rest.

        Returns:
            How much the loss grew with each of them, those before it being gone: [units].
        """
        place = torch.full((self._size + 1,), -1)  # the last is that of inputs of no unit
        place[units] = torch.arange(len(units))
        turn = place[self._unit]  # [in]
        order = torch.argsort(turn, stable=True)
        goes, stays = order[turn[order] >= 0], torch.nonzero(turn < 0)[:, 0]
        block = self._inverse[goes][:, goes]
        factor = torch.linalg.cholesky(block)
        # Row by row of the triangular solution is one input after another.
        half = torch.linalg.solve_triangular(factor, self._rows[goes], upper=False)
        growth = torch.zeros(len(units), dtype=torch.float64)
        growth.index_add_(0, turn[goes], half.square().sum(1) / 2)
        across = torch.linalg.solve_triangular(factor, self._inverse[goes][:, stays], upper=False)
        self._rows = self._rows[stays] - across.T @ half
        self._inverse = self._inverse[stays][:, stays] - across.T @ across
        self._unit = self._unit[stays]
        return growth


def _whiten(blocks: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """L⁻¹ B for each block LLᵀ: [unit, inputs, inputs] and [unit, inputs, out]."""
    if blocks.shape[-1] == 1:
        return rows / blocks.sqrt()
    return torch.linalg.solve_triangular(torch.linalg.cholesky(blocks), rows, upper=False)
