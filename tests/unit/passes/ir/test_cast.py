"""Masks and limits that a narrower type cannot hold become the most that it can."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunec.frontend.export import trace_module
from prunec.passes.ir import Program, cast, execute

LEAST = torch.finfo(torch.float32).min
HIDDEN = torch.arange(8) < 4
# Probabilities of a softmax over eight scores; a mask that is lost moves them by a tenth.
ROUNDING = {torch.float16: 2e-3, torch.bfloat16: 2e-2}


class Masked(nn.Module):
    """Scores of which four are hidden, and their softmax."""

    def __init__(self, hide: Callable[[Masked, Tensor], Tensor]) -> None:
        super().__init__()
        self.scores, self.hide = nn.Linear(8, 8), hide
        for name, value in (("low", -1e9), ("least", LEAST), ("infinite", -torch.inf)):
            self.register_buffer(name, torch.where(HIDDEN, value, 0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.hide(self, self.scores(x)).softmax(-1)


HIDE: dict[str, Callable[[Masked, Tensor], Tensor]] = {
    "filled": lambda m, h: h.masked_fill(HIDDEN, -1e9),
    "filled far down": lambda m, h: h.masked_fill(HIDDEN, -1e30),
    "filled with the least": lambda m, h: h.masked_fill(HIDDEN, LEAST),
    "filled with an integer": lambda m, h: h.masked_fill(HIDDEN, -1000000),
    "filled with a tensor": lambda m, h: h.masked_fill(HIDDEN, torch.tensor(-1e9)),
    "filled in place": lambda m, h: h.clone().masked_fill_(HIDDEN, -1e9),
    "chosen": lambda m, h: torch.where(HIDDEN, -1e9, h),
    "chosen from a tensor": lambda m, h: torch.where(HIDDEN, torch.full_like(h, -1e9), h),
    "chosen from a buffer": lambda m, h: torch.where(HIDDEN, m.low, h),
    "added": lambda m, h: h + torch.full((8,), -1e9) * HIDDEN,
    "added of a type": lambda m, h: h + torch.full((8,), LEAST, dtype=torch.float32) * HIDDEN,
    "added of the scores' type": lambda m, h: h + HIDDEN.to(h.dtype) * torch.finfo(h.dtype).min,
    "added as a share": lambda m, h: h + (1.0 - (~HIDDEN).type_as(h)) * -1e9,
    "added by a factor": lambda m, h: torch.add(h, HIDDEN.type_as(h), alpha=-1e9),
    "subtracted": lambda m, h: h - 1e12 * HIDDEN,
    "a buffer": lambda m, h: h + m.low,
    "a buffer of the least": lambda m, h: h + m.least,
    "a buffer of the scores' type": lambda m, h: h + m.low.type_as(h),
    "an infinite buffer": lambda m, h: h + m.infinite.type_as(h),
    "clamped": lambda m, h: h.masked_fill(HIDDEN, -torch.inf).clamp(min=-1e9, max=1e9),
    "padded": lambda m, h: F.pad(h[..., 4:], (4, 0), value=-1e9),
    "filled by positions": lambda m, h: h.index_fill(-1, torch.arange(4), -1e9),
    "compared": lambda m, h: h.masked_fill(h.masked_fill(HIDDEN, -1e9) <= -1e9, -100.0),
}


def traced(name: str) -> tuple[Program, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(3, 8)
    return trace_module(Masked(HIDE[name]).eval(), (x,)), x


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", HIDE)
def test_a_mask_hides_in_a_narrower_type_what_it_hid(name: str, dtype: torch.dtype) -> None:
    program, x = traced(name)
    wanted = execute(program, {"x": x})["output"]
    found = execute(cast(program, dtype), {"x": x.to(dtype)})["output"]
    assert (found.float() - wanted).abs().max() < ROUNDING[dtype]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("name", ["filled", "added as a share", "a buffer of the scores' type"])
def test_a_mask_stays_finite(name: str, dtype: torch.dtype) -> None:
    program, x = traced(name)
    narrow = cast(program, dtype)
    softmax = next(n for n in narrow.main.graph.nodes if "softmax" in str(n.target))
    seen = {}

    class Watch(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            seen[n.name] = value = super().run_node(n)
            return value

    graph = torch.fx.GraphModule(nn.Module(), narrow.main.graph)
    Watch(graph).run(*[narrow.weights[n] for _, n in narrow.main.weight_nodes()], x.to(dtype))
    assert seen[softmax.args[0].name].isfinite().all()


def test_an_infinite_mask_stays_infinite() -> None:
    narrow = cast(traced("an infinite buffer")[0], torch.float16)
    assert narrow.weights["infinite"].isinf().sum() == 4


class Wide(nn.Module):
    """A large number where the model itself computes in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Linear(8, 8)
        self.register_buffer("large", torch.tensor(1e6))

    def forward(self, x: Tensor) -> Tensor:
        h = self.scores(x).to(torch.float32)
        return (h * 1e-6 / self.large * 1e6 * 1e6).type_as(x)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_numbers_of_what_is_computed_in_float32_stay(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8)
    program = trace_module(Wide().eval(), (x,))
    narrow = cast(program, dtype)
    assert narrow.weights["large"] == 1e6
    found, wanted = execute(narrow, {"x": x.to(dtype)}), execute(program, {"x": x})
    assert (found["output"].float() - wanted["output"]).abs().max() < ROUNDING[dtype] * 10
