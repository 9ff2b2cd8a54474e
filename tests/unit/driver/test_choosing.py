"""What a report says of a prompt's choice."""

from __future__ import annotations

import torch

from prunec.driver.choosing import describe_choice, tell_choice
from prunec.driver.page import render_page
from prunec.passes.analysis.cost import decode_bytes
from prunec.passes.contract import Context
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program
from support.reports import example_report

DENSE = small_program()
FLOAT = torch.float32.itemsize


def test_where_no_prompt_chooses_nothing_is_said() -> None:
    assert describe_choice(DENSE, DENSE) is None
    assert tell_choice(None) == []


def test_bytes_are_those_of_the_weights_and_of_the_parts() -> None:
    found = describe_choice(DENSE, SelectExperts().apply(DENSE, Context()))
    assert found is not None
    part = 2 * 3 * 48 * 60 * FLOAT  # two layers, three matrices, 48 of 96 units, 60 wide
    assert found["gathered_bytes"] == part
    read = found["decode_bytes"]
    assert read["dense"] == read["pruned"] == decode_bytes(DENSE)
    assert read["pruned"] - read["chosen"] == part
    assert found["structures"] == [{"units": 96, "count": 48}] * 2


def test_constants_of_a_refit_are_counted() -> None:
    context = Context(calibration=random_tokens(3, 16))
    plain = describe_choice(DENSE, SelectExperts().apply(DENSE, context))
    refitted = describe_choice(DENSE, SelectExperts(refit="prompt").apply(DENSE, context))
    assert plain is not None
    assert refitted is not None
    moments = 2 * (96 * 96 + 96 * 60) * FLOAT
    assert refitted["constant_bytes"] - plain["constant_bytes"] >= moments


def test_people_are_told_and_the_page_shows_it() -> None:
    program = SelectExperts(per_sequence=True, multiple=4, keep=0.5).apply(DENSE, Context())
    choice = describe_choice(DENSE, program)
    lines = tell_choice(choice)
    assert lines[0].startswith("The prompt chooses 96 of 192 feed-forward units, 48 in each of 2")
    assert "each row its own" in lines[0]
    page = render_page({**example_report(), "choice": choice})
    assert "What each prompt chooses" in page
    assert "faint was cut" in page  # its plan removed other things
    assert "a decoded token reads" in page
    assert "What each prompt chooses" not in render_page(example_report())


def test_a_plan_of_a_choice_cut_nothing() -> None:
    report = example_report()
    layers = [{"index": i, "size": 96, "kept": 48} for i in range(2)]
    report["kinds"] = [{"kind": "ffn-channel", "place": "layer", "layers": layers}]
    report["choice"] = describe_choice(DENSE, SelectExperts().apply(DENSE, Context()))
    page = render_page(report)
    assert "faint was cut" not in page
    assert "<h2>The plan</h2>" in page
