from __future__ import annotations

import pytest
import torch

from prunec.backends.tensorrt import AxisRange, EngineError, language_profiles, program_profiles
from prunec.passes.ir import Port, Role
from support.models import small_program

TOKENS = Port("input_ids", Role.TOKENS, ("batch_size", "sequence_length"), torch.int64)
IMAGE = Port("pixel_values", Role.OTHER, ("image_batch_size", 3, 32, 32), torch.float32)
SOUND = Port("input_values", Role.OTHER, ("batch_size", "sample_count"), torch.float32)


def test_a_step_with_a_cache_has_a_profile_for_each_phase() -> None:
    sizes = {"batch_size": 2, "new_tokens": 16, "max_length": 32}
    found = program_profiles(small_program().main.inputs, **sizes)
    assert found == language_profiles(**sizes)


def test_what_is_run_whole_has_one_for_its_rows_and_tokens() -> None:
    states = Port("states", Role.OTHER, ("batch_size", "sequence_length", 8), torch.float32)
    (found,) = program_profiles([IMAGE, TOKENS, states], batch_size=4, new_tokens=64)
    assert found.axes == {
        "batch_size": AxisRange(1, 4, 4),
        "image_batch_size": AxisRange(1, 4, 4),
        "sequence_length": AxisRange(1, 32, 64),
    }


def test_what_is_static_needs_no_range() -> None:
    still = Port("pixel_values", Role.OTHER, (1, 3, 32, 32), torch.float32)
    (found,) = program_profiles([still])
    assert found.axes == {}


def test_an_axis_that_only_the_caller_knows_is_named() -> None:
    with pytest.raises(EngineError, match=r"the axes \['sample_count'\] may be; give .*ranges="):
        program_profiles([SOUND])
    seconds = AxisRange(400, 16000, 160000)
    (found,) = program_profiles([SOUND], ranges={"sample_count": seconds})
    assert found.axes["sample_count"] == seconds


def test_given_ranges_come_first() -> None:
    rows = AxisRange(2, 3, 5)
    (whole,) = program_profiles([TOKENS], ranges={"batch_size": rows})
    steps = program_profiles(small_program().main.inputs, ranges={"batch_size": rows})
    assert {p.axes["batch_size"] for p in (whole, *steps)} == {rows}
