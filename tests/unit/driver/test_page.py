import json
from typing import Any

import pytest
from rich.console import Console

from prunec.driver.formats import (
    format_bytes,
    format_change,
    format_count,
    format_json,
    format_kind,
    format_seconds,
)
from prunec.driver.kept import kept_by_kind
from prunec.driver.page import build_layer_rows, render_page
from prunec.driver.summary import summarise
from prunec.passes.plan import Cut, Plan
from support.reports import example_report


@pytest.fixture
def report() -> dict[str, Any]:
    return example_report()


def test_the_page_needs_nothing_from_elsewhere(report: dict[str, Any]) -> None:
    page = render_page(report)
    assert page.startswith("<!doctype html>")
    for reference in ("http:", "https:", "<script", "<link", "@import"):
        assert reference not in page


def test_the_page_shows_sizes_quality_and_answers(report: dict[str, Any]) -> None:
    page = render_page(report)
    for text in ("134.5 M", "79.65 M", "-25.0 %", "7.94", "0.412", "73.1 %", "Paris"):
        assert text in page


def test_layers_may_differ_and_lack_a_kind(report: dict[str, Any]) -> None:
    report["kinds"][0]["layers"].pop()
    page = render_page(report)
    assert "layer 1: 700 of 1536 kept" in page
    assert page.count('class="kept"') == 3


def test_a_report_without_cuts_has_no_plot(report: dict[str, Any]) -> None:
    report["kinds"] = []
    assert "What was kept" not in render_page(report)


def test_the_page_and_the_summary_tell_the_method_and_what_it_reached(
    report: dict[str, Any],
) -> None:
    told = (
        "activation scores, allocated by global, standardise=z-score kind_weights=kv-group=2",
        "75.0 % of the block parameters stay (79,652,160 of 106,202,880); keep=0.75 allows",
    )
    page, summary = render_page(report), _printed(report)
    assert all(text in page and text in summary for text in told)


@pytest.mark.parametrize("plan", [None, {"criterion": "by hand"}])
def test_a_plan_of_another_origin_has_no_method(
    report: dict[str, Any], plan: dict[str, Any] | None
) -> None:
    report["plan"] = plan
    assert "allocated by" not in render_page(report) + _printed(report)


def test_branches_are_drawn_one_by_one_and_are_no_layers(report: dict[str, Any]) -> None:
    cuts = (Cut("layer/a", "layer", 0, 3, (0, 2)), Cut("residual/a", "residual", 0, 8, (1, 2)))
    report["kinds"] += kept_by_kind(Plan(cuts, ""))
    page = render_page(report)
    for text in ("branch 1: 0 of 1 kept", "branch 2: 1 of 1 kept", "stream 0: 2 of 8 kept"):
        assert text in page
    assert "layer 0: 2 of 8" not in page
    assert [len(row["cells"]) for row in build_layer_rows(report["kinds"])] == [2, 2]


def test_every_question_is_shown_with_both_answers(report: dict[str, Any]) -> None:
    shown = ("Capital of France?", "Paris.", "Paris!", "And of Peru?", "Lima.", "(nothing)")
    page, summary = render_page(report), _printed(report)
    assert all(text in page and text in summary for text in shown)
    assert page.count("<blockquote>") == 4


def test_warnings_are_shown_and_where_there_are_none_nothing_is(report: dict[str, Any]) -> None:
    assert "contradict" not in render_page(report)
    assert "Warning" not in _printed(report)
    report["warnings"] = [{"code": "grew", "message": "it is larger", "numbers": {}}]
    for shown in (render_page(report), _printed(report)):
        assert "it is larger" in shown
        assert "grew" in shown


def test_what_models_say_is_escaped(report: dict[str, Any]) -> None:
    report["answers"][1]["after"] = "<script>alert(1)</script>"
    assert "<script>" not in render_page(report)


def test_the_summary_names_files_and_next_commands(report: dict[str, Any]) -> None:
    for text in ("out/onnx/", "prunec check out", "7.94", "x 1.50", "Paris"):
        assert text in _printed(report)


def _printed(report: dict[str, Any]) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(summarise(report))
    return captured.get()


def test_numbers_are_short_and_have_units() -> None:
    assert format_count(134_515_008) == "134.5 M"
    assert format_bytes(512) == "512 bytes"
    assert format_bytes(2_000_000_000) == "2 GB"
    assert format_change(200, 150) == "-25.0 %"
    assert format_change(0, 1) == "-"
    assert format_change(10_000, 10_001) == "0 %"
    assert format_seconds(151) == "2 min 31 s"
    assert format_kind("kv-group") == "KV groups"


def test_json_has_no_numbers_that_json_does_not_know() -> None:
    text = format_json({"a": float("nan"), "b": [1.0, float("inf")], "c": {"d": 2}})
    assert json.loads(text) == {"a": None, "b": [1.0, None], "c": {"d": 2}}
