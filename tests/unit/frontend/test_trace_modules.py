"""Programs of any module, and of any graph that torch.export gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from prunec.frontend.export import program_from_exported, trace_module
from prunec.passes.ir import Program, execute, verify

# float32 through one layer; the programs run the module's own operators.
ROUNDING = 1e-6
OPEN_BATCH = ({0: Dim.DYNAMIC},)


class Apply(nn.Module):
    """A linear layer with a function of its result and of the input."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 6)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.linear(x), x)


def run(program: Program, *inputs: Tensor) -> list[Tensor]:
    verify(program)
    feeds = dict(zip((p.name for p in program.main.inputs), inputs, strict=True))
    return list(execute(program, feeds).values())


def operators(program: Program) -> set[str]:
    return {str(n.target) for n in program.main.graph.nodes if n.op == "call_function"}


@torch.no_grad()
def assert_same(module: nn.Module, x: Tensor, *, calls: set[str] | None = None) -> None:
    program = trace_module(module.eval(), (x,))
    for found, expected in zip(
        run(program, x), torch.utils._pytree.tree_leaves(module(x)), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=ROUNDING, rtol=0)
    assert not [target for target in operators(program) if "_." in target], "an operator writes"
    if calls is not None:
        assert calls <= operators(program)


def fill_by_slices(y: Tensor, x: Tensor) -> Tensor:
    whole = x.new_empty(x.shape[0], 8)
    whole[:, :5] = x
    whole[:, 5:] = y[:, :3]
    return whole


def overlap_slices(y: Tensor, x: Tensor) -> Tensor:
    whole = x.new_zeros(x.shape[0], 8)
    whole[:, :4], whole[:, 4:] = x[:, :4], y[:, :4]
    whole[:, 2:6] = 5.0
    return whole


def write_rows(y: Tensor, x: Tensor) -> Tensor:
    y.relu_()
    y[0] = x[1, 0]
    y[:, 3:] += x[:, :3]
    return y


def write_under_a_view(y: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    flat = y.view(-1)
    y.mul_(2)
    return flat + 1, y.t().add_(1), y


@pytest.mark.parametrize("function", [overlap_slices, write_rows, write_under_a_view])
def test_writes_become_values(function: Callable[[Tensor, Tensor], Any]) -> None:
    assert_same(Apply(function), torch.randn(4, 5))


def test_slices_that_fill_a_tensor_become_a_concatenation() -> None:
    module = Apply(fill_by_slices).eval()
    program = trace_module(module, (torch.randn(4, 5),), OPEN_BATCH)
    assert "aten.cat.default" in operators(program)
    assert "aten.slice_scatter.default" not in operators(program)
    x = torch.randn(3, 5)
    torch.testing.assert_close(run(program, x)[0], module(x).detach(), atol=ROUNDING, rtol=0)


def test_regions_without_gradients_are_inlined() -> None:
    def regions(y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            doubled = y * 2
        with torch.autocast("cpu", enabled=False):
            return torch.sin(doubled), doubled

    assert_same(Apply(regions), torch.randn(4, 5), calls={"aten.sin.default"})


class Nested(nn.Module):
    def forward(self, x: Tensor, scale: int, extra: None = None) -> dict[str, Any]:
        y = x * scale + torch.tensor([1.0, 2.0, 3.0])
        return {"a": y, "nothing": None, "nested": [x - 1, {"z": x + 1}]}


def test_outputs_take_their_names_from_what_the_module_returns() -> None:
    x = torch.randn(2, 3)
    program = trace_module(Nested(), {"x": x, "scale": 3, "extra": None})
    assert [p.name for p in program.main.inputs] == ["x"]
    assert [p.name for p in program.main.outputs] == ["a", "nested.0", "nested.1.z"]
    torch.testing.assert_close(run(program, x)[0], x * 3 + torch.tensor([1.0, 2.0, 3.0]))


def test_a_constant_is_a_buffer() -> None:
    program = trace_module(Nested(), {"x": torch.zeros(2, 3), "scale": 3, "extra": None})
    (constant,) = program.buffers
    assert program.weights[constant].tolist() == [1.0, 2.0, 3.0]
    assert program.parameters() == {}


def test_tied_weights_are_one_entry_with_several_readers() -> None:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight = first.weight
    program = trace_module(nn.Sequential(first, second), (torch.zeros(1, 5),))
    assert len(program.parameters()) == 3
    assert sum(w.numel() for w in program.parameters().values()) == 25 + 5 + 5


class Product(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x @ y.t()


def test_sizes_that_vary_apart_have_labels_of_their_own() -> None:
    inputs = (torch.zeros(4, 5), torch.zeros(3, 5))
    program = trace_module(Product(), inputs, ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}))
    assert [p.shape for p in program.main.inputs] == [("batch_size", 5), ("y_size_0", 5)]
    assert program.main.outputs[0].shape == ("batch_size", "y_size_0")
    assert run(program, torch.zeros(7, 5), torch.zeros(2, 5))[0].shape == (7, 2)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def test_sizes_that_must_be_equal_share_a_label() -> None:
    inputs = (torch.zeros(4, 5), torch.zeros(4, 5))
    program = trace_module(Sum(), inputs, ({0: Dim.DYNAMIC}, {0: Dim.DYNAMIC}))
    assert [p.shape for p in program.main.inputs] == [("batch_size", 5)] * 2


def test_a_decomposed_graph_is_as_good() -> None:
    module = nn.Sequential(nn.Linear(5, 6), nn.GELU(), nn.LayerNorm(6)).eval()
    x = torch.randn(4, 5)
    with pytest.warns(FutureWarning):  # torch deprecates what its own decomposition calls
        exported = torch.export.export(module, (x,), dynamic_shapes=OPEN_BATCH).run_decompositions()
    program = program_from_exported(exported)
    assert "aten.native_layer_norm.default" in operators(program)
    x = torch.randn(7, 5)
    torch.testing.assert_close(run(program, x)[0], module(x).detach(), atol=ROUNDING, rtol=0)


CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(3, 8, 3),
    nn.BatchNorm2d(8),
    nn.ReLU(inplace=True),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
)
RECURRENT = nn.LSTM(5, 6, batch_first=True)
ENCODER = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(CONVOLUTIONS, (2, 3, 9, 9)), (RECURRENT, (2, 4, 5)), (ENCODER, (2, 4, 8))],
    ids=["convolutions", "lstm", "transformer"],
)
def test_modules_of_torch_trace(module: nn.Module, shape: tuple[int, ...]) -> None:
    assert_same(module, torch.randn(shape))
