"""Complex rotations become pairs of real numbers, and every value stays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from prunec.backends.onnx.draft import Draft
from prunec.backends.onnx.normalise import normalise
from prunec.backends.onnx.spell_out_complex import spell_out_complex
from prunec.frontend.export import trace_module
from prunec.passes.ir import Program
from support.architectures import architecture_program, random_feeds

# float32: the pairs are multiplied as complex numbers are, in another order.
ROUNDING = 1e-5


class Rotation(nn.Module):
    """Rotates pairs of neighbours by a table that is kept as complex numbers."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(12.0).reshape(4, 3)
        self.register_buffer("table", torch.polar(torch.ones(4, 3), angles))

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        table = self.table[None, :2] * 0.5
        rotated = pairs[:, :, :2] * table.expand(3, 2, 3).unsqueeze(-2)
        return torch.view_as_real(rotated * torch.ones(2)[:, None]).flatten(3)


def outputs_of(draft: Draft, feeds: dict[str, Tensor]) -> list[Tensor]:
    weights = [draft.weights[name] for _, name in draft.entry().weight_nodes()]
    return list(GraphModule({}, draft.graph)(*weights, *(feeds[p.name] for p in draft.inputs)))


def decoder() -> tuple[Program, dict[str, Tensor]]:
    program = architecture_program("deepseek-v2", torch.float32)
    return program, random_feeds(program.main, new=5, past=3)


def module() -> tuple[Program, dict[str, Tensor]]:
    x = torch.randn(3, 2, 2, 6)
    return trace_module(Rotation().eval(), (x,)), {"x": x}


@pytest.mark.parametrize("make", [decoder, module])
def test_no_complex_value_is_left_and_every_output_stays(make: object) -> None:
    program, feeds = make()  # type: ignore[operator]
    draft = Draft.of(program)
    normalise(draft)
    before = outputs_of(draft, feeds)
    assert spell_out_complex(draft) > 0
    draft.graph.lint()
    draft.propagate()
    values = [n.meta["val"] for n in draft.graph.nodes if n.op != "output"]
    assert not [v for v in values if isinstance(v, Tensor) and v.is_complex()]
    for old, new in zip(before, outputs_of(draft, feeds), strict=True):
        torch.testing.assert_close(new, old, rtol=ROUNDING, atol=ROUNDING)


def test_a_program_without_complex_values_is_left_alone() -> None:
    draft = Draft.of(architecture_program("llama", torch.float32))
    normalise(draft)
    names = [n.name for n in draft.graph.nodes]
    assert spell_out_complex(draft) == 0
    assert [n.name for n in draft.graph.nodes] == names
