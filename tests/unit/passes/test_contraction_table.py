"""Operations of every operator that sums products, as torch's own counter finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prunec.frontend.export import program_from_exported, trace_module
from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import execute
from prunec.passes.surgery import cut_program


class Calls(nn.Module):
    """An operator on an input of some sizes and on parameters of some sizes."""

    def __init__(self, operator: Callable[..., torch.Tensor], *sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.operator = operator
        self.weights = nn.ParameterList(torch.randn(size) for size in sizes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.operator(x, *self.weights)


def counted(run: Callable[[], Any]) -> int:
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def einsum(equation: str) -> Callable[..., torch.Tensor]:
    return lambda *operands: torch.einsum(equation, *operands)


def convolve(name: str, **options: Any) -> Callable[..., torch.Tensor]:
    return lambda *operands: getattr(F, name)(*operands, **options)


IMAGE = (2, 4, 9, 9)
CALLS: dict[str, tuple[Callable[..., torch.Tensor], tuple[int, ...], tuple[tuple[int, ...], ...]]]
CALLS = {
    "linear": (F.linear, (2, 3, 4), ((5, 4), (5,))),
    "linear of a vector": (F.linear, (4,), ((5, 4),)),
    "mm": (torch.mm, (3, 4), ((4, 5),)),
    "a turned matrix": (lambda x, w: x @ w.t(), (2, 3, 4), ((5, 4),)),
    "a matrix from the left": (lambda x, w: w @ x, (2, 4, 3), ((5, 4),)),
    "a vector": (lambda x, w: x @ w, (4,), ((4, 5),)),
    "a batch that is spread": (torch.matmul, (2, 1, 3, 4), ((5, 4, 6),)),
    "bmm": (torch.bmm, (2, 3, 4), ((2, 4, 5),)),
    "addmm": (lambda x, b, w: torch.addmm(b, x, w), (3, 4), ((5,), (4, 5))),
    "baddbmm": (lambda x, b, w: torch.baddbmm(b, x, w), (2, 3, 4), ((1, 5), (2, 4, 5))),
    "a weight that is computed": (lambda x, w: F.linear(x, w * w.tanh()), (3, 4), ((5, 4),)),
    "einsum": (einsum("bhid,ehd->bie"), (2, 3, 4, 5), ((6, 3, 5),)),
    "einsum without a result": (einsum("ij,jk"), (3, 4), ((4, 5),)),
    "einsum of three": (einsum("ab,bc,cd->ad"), (2, 3), ((3, 4), (4, 5))),
    "einsum with dots": (einsum("...i,oi->...o"), (2, 3, 4), ((5, 4),)),
    "einsum that sums before": (einsum("abx,bc->ac"), (2, 3, 7), ((3, 4),)),
    "einsum that sums nothing": (einsum("i,j->ij"), (3,), ((4,),)),
    "conv1d": (convolve("conv1d", stride=2), (2, 4, 9), ((6, 4, 3), (6,))),
    "conv2d": (convolve("conv2d", padding=1), IMAGE, ((6, 4, 3, 3), (6,))),
    "conv2d with padding by name": (convolve("conv2d", padding="same"), IMAGE, ((6, 4, 3, 3),)),
    "conv2d without a batch": (F.conv2d, IMAGE[1:], ((6, 4, 3, 3),)),
    "conv2d in groups": (convolve("conv2d", groups=2), IMAGE, ((6, 2, 3, 3),)),
    "depthwise conv2d": (convolve("conv2d", groups=4, dilation=2), IMAGE, ((4, 1, 3, 3),)),
    "conv3d": (F.conv3d, (2, 4, 5, 5, 5), ((6, 4, 3, 3, 3),)),
    "conv_transpose1d": (convolve("conv_transpose1d", stride=2), (2, 4, 9), ((4, 6, 3),)),
    "conv_transpose2d": (convolve("conv_transpose2d", stride=2), IMAGE, ((4, 6, 3, 3),)),
    "conv_transpose3d": (F.conv_transpose3d, (2, 4, 5, 5, 5), ((4, 6, 3, 3, 3),)),
    "conv_transpose in groups": (convolve("conv_transpose2d", groups=2), IMAGE, ((4, 3, 3, 3),)),
    "attention": (F.scaled_dot_product_attention, (2, 3, 4), ((2, 5, 4), (2, 5, 6))),
    "attention of groups": (
        lambda x, k, v: F.scaled_dot_product_attention(x, k, v, enable_gqa=True),
        (2, 6, 3, 4),
        ((2, 2, 5, 4), (2, 2, 5, 7)),
    ),
    "gru": (
        lambda x, *w: torch.gru(x, torch.zeros(1, 2, 5), w, True, 1, 0.0, False, False, False)[0],
        (3, 2, 4),
        ((15, 4), (15, 5), (15,), (15,)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_operations_are_those_that_torch_counts(what: str) -> None:
    operator, size, weights = CALLS[what]
    module, x = Calls(operator, *weights).eval(), torch.randn(size)
    expected = counted(lambda: module(x))
    assert measure(trace_module(module, (x,))).flops_per_token == expected
    assert bool(expected) == (what != "einsum that sums nothing")


UNCOUNTED = {
    "mv": (torch.mv, (3, 4), ((4,),), 12),
    "dot": (torch.dot, (4,), ((4,),), 4),
    "addmv": (lambda x, b, w: torch.addmv(b, x, w), (3, 4), ((3,), (4,)), 12),
    "addbmm": (lambda x, b, w: torch.addbmm(b, x, w), (2, 3, 4), ((3, 5), (2, 4, 5)), 120),
    "lstm": (
        lambda x, *w: torch.lstm(
            x, [torch.zeros(1, 2, 5), torch.zeros(1, 2, 5)], w, False, 1, 0.0, False, False, False
        )[0],
        (3, 2, 4),
        ((20, 4), (20, 5)),
        6 * 20 * 9,
    ),
}


@pytest.mark.parametrize("what", UNCOUNTED)
def test_products_that_torch_leaves_out_count_too(what: str) -> None:
    operator, size, weights, multiplications = UNCOUNTED[what]
    module, x = Calls(operator, *weights).eval(), torch.randn(size)
    assert counted(lambda: module(x)) == 0
    assert measure(trace_module(module, (x,))).flops_per_token == 2 * multiplications


def test_a_product_with_a_table_has_no_parameters_behind_it() -> None:
    module = Calls(lambda x, w: x @ torch.ones(4, 5) + w, (5,)).eval()
    assert measure(trace_module(module, (torch.randn(3, 4),))).flops_per_token == 0


class Convnet(nn.Module):
    """Convolutions of every kind, one of them in a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, stride=2, padding=1)
        self.up, self.down = nn.Conv2d(12, 24, 3, padding=1), nn.Conv2d(24, 12, 1)
        self.each = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.wide = nn.ConvTranspose2d(12, 16, 2, stride=2)
        self.last = nn.Conv2d(16, 5, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(image))
        x = x + self.down(torch.relu(self.up(x)))
        return self.last(torch.relu(self.wide(self.each(x))))


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch's own
def test_a_decomposed_graph_costs_the_same() -> None:
    image = torch.randn(1, 3, 16, 16)
    exported = torch.export.export(Convnet().eval(), (image,))
    whole, decomposed = (
        program_from_exported(found) for found in (exported, exported.run_decompositions())
    )
    targets = {str(node.target) for node in decomposed.main.graph.nodes}
    assert "aten.convolution.default" in targets
    assert measure(decomposed) == measure(whole)


