"""Where units lie: beside one another, segment by segment, and where no table tells."""

from __future__ import annotations

import pytest
import torch

from prunec.passes.contract import Context
from prunec.passes.ir import PREFILL, execute, language_feeds
from prunec.passes.ir.axes import Atom, Axis, concat, product
from prunec.passes.ir.selection import kept
from prunec.passes.surgery import SelectExperts
from prunec.passes.surgery.select_experts.positions import find_positions
from support.architectures import architecture_program

UNIT = Atom(10)
AXES = {
    "alone": UNIT,
    "gate | up": concat([UNIT, UNIT]),
    "side by side": product([UNIT, Atom(3)]),
    "under another": product([Atom(4), UNIT]),
}
CHOSEN = torch.tensor([[0, 3, 4, 9], [1, 2, 7, 8]])


@pytest.mark.parametrize("name", AXES)
def test_chosen_units_give_the_positions_that_a_cut_leaves(name: str) -> None:
    positions = find_positions(AXES[name], UNIT)
    each = positions.of_each(CHOSEN, positions.table, 4)
    for row, units in enumerate(CHOSEN):
        expected = torch.from_numpy(kept(AXES[name], {UNIT: units.numpy()}))
        assert torch.equal(positions.of(units, positions.table), expected)
        assert torch.equal(each[row], expected)


@pytest.mark.parametrize("name", AXES)
def test_values_of_positions_add_up_by_unit(name: str) -> None:
    positions = find_positions(AXES[name], UNIT)
    marks = torch.zeros(10, 10 * positions.per_unit)
    for unit in range(10):
        marks[unit, positions.of(torch.tensor([unit]), positions.table)] = 1
    assert torch.equal(
        positions.sum_over_units(marks, positions.table), positions.per_unit * torch.eye(10)
    )
    assert torch.equal(positions.by_unit(marks[3])[:, 3], torch.ones(positions.per_unit))


@pytest.mark.parametrize(
    ("axis", "reason"),
    [
        (concat([UNIT, Atom(5)]), "5 of 15 positions belong to no unit"),
        (concat([UNIT, product([UNIT, Atom(2)])]), "do not lie unit by unit"),
    ],
)
def test_what_a_table_cannot_give_is_refused(axis: Axis, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        find_positions(axis, UNIT)


def test_rows_of_a_fused_matrix_weigh_as_if_they_were_apart() -> None:
    program = architecture_program("phi3", torch.float32)
    chosen = SelectExperts(choice="magnitude").apply(program, Context())
    tokens = torch.arange(5)[None]
    prefill = chosen.entries[PREFILL]
    outputs = execute(chosen, language_feeds(prefill, tokens), prefill)
    fused = sorted(name for name in program.weights if "gate_up_proj" in name)
    for layer, name in enumerate(fused):
        gate, up = program.weights[name].norm(dim=1).chunk(2)
        expected = (gate * up).topk(24).indices.sort().values
        assert torch.equal(outputs[f"experts.{layer}.indices"], expected)
        both = torch.cat([expected, expected + 56])
        assert torch.equal(outputs[f"experts.{name}"], program.weights[name][both])
