from __future__ import annotations

import pytest
import torch

from prunec.passes.analysis.products import second_moments


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 8, 9, 64])
@pytest.mark.parametrize("tokens", [0, 1, 7])
def test_every_entry_is_the_sum_of_products(size: int, tokens: int) -> None:
    rows = torch.randn(tokens, size, dtype=torch.float64)
    found = second_moments(rows)
    torch.testing.assert_close(found, torch.einsum("ti,tj->ij", rows, rows))


def test_sums_are_wide_whatever_the_products_are() -> None:
    assert second_moments(torch.randn(7, 5)).dtype == torch.float64
