"""Constants are rounded where they meet the values of a program that was narrowed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunec.frontend.export import trace_module
from prunec.passes.ir import Program, cast, execute

# A few roundings of outputs of about one.
ROUNDING = {torch.float16: 4e-3, torch.bfloat16: 3e-2}
LENGTH = 300  # bfloat16 has no integers of this size: positions in it would be off


class Between(nn.Module):
    """Two layers with something between them, and constants of several shapes."""

    def __init__(self, between: Callable[[Between, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.between, self.last = nn.Linear(8, 8), between, nn.Linear(8, 8)
        self.norm = nn.BatchNorm1d(8)
        self.plain = nn.BatchNorm1d(8, affine=False)
        for name, shape in {"row": (8,), "table": (400, 8), "matrix": (8, 8)}.items():
            self.register_buffer(name, torch.rand(shape) / 4)
        self.register_buffer("filter", torch.rand(8, 1, 3) / 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.between(self, self.first(x)))


def sinusoids(h: Tensor) -> Tensor:
    angles = torch.arange(h.shape[1])[:, None] / 10 ** (torch.arange(8) / 8)
    return angles.sin()


BETWEEN: dict[str, Callable[[Between, Tensor], Tensor]] = {
    "running statistics": lambda m, h: m.norm(h.transpose(1, 2)).transpose(1, 2),
    "statistics alone": lambda m, h: m.plain(h.transpose(1, 2)).transpose(1, 2),
    "a buffer": lambda m, h: h * m.row,
    "a part of a table": lambda m, h: h + m.table[: h.shape[1]],
    "rows that positions choose": lambda m, h: h + m.table[torch.arange(h.shape[1])],
    "a matrix": lambda m, h: h @ m.matrix,
    "a filter": lambda m, h: F.conv1d(h.transpose(1, 2), m.filter, padding=1, groups=8).mT,
    "a table that is computed": lambda m, h: h + sinusoids(h),
    "joined": lambda m, h: torch.cat([m.row.expand(h.shape[0], 1, 8), h[:, 1:]], 1),
    "a mask that is made": lambda m, h: (
        (h @ h.mT + torch.full((h.shape[1],) * 2, -1e9).triu(1)).softmax(-1) @ h
    ),
}


def traced(name: str) -> tuple[Program, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(2, LENGTH, 8)
    return trace_module(Between(BETWEEN[name]).eval(), (x,)), x


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", BETWEEN)
def test_a_narrowed_program_computes_the_same(name: str, dtype: torch.dtype) -> None:
    program, x = traced(name)
    wanted = execute(program, {"x": x})["output"]
    found = execute(cast(program, dtype), {"x": x.to(dtype)})["output"]
    assert found.dtype == dtype
    assert (found.float() - wanted).abs().max() < ROUNDING[dtype] * wanted.abs().max()


def test_what_is_cast_to_float32_on_purpose_stays_wide() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("row", torch.full((4,), 1 / 3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.layer(x).to(torch.float32) - self.row).type_as(x)

    x = torch.randn(2, 4)
    narrow = cast(trace_module(Wide().eval(), (x,)), torch.bfloat16)
    difference = next(n for n in narrow.main.graph.nodes if "sub" in str(n.target))
    assert [n.meta["val"].dtype for n in difference.args] == [torch.float32] * 2


def test_a_constant_output_has_the_type_of_its_port() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("row", torch.rand(4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.layer(x), self.row * 2

    x = torch.randn(2, 4)
    narrow = cast(trace_module(Both().eval(), (x,)), torch.float16)
    found = execute(narrow, {"x": x.half()})
    assert [found[p.name].dtype for p in narrow.main.outputs] == [torch.float16] * 2
