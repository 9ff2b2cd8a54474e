"""The depth of a layer is told by the residual branches, not by counting structures of a kind."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

import pytest
import torch
from torch import nn

from prunec.frontend.export import trace_module
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.coupling.layers import SPANNING, find_layers
from prunec.passes.analysis.importance import Scores
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program
from prunec.passes.plan import Allocate, Plan
from support.blocks import STREAMS
from support.builder import Builder, aten

ATTENTION, DENSE, EXPERTS = "attention_plain", "ffn_plain", "experts_gathered"
NOT_UNIFORM = (ATTENTION, DENSE, ATTENTION, EXPERTS, ATTENTION, EXPERTS)


def of_blocks(*blocks: str) -> Program:
    """Each block is added to the stream; its weights are named by its place."""
    stream = STREAMS["tokens"]
    b = Builder(Random(0), is_dynamic=False, width=0)
    x = stream.start(b)
    for place, name in enumerate(blocks):
        b.scope = f"{place}.{name}"
        x = b.call(aten.add.Tensor, x, stream.blocks[name](b, x))
    b.scope = "end"
    stream.end(b, x)
    return b.finish()


def blocks_of_layers(program: Program) -> list[str]:
    """The places of the blocks whose weights lie in each layer, such as 01 for the first two."""
    layers = find_layers(find_structures(program))
    return ["".join(sorted({name[0] for name in layer.weights})) for layer in layers]


def planned(program: Program, kinds: Collection[str], **options: object) -> Plan:
    random = torch.Generator().manual_seed(0)
    scores = {
        s.name: torch.rand(s.size, dtype=torch.float64, generator=random)
        for s in find_structures(program).structures
    }
    context = Context(scores=Scores("random", scores))
    Allocate(kinds=tuple(kinds), multiple=1, floor=0.0, **options).apply(program, context)  # type: ignore[arg-type]
    assert context.plan is not None
    return context.plan


@pytest.mark.parametrize(
    ("blocks", "layers"),
    [
        (NOT_UNIFORM, ["01", "23", "45"]),
        ((ATTENTION, DENSE) * 3, ["01", "23", "45"]),
        ((ATTENTION,) * 3, ["0", "1", "2"]),
        ((DENSE,) * 3, ["0", "1", "2"]),
        (("convolved", ATTENTION) * 2, ["01", "23"]),
        ((ATTENTION, ATTENTION, DENSE) * 2, ["012", "345"]),
        (("convolved", DENSE, ATTENTION, EXPERTS, "convolved", DENSE), ["01", "23", "45"]),
        ((ATTENTION, DENSE, ATTENTION, "experts_dense"), ["01", "23"]),
    ],
)
def test_layers_are_runs_of_branches(blocks: tuple[str, ...], layers: list[str]) -> None:
    assert blocks_of_layers(of_blocks(*blocks)) == layers


@pytest.mark.parametrize(("layer", "places"), [(-1, "45"), (0, "01"), (1, "23"), (-3, "01")])
def test_a_protected_layer_stays_whole_where_layers_differ(layer: int, places: str) -> None:
    program = of_blocks(*NOT_UNIFORM)
    kinds = {s.kind for s in find_structures(program).structures} - set(SPANNING)
    cuts = planned(program, kinds, keep=0.8, method="global", protect=(layer,)).cuts
    held = [cut for cut in cuts if cut.structure.split("/")[1][0] in places]
    others = [cut for cut in cuts if cut not in held]
    assert {cut.structure.split("/")[1][0] for cut in held} == set(places)
    assert all(cut.kept_count == cut.size for cut in held)
    assert any(cut.kept_count < cut.size for cut in others)


@pytest.mark.parametrize(("layer", "branches"), [(-1, {4, 5}), (0, {0, 1}), (1, {2, 3})])
def test_the_branches_of_a_protected_layer_stay(layer: int, branches: set[int]) -> None:
    (cut,) = planned(of_blocks(*NOT_UNIFORM), ["layer"], keep=0.6, protect=(layer,)).cuts
    assert branches <= set(cut.keep)
    assert cut.kept_count < cut.size


def test_a_layer_that_is_not_there_is_refused_with_the_layers_that_are() -> None:
    with pytest.raises(PassError, match=r"protect=3: the layers are 0 to 2"):
        planned(of_blocks(*NOT_UNIFORM), ["layer"], protect=(3,))


class Classifier(nn.Module):
    """Two residual layers, and a feed-forward behind them that is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(4, 8), nn.Linear(12, 3)
        self.up = nn.ModuleList(nn.Linear(8, 16) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(16, 8) for _ in range(2))
        self.pool = nn.Linear(8, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x)
        for up, down in zip(self.up, self.down, strict=True):
            x = x + down(torch.relu(up(x)))
        return self.end(torch.relu(self.pool(x)))


def test_what_lies_behind_the_last_branch_is_no_layer() -> None:
    program = trace_module(Classifier().eval(), (torch.randn(2, 4),))
    layers = find_layers(find_structures(program))
    assert [sorted(layer.structures) for layer in layers] == [
        ["ffn-channel/up.0.weight"],
        ["ffn-channel/up.1.weight"],
    ]


def test_without_residual_branches_depth_is_the_place_among_the_kind() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    layers = find_layers(find_structures(trace_module(module.eval(), (torch.randn(2, 4),))))
    assert [len(layer.structures) for layer in layers] == [1, 1]
