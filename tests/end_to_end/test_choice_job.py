"""A whole job in which the prompt chooses: folder, report, and every command on what it leaves."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunec.backends.tensorrt import EngineError, EngineOptions, read_manifest, require_buildable
from prunec.driver.main import app
from prunec.passes.analysis.cost import decode_bytes
from prunec.passes.ir import load_program
from support.checkpoints import write_llama

runner = CliRunner()

RECIPE = """
[model]
source = "{model}"
[calibration]
windows = 8
window_tokens = 32
[pipeline]
passes = "{passes}"
[evaluate]
windows = 4
window_tokens = 32
answer_tokens = 4
[output]
folder = "{output}"
engine = {engine}
"""
BY_PLAN = (
    "clean,score{kinds=ffn-channel},allocate{keep=0.8 kinds=ffn-channel multiple=4},"
    "select-experts{rates=plan multiple=4 refit=prompt column_norm=true prior=0.5}"
)
SIZES = ["--windows", "2", "--window-tokens", "64", "--json"]


def run(folder: Path, passes: str, engine: str = "false") -> Any:
    recipe, model = folder / "recipe.toml", folder / "model"
    if not model.exists():
        write_llama(model)
    settings = {"model": model, "passes": passes, "output": folder / "out", "engine": engine}
    recipe.write_text(RECIPE.format(**settings))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(folder / "cache"))
        return runner.invoke(app, ["run", str(recipe), "--json"])


def call(*arguments: object) -> Any:
    result = runner.invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    result = run(folder, BY_PLAN)
    assert result.exit_code == 0, result.stderr
    return folder / "out"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the cat sat on the mat and the dog sat on the cat. " * 20)
    return path


def test_the_folder_has_both_models_over_one_file_of_weights(job: Path) -> None:
    names = {file.name for file in (job / "onnx").iterdir()}
    assert {"prefill.onnx", "decode.onnx", "weights.data", "experts.json"} <= names
    assert not names & {"model.onnx", "genai_config.json"}
    assert "tokenizer_config.json" in names


def test_the_report_tells_what_is_chosen_and_what_a_token_reads(job: Path) -> None:
    report = json.loads((job / "report.json").read_text())
    choice, program = report["choice"], load_program(job / "program")
    read = choice["decode_bytes"]
    assert read["chosen"] == decode_bytes(program) < read["pruned"] == read["dense"]
    kept = [layer["kept"] for layer in report["kinds"][0]["layers"]]
    assert [s["count"] for s in choice["structures"]] == kept
    assert {s["units"] for s in choice["structures"]} == {96}
    assert choice["gathered_bytes"] == sum(3 * count * 60 * 4 for count in kept)
    assert choice["batch"] == "shared"
    assert report["quality"]["prompt_tokens"] == 16
    assert report["quality"]["tokens"] == 4 * 16
    assert "What each prompt chooses" in (job / "report.html").read_text()


def test_a_finished_job_is_sound(job: Path) -> None:
    checks = call("check", job, "--json")["checks"]
    assert all(check["passed"] for check in checks)
    names = {check["name"] for check in checks}
    assert {"decode law in torch", "ONNX computes what torch computes"} <= names


def test_changed_weights_are_found_out(job: Path, tmp_path: Path) -> None:
    shutil.copytree(job, tmp_path / "copy")
    data = tmp_path / "copy" / "onnx" / "weights.data"
    data.write_bytes(bytes(len(data.read_bytes())))
    result = runner.invoke(app, ["check", str(tmp_path / "copy"), "--json"])
    failed = {c["name"] for c in json.loads(result.stdout)["checks"] if not c["passed"]}
    assert result.exit_code == 1
    assert "ONNX computes what torch computes" in failed


def test_eval_measures_what_follows_a_prompt(job: Path, text: Path) -> None:
    pair = call("eval", job / "onnx", "--text", text, "--against", job, *SIZES)["text"]
    assert (pair["prompt_tokens"], pair["tokens"]) == (32, 2 * 32)
    assert pair["top1_agreement"] == 1.0  # the same program in two runners
    alone = call("eval", job, "--text", text, *SIZES)["text"]
    assert alone["perplexity"] == pytest.approx(pair["dense_perplexity"], rel=1e-4)


def test_bench_times_it_beside_the_dense_model(job: Path) -> None:
    sizes = ["--prompt-tokens", "8", "--new-tokens", "4", "--repeats", "2", "--warmup", "0"]
    against = ["--against", job.parent / "model", "--json"]
    found = call("bench", job / "onnx", *against, *sizes)
    assert found["comparison"]["tpot"]["of_medians"] > 0
    assert [m["runner"] for m in found["models"]] == ["onnxruntime/cpu", "torch/cpu"]


def test_both_forms_write_the_same_text(job: Path) -> None:
    found = call(
        "generate",
        job / "onnx",
        "--against",
        job,
        "--prompt",
        "the cat",
        "--new-tokens",
        8,
        "--json",
    )
    assert found["agreement"]["share"] == 1
    assert found["text"] == found["against"]["text"]


def test_a_cut_and_a_choice_among_what_is_left_add_up_in_the_report(tmp_path: Path) -> None:
    cut = "score{kinds=ffn-channel},allocate{keep=0.8 kinds=ffn-channel},remove-structures"
    result = run(tmp_path, f"{cut},clean,select-experts{{keep=0.5}}")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    kinds, choice = report["kinds"][0]["layers"], report["choice"]
    left = [layer["kept"] for layer in kinds]
    assert [s["units"] for s in choice["structures"]] == left
    read = choice["decode_bytes"]
    unit = 3 * 60 * 4  # bytes of gate, up and down
    assert read["dense"] - read["pruned"] == sum(96 - units for units in left) * unit
    chosen = sum(s["count"] for s in choice["structures"])
    assert read["pruned"] - read["chosen"] == (sum(left) - chosen) * unit


def test_a_budget_that_cannot_be_met_is_known_before_the_weights_are_read(tmp_path: Path) -> None:
    result = run(tmp_path, BY_PLAN.replace("keep=0.8", "keep=0.05"))
    assert result.exit_code != 0
    assert "Load the weights" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.tensorrt
def test_both_engines_are_built_with_what_ties_them(tmp_path: Path) -> None:
    try:
        require_buildable(EngineOptions())
    except EngineError as error:
        pytest.skip(f"no TensorRT library builds here: {error}")
    result = run(tmp_path, "clean,select-experts{refit=prompt}", engine="true")
    assert result.exit_code == 0, result.stderr
    folder = tmp_path / "out" / "engine"
    assert {file.name for file in folder.iterdir()} == {
        *(f"{name}.engine{end}" for name in ("prefill", "decode") for end in ("", ".json")),
        "experts.json",
    }
    given = {spec.name: spec for spec in read_manifest(folder / "prefill.engine").outputs}
    taken = {spec.name: spec for spec in read_manifest(folder / "decode.engine").inputs}
    ties = json.loads((folder / "experts.json").read_text())["experts"]
    assert len(ties) == 6
    assert all(given[out].shape == taken[into].shape for out, into in ties.items())
    checks = call("check", tmp_path / "out", "--json")["checks"]
    assert {"prefill.engine is that of its manifest", "decode.engine is that of its manifest"} <= {
        check["name"] for check in checks if check["passed"]
    }
