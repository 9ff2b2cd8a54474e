from pathlib import Path

import pytest

from prunec.driver.recipe import find_recipe, load_recipe, shipped_recipes, text_specs
from prunec.driver.recipe_errors import RecipeError
from prunec.passes.spec import format_pipeline

GOOD = """
[model]
source = "somewhere"
[pipeline]
passes = "score,allocate{keep=0.5},remove-structures"
[output]
folder = "out"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_is_valid(name: str) -> None:
    assert load_recipe(find_recipe(name)).passes()


def test_a_pipeline_may_be_text_or_tables(tmp_path: Path) -> None:
    tables = '[{name="score"}, {name="allocate", keep=0.5}, {name="remove-structures"}]'
    text = GOOD.replace('"score,allocate{keep=0.5},remove-structures"', tables)
    recipe = load_recipe(write(tmp_path, text))
    assert format_pipeline(recipe.passes()) == "score,allocate{keep=0.5},remove-structures"


@pytest.mark.parametrize(("engine", "is_wanted"), [("true", True), ("false", False)])
def test_an_engine_is_switched_on_and_off(tmp_path: Path, engine: str, is_wanted: bool) -> None:
    recipe = load_recipe(write(tmp_path, f"{GOOD}engine = {engine}\n"))
    assert (recipe.output.engine is not None) is is_wanted


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, GOOD), {"output.folder": "x", "evaluate.text": "t.txt"})
    assert (recipe.output.folder, recipe.evaluate.text) == (Path("x"), Path("t.txt"))


def test_a_model_without_its_cache_makes_nothing_that_needs_one(tmp_path: Path) -> None:
    text = GOOD.replace("[model]", "[model]\ncache = false")
    with pytest.raises(RecipeError, match=r"recipe.toml: model.cache = false .*genai = false"):
        load_recipe(write(tmp_path, text))
    recipe = load_recipe(write(tmp_path, f"{text}engine = false\ngenai = false\n"))
    assert not recipe.model.cache


def test_self_written_test_text_does_not_overlap_calibration(tmp_path: Path) -> None:
    calibration, measured = text_specs(load_recipe(write(tmp_path, GOOD)))
    begin = measured.first_window * measured.window_tokens
    assert begin >= calibration.window_count * calibration.window_tokens


def test_a_recipe_asks_its_own_questions_or_three(tmp_path: Path) -> None:
    assert len(load_recipe(write(tmp_path, GOOD)).evaluate.prompts) == 3
    own = load_recipe(write(tmp_path, f'{GOOD}[evaluate]\nprompts = ["a", "b"]\n'))
    assert own.evaluate.prompts == ["a", "b"]


BAD = {
    "unknown key": ("[model]\n", "[model]\nsuorce = 1\n", ["model.suorce", "source"]),
    "unknown section": ("[model]\n", "[modle]\nx = 1\n[model]\n", ["modle", "'model'"]),
    "missing key": ('source = "somewhere"\n', "", ["model.source", "missing"]),
    "wrong choice": ("[model]\n", '[model]\ndtype = "int3"\n', ["model.dtype", "'bfloat16'"]),
    "wrong type": ('folder = "out"', "folder = 3", ["output.folder"]),
    "too small": ("[pipeline]", "[calibration]\nwindows = 0\n[pipeline]", ["calibration.windows"]),
    "not a table": ('folder = "out"', 'folder = "out"\nengine = 3', ["output.engine", "table"]),
    "bad target": (
        'folder = "out"',
        'folder = "out"\n[output.engine]\nlibrary = "tensorflow"',
        ["output.engine.library", "'tensorrt_rtx'"],
    ),
    "unknown pass": ("score,", "scroe,", ["pipeline.passes", "scroe", "'score'"]),
    "unknown option": ("keep=0.5", "kepe=0.5", ["pipeline.passes", "kepe", "'keep'"]),
    "impossible budget": ("keep=0.5", "keep=1.5", ["pipeline.passes", "keep=1.5"]),
    "no pipeline": ('passes = "score', 'passes = 3 # "score', ["pipeline.passes", "text"]),
    "one prompt": ("[output]", '[evaluate]\nprompt = "a"\n[output]', ["'prompts'"]),
    "no prompts": ("[output]", "[evaluate]\nprompts = []\n[output]", ["evaluate.prompts"]),
    "empty prompt": ("[output]", '[evaluate]\nprompts = [""]\n[output]', ["evaluate.prompts.0"]),
    "not toml": ("[model]", "[model", ["not valid TOML"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_recipe_names_file_key_and_what_is_allowed(tmp_path: Path, case: str) -> None:
    good, bad, expected = BAD[case]
    assert good in GOOD
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    for part in [str(path), *expected]:
        assert part in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("[model]\n", "[model]\nx = 1\n").replace('folder = "out"', "y = 1")
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert all(key in str(caught.value) for key in ("model.x", "output.y", "output.folder"))


def test_a_misspelt_recipe_is_guessed() -> None:
    with pytest.raises(RecipeError, match="Did you mean 'demo'"):
        find_recipe("dmeo")
