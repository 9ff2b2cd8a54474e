import importlib.util
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from prunec.backends.tensorrt import EngineError
from prunec.driver.preflight import (
    PreflightError,
    estimate_bytes,
    require_budget,
    require_engine,
    require_output,
    require_space,
    require_text,
)
from prunec.driver.recipe import EngineSection, Recipe, find_recipe, load_recipe
from prunec.driver.tasks.generation import Generation
from prunec.frontend.calibration import CalibrationError
from prunec.frontend.export import trace_config
from prunec.passes.contract import Pass, PassError
from prunec.passes.ir import Program
from prunec.passes.spec import parse_pipeline
from support.architectures import architecture_program
from support.models import llama_config, small_program


def recipe(folder: Path, engine: bool = False) -> Recipe:
    document = {
        "model": {"source": "x"},
        "pipeline": {"passes": "clean"},
        "output": {"folder": folder, "engine": engine},
    }
    return Recipe.model_validate(document)


def refusal(program: Program, passes: Sequence[Pass]) -> str | None:
    try:
        require_budget(program, passes)
    except PassError as error:
        return str(error)
    return None


def test_a_text_that_is_missing_is_known_at_once(tmp_path: Path) -> None:
    wanted = recipe(tmp_path / "out")
    text = wanted.evaluate.model_copy(update={"text": tmp_path / "no.txt"})
    with pytest.raises(CalibrationError, match=r"no\.txt"):
        require_text(wanted.model_copy(update={"evaluate": text}), Generation(), tokenizer=None)


def test_a_new_or_former_result_folder_is_accepted(tmp_path: Path) -> None:
    require_output(tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()  # it only looks
    (tmp_path / "report.json").touch()
    require_output(tmp_path)


def test_a_folder_of_the_users_own_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(PreflightError, match="no result of prunec"):
        require_output(tmp_path)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PreflightError, match="is a file"):
        require_output(tmp_path / "file")


def test_a_missing_library_names_the_extra_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineError, match=r"prunec\[rtx\]"):
        require_engine(EngineSection())


def test_a_target_that_the_library_does_not_know_names_those_it_knows() -> None:
    pytest.importorskip("tensorrt_rtx")
    with pytest.raises(EngineError, match=r"9\.0.*8\.9"):
        require_engine(EngineSection(targets=["9.0"]))


def test_no_engine_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert require_engine(None) is None


def test_a_budget_that_the_model_cannot_meet_is_refused_without_weights() -> None:
    possible = parse_pipeline("score,allocate{keep=0.75},remove-structures,refit")
    require_budget(small_program(), possible)
    passes = parse_pipeline("score,allocate{keep=0.02},remove-structures")
    with pytest.raises(PassError, match=r"keep=0\.02"):
        require_budget(small_program(), passes)


@pytest.mark.parametrize("last", ["select-experts", "remove-structures{plan=stored.json}"])
def test_rounds_of_cutting_and_repairing_are_accepted_without_weights(last: str) -> None:
    twice = ",".join(["score,allocate{keep=0.75},remove-structures,refit"] * 2)
    passes = parse_pipeline(f"clean,{twice},{last}")
    assert refusal(trace_config(llama_config()), passes) is None


@pytest.mark.parametrize("name", ["demo", "half"])
def test_shipped_recipes_fit_dense_models_and_experts(name: str) -> None:
    passes = load_recipe(find_recipe(name)).passes()
    architectures = ("llama", "gpt2", "mixtral", "qwen2-moe")
    refusals = [refusal(architecture_program(name), passes) for name in architectures]
    assert refusals == [None] * len(architectures)


def test_a_kind_that_the_model_lacks_is_refused_without_weights() -> None:
    passes = parse_pipeline("score,allocate{kinds=expert},remove-structures")
    with pytest.raises(PassError, match="expert"):
        require_budget(small_program(), passes)


def test_an_allocation_before_any_score_is_refused_without_weights() -> None:
    with pytest.raises(PassError, match="nothing is scored"):
        require_budget(small_program(), parse_pipeline("clean,allocate,score"))


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("score{kinds=ffn-channel},allocate", "have no score"),
        ("score{kinds=expert},allocate", r"no structure of the kinds \('expert',\)"),
        ("score{inputs=pruned},allocate", "put score,allocate before it"),
    ],
)
def test_scores_that_cannot_be_or_do_not_suffice_are_refused_without_weights(
    passes: str, message: str
) -> None:
    apart = "score{kinds=ffn-channel},score{kinds=kv-group},allocate"
    require_budget(
        trace_config(llama_config()), parse_pipeline(f"{apart},score{{inputs=pruned}},allocate")
    )
    with pytest.raises(PassError, match=message):
        require_budget(trace_config(llama_config()), parse_pipeline(passes))


BY_PLAN = "allocate{kinds=ffn-channel keep=0.8 multiple=4},select-experts{rates=plan multiple=4}"


@pytest.mark.parametrize(
    ("passes", "message"),
    [
        ("select-experts{rates=plan}", "rates=plan needs a plan"),
        ("select-experts{multiple=97}", "no multiple of 97"),
        (f"score,{BY_PLAN.replace('kinds=ffn-channel ', '')}", r"cuts \['kv-group'.*\] too"),
    ],
)
def test_a_choice_that_is_not_possible_is_refused_without_weights(
    passes: str, message: str
) -> None:
    possible = BY_PLAN.replace("rates=plan", "rates=plan refit=prompt prior=0.5")
    require_budget(trace_config(llama_config()), parse_pipeline(f"clean,score,{possible}"))
    with pytest.raises(PassError, match=message):
        require_budget(trace_config(llama_config()), parse_pipeline(f"clean,{passes}"))


def test_a_full_disk_is_known_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(PreflightError, match="1 kB free"):
        require_space(small_program(), recipe(tmp_path / "out"))


def test_an_engine_adds_to_the_space_that_is_needed(tmp_path: Path) -> None:
    sizes = [estimate_bytes(small_program(), recipe(tmp_path, engine)) for engine in (False, True)]
    assert sizes[0] < sizes[1]


def test_moments_of_a_prompts_refit_take_space_in_every_copy(tmp_path: Path) -> None:
    plain = recipe(tmp_path)
    pipeline = plain.pipeline.model_copy(update={"passes": "clean,select-experts{refit=prompt}"})
    refitted = plain.model_copy(update={"pipeline": pipeline})
    sizes = [estimate_bytes(small_program(), r) for r in (plain, refitted)]
    moments = 2 * (96 * 96 + 96 * 60) * torch.float32.itemsize  # of two layers
    assert sizes[1] - sizes[0] >= 2 * moments  # in the program and in its ONNX file
