from __future__ import annotations

from typing import Any

import pytest

from prunec.driver.doubts import doubt_report
from support.reports import example_report


def codes(report: dict[str, Any]) -> list[str]:
    return [doubt.code for doubt in doubt_report(report)]


@pytest.fixture
def report() -> dict[str, Any]:
    report = example_report()
    report["answers"] = report["answers"][:1]
    return report


def test_a_really_pruned_model_raises_no_doubt(report: dict[str, Any]) -> None:
    assert codes(report) == []


@pytest.mark.parametrize("size", ["parameters", "flops_per_token", "kv_bytes_per_token"])
def test_a_size_that_grew_is_named(report: dict[str, Any], size: str) -> None:
    report["sizes"]["after"][size] = report["sizes"]["before"][size] + 1
    (doubt,) = doubt_report(report)
    assert (doubt.code, doubt.is_fatal) == ("grew", False)
    assert size in doubt.message


def test_what_a_prompt_chooses_by_may_come_on_top(report: dict[str, Any]) -> None:
    report["sizes"]["after"]["weight_bytes"] = 2 * report["sizes"]["before"]["weight_bytes"]
    report["choice"] = {"batch": "shared"}
    assert codes(report) == []


def test_a_budget_that_the_plan_reaches_and_the_program_does_not_is_fatal(
    report: dict[str, Any],
) -> None:
    (budget,) = report["plan"]["budgets"]
    report["plan"]["budgets"] = [{**budget, "budget": "flops", "asked": 0.6, "reached": 0.59}]
    report["sizes"]["after"]["flops_per_token"] *= 0.98
    (doubt,) = doubt_report(report)
    assert (doubt.code, doubt.is_fatal) == ("budget-missed", True)
    assert "flops=0.6 was asked for" in doubt.message


def test_a_cut_that_changes_no_prediction_is_named(report: dict[str, Any]) -> None:
    dense = report["quality"]["dense_perplexity"]
    report["quality"] |= {"other_perplexity": dense, "kl_nats": 0.0, "nll_difference": 0.0}
    assert codes(report) == ["cut-without-effect"]
    report["sizes"]["after"] = report["sizes"]["before"]
    report["plan"] = None
    assert codes(report) == []
