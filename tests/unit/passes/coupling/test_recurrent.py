"""Recurrent layers: what they read is cut, their state is refused, and so on around them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from prunec.frontend.export import trace_module
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, cast, execute
from prunec.passes.surgery import cut_program
from support.laws import ROUNDING, choose, require_laws
from support.oracle import relative_error

Make = Callable[[], nn.Module]
LAYERS: dict[str, tuple[Make, int]] = {
    "lstm": (lambda: nn.LSTM(8, 6, batch_first=True), 6),
    "lstm of two layers, both ways": (
        lambda: nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True),
        12,
    ),
    "lstm with a projection": (lambda: nn.LSTM(8, 6, proj_size=3, batch_first=True), 3),
    "lstm without biases": (lambda: nn.LSTM(8, 6, 2, bias=False, batch_first=True), 6),
    "gru": (lambda: nn.GRU(8, 6, batch_first=True), 6),
    "gru, both ways": (lambda: nn.GRU(8, 6, bidirectional=True, batch_first=True), 12),
    "tanh": (lambda: nn.RNN(8, 6, batch_first=True), 6),
    "relu": (lambda: nn.RNN(8, 6, 2, nonlinearity="relu", batch_first=True), 6),
}
CELLS: dict[str, Make] = {
    "lstm": lambda: nn.LSTMCell(8, 6),
    "gru": lambda: nn.GRUCell(8, 6),
    "tanh": lambda: nn.RNNCell(8, 6),
}


class Around(nn.Module):
    """A feed-forward, a recurrent layer, a feed-forward."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.up, self.layer = nn.Linear(5, 8), layer
        self.hidden, self.down = nn.Linear(width, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        out, *_ = self.layer(torch.relu(self.up(x)))
        return self.down(torch.tanh(self.hidden(out)))


class AroundCell(Around):
    def forward(self, x: Tensor) -> Tensor:
        read, state = torch.relu(self.up(x)), None
        for token in range(3):
            state = self.layer(read[:, token], state)
        last = state[0] if isinstance(state, tuple) else state
        return self.down(torch.tanh(self.hidden(last)))


def traced(module: nn.Module) -> Program:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    program = trace_module(module.eval(), (torch.randn(4, 3, 5),), ({0: Dim.DYNAMIC},))
    return cast(program, torch.float64)


def require_cuts_around(program: Program) -> None:
    coupling = find_structures(program)
    assert sorted((s.kind, s.size) for s in coupling.structures) == [
        ("ffn-channel", 7),
        ("ffn-channel", 8),
    ]
    stays = {m.weight for r in coupling.refusals if "gates" in r.refusal.reason for m in r.members}
    assert stays >= {name for name in program.weights if "layer" in name and "hh" in name}
    feeds = {"x": torch.randn(4, 3, 5, dtype=torch.float64)}
    random = Random(0)
    for _ in range(3):
        require_laws(program, coupling, choose(coupling.structures, random), feeds, random)


@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_reads_and_what_reads_it_is_cut(name: str) -> None:
    make, width = LAYERS[name]
    require_cuts_around(traced(Around(make(), width)))


@pytest.mark.parametrize("name", CELLS)
def test_what_a_cell_reads_and_what_reads_it_is_cut(name: str) -> None:
    require_cuts_around(traced(AroundCell(CELLS[name](), 6)))


def test_a_cut_layer_equals_one_that_is_built_narrower() -> None:
    module = Around(nn.LSTM(8, 6, batch_first=True), 6)
    program = traced(module)
    coupling = find_structures(program)
    (read,) = [s for s in coupling.structures if s.size == 8]
    cut = cut_program(program, coupling, {read.atom: np.array([0, 3, 4])})
    narrow = Around(nn.LSTM(3, 6, batch_first=True), 6).double()
    narrow.up = nn.Linear(5, 3).double()
    narrow.load_state_dict(dict(cut.weights))
    x = torch.randn(2, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        assert relative_error(execute(cut, {"x": x})["output"], narrow(x)) < ROUNDING
