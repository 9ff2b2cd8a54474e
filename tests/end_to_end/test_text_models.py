"""Whole jobs on tiny models that read texts whole, without an engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunec.driver.explaining import MISTAKE
from prunec.driver.main import app
from prunec.passes.analysis.cost import measure
from prunec.passes.ir import load_program
from support.checkpoints import write_llama, write_text_model
from support.text_models import TEXT_MODELS, text_model

runner = CliRunner()

TEXT = "the cat sat on the mat and a dog saw what is the capital of France. "
RECIPE = """
[model]
source = "{model}"
[calibration]
source = "{text}"
windows = 8
window_tokens = 32
[pipeline]
passes = "{passes}"
[evaluate]
windows = 4
window_tokens = 32
[output]
folder = "{output}"
engine = {engine}
"""
PASSES = "clean,score{criterion=obs-fisher},allocate{keep=0.7 multiple=4},remove-structures,refit"


def run(folder: Path, name: str, *arguments: str, engine: bool = False) -> Any:
    """Write a model, a text and a recipe, and run it."""
    text, recipe = folder / "text.txt", folder / "recipe.toml"
    text.write_text("".join(f"{n} {TEXT}" for n in range(60)))
    model = write_text_model(folder / "model", text_model(name))
    options = {"model": model, "text": text, "output": folder / "out", "passes": PASSES}
    recipe.write_text(RECIPE.format(**options, engine=str(engine).lower()))
    return runner.invoke(app, ["run", str(recipe), *arguments], env={"COLUMNS": "200"})


@pytest.mark.parametrize("name", TEXT_MODELS)
def test_a_text_model_is_cut_measured_and_checked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "cache"))
    result = run(tmp_path, name, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    sizes = report["sizes"]
    assert measure(load_program(tmp_path / "out" / "program")).to_json() == sizes["after"]
    assert 0.5 < sizes["after"]["block_parameters"] / sizes["before"]["block_parameters"] <= 0.7
    assert (report["task"], report["answers"]) == ("whole-text", [])
    for output in report["quality"]["outputs"]:
        if output["kl_nats"] is None:
            assert 0 < output["relative_error"] < 1
        else:
            assert output["kl_nats"] > 0
    page = (tmp_path / "out" / "report.html").read_text()
    for words in ("erplexity", "KV cache", "The same questions"):
        assert words not in page
    checked = runner.invoke(app, ["check", str(tmp_path / "out"), "--json"])
    names = [check["name"] for check in json.loads(checked.stdout)["checks"]]
    assert checked.exit_code == 0, checked.stdout
    assert "ONNX computes what torch computes" in names
    assert not any("cache" in name or "writes" in name for name in names)


@pytest.mark.parametrize("name", ["encoder", "decoder-classifier"])
def test_an_engine_takes_texts_as_long_as_the_positions(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx")
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "cache"))
    result = run(tmp_path, name, "--json", engine=True)
    assert result.exit_code == 0, result.stderr
    manifest = json.loads((tmp_path / "out" / "engine" / "model.engine.json").read_text())
    (profile,) = manifest["profiles"].values()
    assert profile["sequence_length"]["maximum"] == 96
    checked = runner.invoke(app, ["check", str(tmp_path / "out"), "--json"])
    assert checked.exit_code == 0, checked.stdout


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished job on a classifier."""
    folder = tmp_path_factory.mktemp("classifier")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(folder / "cache"))
        result = run(folder, "classifier")
    assert result.exit_code == 0, result.stderr
    (folder / "stdout.txt").write_text(result.stdout)
    return folder


def invoke(*arguments: str) -> Any:
    return runner.invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_the_summary_tells_what_a_classifier_has(classifier: Path) -> None:
    summary = (classifier / "stdout.txt").read_text()
    for words in ("KL divergence to dense", "Top-1 agreement with dense", "of texts"):
        assert words in summary
    for words in ("erplexity", "KV cache", "chat template", "prunec run dense"):
        assert words not in summary


def test_eval_compares_a_classifier_with_the_dense_one(classifier: Path) -> None:
    given = ["eval", str(classifier / "out" / "onnx"), "--text", str(classifier / "text.txt")]
    sizes = ["--windows", "3", "--json"]
    result = invoke(*given, "--against", str(classifier / "model"), *sizes)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)["text"]
    assert found["tokens"] == 3 * 96  # as many as the model has positions
    (output,) = found["outputs"]
    assert output["kl_nats"] > 0
    itself = invoke(*given, "--against", str(classifier / "out"), *sizes)
    (output,) = json.loads(itself.stdout)["text"]["outputs"]
    assert output["kl_nats"] < 1e-9
    assert output["top1_agreement"] == 1


def test_eval_of_a_classifier_alone_says_what_to_give(classifier: Path) -> None:
    text = ["--text", str(classifier / "text.txt")]
    result = invoke("eval", str(classifier / "out"), *text)
    assert result.exit_code == MISTAKE
    assert "--against MODEL" in result.stderr


def test_a_classifier_is_not_compared_with_what_writes(classifier: Path, tmp_path: Path) -> None:
    llama, text = str(write_llama(tmp_path)), ["--text", str(classifier / "text.txt")]
    result = invoke("eval", str(classifier / "out"), *text, "--against", llama)
    assert result.exit_code == MISTAKE
    assert "only models of one use can be compared" in result.stderr


def test_a_classifier_writes_nothing(classifier: Path) -> None:
    for model in (classifier / "out", classifier / "out" / "onnx", classifier / "model"):
        result = invoke("generate", str(model), "--prompt", "the cat")
        assert result.exit_code == MISTAKE
        assert "it writes no text" in result.stderr


def test_bench_times_one_pass_of_two_classifiers(classifier: Path) -> None:
    sizes = ["--prompt-tokens", "16", "--repeats", "2", "--warmup", "0", "--json"]
    against = ["--against", str(classifier / "model")]
    result = invoke("bench", str(classifier / "out" / "onnx"), *against, *sizes)
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert [len(one["pass_ms"]["values"]) for one in document["passes"]] == [2, 2]
    assert document["ratio"]["of_medians"] > 0


def test_damaged_weights_of_a_classifier_are_found_out(classifier: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(classifier / "out", copy)
    data = copy / "onnx" / "model.onnx.data"
    data.write_bytes(bytes(len(data.read_bytes())))
    result = invoke("check", str(copy), "--json")
    failed = [c["name"] for c in json.loads(result.stdout)["checks"] if not c["passed"]]
    assert result.exit_code == 1
    assert failed == ["ONNX computes what torch computes"]
