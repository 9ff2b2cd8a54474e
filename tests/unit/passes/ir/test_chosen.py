"""What is read off the ports of a program that chooses."""

from __future__ import annotations

import pytest
import torch

from prunec.passes.contract import Context
from prunec.passes.ir import Program, ProgramError
from prunec.passes.ir.chosen import choices_per_batch, chosen_units, require_choice
from prunec.passes.surgery import SelectExperts
from support.models import small_program

SHARED = SelectExperts().apply(small_program(), Context())
OWN = SelectExperts(per_sequence=True).apply(small_program(), Context())


@pytest.mark.parametrize("program", [SHARED, OWN])
def test_each_structure_tells_its_units_and_its_bytes(program: Program) -> None:
    found = chosen_units(program)
    assert [(f.indices, f.units, f.count) for f in found] == [
        ("experts.0.indices", 96, 48),
        ("experts.1.indices", 96, 48),
    ]
    assert {f.part_bytes for f in found} == {3 * 48 * 60 * torch.float32.itemsize}
    assert {f.whole_bytes for f in found} == {3 * 96 * 60 * torch.float32.itemsize}
    assert all(port == f"experts.{name}" for f in found for port, name in f.weights.items())


def test_the_batch_rule_is_read_off_the_shapes() -> None:
    assert choices_per_batch(SHARED) == "shared"
    assert choices_per_batch(OWN) == "per-sequence"


def test_a_program_with_one_entry_point_chooses_nothing() -> None:
    assert chosen_units(small_program()) == ()
    with pytest.raises(ProgramError, match=r"has the entry points \['main'\], not prefill"):
        require_choice(small_program())
