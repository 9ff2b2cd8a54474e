"""A result is held against the checkpoint that it was made from."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from prunec.driver.origin_checks import origin_checks
from prunec.driver.tolerances import ViolationError
from prunec.frontend.export import trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, load_program, save_program
from prunec.passes.manager import PipelineError, run_pipeline
from prunec.passes.plan import save_plan
from prunec.passes.spec import parse_pipeline
from support.checkpoints import write_llama

PIPELINE = "clean,score{criterion=magnitude},allocate{parameters=0.8},remove-structures"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and beside it what a job leaves."""
    folder = tmp_path_factory.mktemp("finished")
    reference = str(write_llama(folder / "model"))
    dense = trace_model(find_checkpoint(reference).load_model())
    dense = replace(dense, origin={**dense.origin, "model": reference})
    context = Context()
    pruned = run_pipeline(dense, parse_pipeline(PIPELINE), context)
    save_program(pruned, folder / "program")
    assert context.plan is not None
    save_plan(context.plan, folder / "plan.json")
    report = {
        "pipeline": PIPELINE,
        "recipe": {"model": {"dtype": "float32", "cache": True}},
        "sizes": {"before": measure(dense).to_json()},
    }
    (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def result(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test can change, whose program names its own checkpoint."""
    shutil.copytree(finished, tmp_path / "result")
    folder = tmp_path / "result"
    program = load_program(folder / "program")
    origin = {**program.origin, "model": str(folder / "model")}
    save_program(replace(program, origin=origin), folder / "program")
    return folder


def outcomes(folder: Path) -> list[str]:
    """What each check tells, or what it raises."""
    found = []
    for _, check in origin_checks(load_program(folder / "program"), folder):
        try:
            found.append(check())
        except (ViolationError, PipelineError) as error:
            found.append(f"VIOLATED: {error}")
    return found


def change(folder: Path, edit: Callable[[Program], Program]) -> None:
    save_program(edit(load_program(folder / "program")), folder / "program")


def edit_report(folder: Path, **changes: object) -> None:
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | changes))


def test_a_sound_result_is_its_checkpoint_cut_by_its_plan(result: Path) -> None:
    compared, replayed = outcomes(result)
    assert compared.startswith("LlamaForCausalLM, ")
    assert "weights are the checkpoint's, cut" in replayed


def test_a_result_of_a_head_that_was_taken_for_tied_is_found_out(result: Path) -> None:
    """The checkpoint has a head of its own; the result was made without it."""
    model = AutoModelForCausalLM.from_pretrained(result / "model")
    model.lm_head.weight = torch.nn.Parameter(2 * model.lm_head.weight.detach())
    model.config.tie_word_embeddings = False
    model.save_pretrained(result / "model")
    config = result / "model" / "config.json"
    document = json.loads(config.read_text()) | {"tie_word_embeddings": True}
    config.write_text(json.dumps(document))
    compared, replayed = outcomes(result)
    assert "VIOLATED: the report says of the uncut model" in compared
    assert "VIOLATED" in replayed


def test_a_weight_that_is_not_the_checkpoints_is_found(result: Path) -> None:
    name = next(n for n in load_program(result / "program").weights if "up_proj" in n)
    change(result, lambda p: p.with_weights({name: 1.01 * p.weights[name]}))
    assert f"VIOLATED: 1 weights are others, for example ['{name}']" in outcomes(result)


def test_weights_that_a_repair_changed_are_said_to_be_its(result: Path) -> None:
    name = next(n for n in load_program(result / "program").weights if "up_proj" in n)
    change(result, lambda p: p.with_weights({name: 1.01 * p.weights[name]}))
    edit_report(result, pipeline=f"{PIPELINE},refit")
    assert outcomes(result)[1].endswith("refit changed the others")


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda f: shutil.rmtree(f / "model"), "NOT COMPARED: .* not on this machine"),
        (lambda f: (f / "model/model.safetensors").unlink(), "NOT COMPARED: .*safetensors"),
        (
            lambda f: change(f, lambda p: replace(p, origin={})),
            "NOT COMPARED: the program does not say",
        ),
    ],
    ids=["gone", "without weights", "unnamed"],
)
def test_a_checkpoint_that_is_not_there_is_said(
    result: Path, spoil: Callable[[Path], None], expected: str
) -> None:
    spoil(result)
    found = outcomes(result)
    assert re.search(expected, found[0], re.DOTALL)
    assert found[1].startswith("NOT REPLAYED")


def test_a_plan_that_is_not_there_is_said(result: Path) -> None:
    (result / "plan.json").unlink()
    assert outcomes(result)[1] == "NOT REPLAYED: there is no plan.json"


def test_a_program_alone_is_compared_with_its_checkpoint(result: Path) -> None:
    (result / "report.json").unlink()
    (compared,) = outcomes(result)
    assert compared.startswith("LlamaForCausalLM, ")