def test_the_bill_of_a_convnet_is_what_torch_counts_after_the_cut() -> None:
    image = torch.randn(1, 3, 16, 16)
    program = trace_module(Convnet().eval(), (image,))
    coupling = find_structures(program)
    bill = Bill(program, coupling)
    for structure in coupling.structures:
        selection = {structure.atom: np.arange(structure.size // 2)}
        after = cut_program(program, coupling, selection)
        expected = counted(lambda cut=after: execute(cut, {"image": image}))
        assert bill.cost(selection) == measure(after)
        assert measure(after).flops_per_token == expected


def test_of_images_of_any_size_one_of_a_fixed_size_is_counted() -> None:
    module, (height, width) = Convnet().eval(), (Dim("height"), Dim("width"))
    sizes = {"image": {0: Dim("rows"), 2: 4 * height, 3: 4 * width}}
    program = trace_module(module, (torch.randn(2, 3, 16, 32),), sizes)
    image = torch.randn(1, 3, 1024, 1024, device="meta")
    assert measure(program).flops_per_token == counted(lambda: module.to("meta")(image))


class Strides(nn.Module):
    """Tokens of which four become one."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.merge = nn.Embedding(20, 6), nn.Conv1d(6, 8, 4, stride=4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.merge(self.table(tokens).transpose(1, 2))


def test_tokens_that_are_merged_are_counted_many_at_a_time() -> None:
    tokens = torch.randint(20, (2, 16))
    program = trace_module(Strides().eval(), (tokens,), {"tokens": {1: 4 * Dim("count")}})
    assert measure(program).flops_per_token == 2 * 2 * 256 * (6 * 8 * 4)


class OwnMatrix(nn.Module):
    """Each text is multiplied with the matrix that it names."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices = nn.Parameter(torch.randn(5, 4, 6))

    def forward(self, x: torch.Tensor, which: torch.Tensor) -> torch.Tensor:
        return torch.bmm(x, self.matrices[which].type_as(x))


def test_a_matrix_that_is_chosen_by_data_stays_a_weight_for_every_token() -> None:
    x, which = torch.randn(2, 7, 4), torch.tensor([0, 3])
    batch = Dim("rows")
    sizes = {"x": {0: batch, 1: Dim("tokens")}, "which": {0: batch}}
    program = trace_module(OwnMatrix().eval(), (x, which), sizes)
    assert measure(program).flops_per_token == 2 * 1024 * (4 * 6)


def test_what_grows_with_the_text_is_left_out_and_attention_over_an_image_is_not() -> None:
    module = Calls(lambda x, w: F.linear(x, w) @ x.transpose(1, 2), (6, 6)).eval()
    x = torch.randn(2, 7, 6)
    of_any_length = trace_module(module, (x,), {"x": {0: Dim("rows"), 1: Dim("tokens")}})
    of_one_length = trace_module(module, (x,), {"x": {0: Dim("rows")}})
    assert measure(of_any_length).flops_per_token == 2 * 1024 * (6 * 6)
    assert measure(of_one_length).flops_per_token == 2 * 7 * (6 * 6) + 2 * (7 * 7 * 6)
