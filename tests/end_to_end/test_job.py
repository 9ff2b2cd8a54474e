"""A whole job on a tiny checkpoint, without an engine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from prunec.driver import lowering, stages
from prunec.driver.main import app
from prunec.passes.analysis.cost import measure
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
passes = "clean,score,allocate{{keep=0.6 multiple=4}},remove-structures,refit"
[evaluate]
windows = 4
window_tokens = 32
answer_tokens = 4
prompts = ["the cat", "a dog"]
[output]
folder = "{output}"
engine = false
"""


class Job:
    """A recipe on disk, and what running it leaves."""

    def __init__(self, folder: Path) -> None:
        self.model = write_llama(folder / "model")
        self.output = folder / "results" / "out"
        self.recipe = folder / "recipe.toml"
        self.recipe.write_text(RECIPE.format(model=self.model, output=self.output))

    def run(self) -> Any:
        return runner.invoke(app, ["run", str(self.recipe), "--json"])


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    folder = tmp_path_factory.mktemp("job")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEC_CACHE", str(folder / "cache"))
        made = Job(folder)
        result = made.run()
    assert result.exit_code == 0, result.stderr
    (folder / "stdout.json").write_text(result.stdout)
    return made


def test_stdout_is_the_report_and_nothing_else(job: Job) -> None:
    stdout = json.loads((job.recipe.parent / "stdout.json").read_text())
    assert stdout == json.loads((job.output / "report.json").read_text())


def test_the_report_tells_the_sizes_of_the_program_that_was_written(job: Job) -> None:
    report = json.loads((job.output / "report.json").read_text())
    sizes = report["sizes"]
    assert measure(load_program(job.output / "program")).to_json() == sizes["after"]
    kept = sizes["after"]["block_parameters"] / sizes["before"]["block_parameters"]
    assert 0.5 < kept <= 0.6
    assert [kind["kind"] for kind in report["kinds"]] == ["kv-group", "ffn-channel"]
    assert [answer["prompt"] for answer in report["answers"]] == ["the cat", "a dog"]
    assert set(report["stages"]) >= {"trace", "load", "text", "passes", "onnx", "evaluate"}


def test_every_file_of_the_report_is_there(job: Job) -> None:
    report = json.loads((job.output / "report.json").read_text())
    paths = {file["path"] for file in report["files"]}
    assert paths == {"report.html", "report.json", "program/", "plan.json", "onnx/"}
    assert all((job.output / path).exists() for path in paths)
    assert (job.output / "onnx" / "genai_config.json").is_file()
    assert [p.name for p in job.output.parent.iterdir()] == ["out"]


def test_a_finished_job_is_sound(job: Job) -> None:
    result = runner.invoke(app, ["check", str(job.output), "--json"])
    checks = json.loads(result.stdout)["checks"]
    assert result.exit_code == 0, checks
    assert {"cache law in torch", "ONNX writes what torch writes"} <= {c["name"] for c in checks}


def test_changed_weights_are_found_out(job: Job, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(job.output, copy)
    data = copy / "onnx" / "model.onnx.data"
    data.write_bytes(bytes(len(data.read_bytes())))
    result = runner.invoke(app, ["check", str(copy), "--json"])
    failed = [c["name"] for c in json.loads(result.stdout)["checks"] if not c["passed"]]
    assert result.exit_code == 1
    assert "ONNX computes what torch computes" in failed
    assert all("writes" in name for name in failed[1:])  # what the file generates is off as well


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dense_perplexity": 1e6}, "reading it has one of 1e+06"),
        ({"dense_perplexity": None}, "not finite"),
        ({"tokens": 0}, "no token was predicted"),
    ],
)
def test_numbers_of_a_report_that_cannot_be_are_found_out(
    job: Job, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    (tmp_path / "program").symlink_to(job.output / "program")
    report = json.loads((job.output / "report.json").read_text())
    report["quality"] |= change
    (tmp_path / "report.json").write_text(json.dumps(report))
    result = runner.invoke(app, ["check", str(tmp_path), "--json"])
    failed = [c for c in json.loads(result.stdout)["checks"] if not c["passed"]]
    assert result.exit_code == 1
    assert [c["name"] for c in failed] == ["the report does not contradict itself"]
    assert told in failed[0]["detail"]


def test_a_report_of_before_doubts_is_not_blamed(job: Job, tmp_path: Path) -> None:
    (tmp_path / "program").symlink_to(job.output / "program")
    report = json.loads((job.output / "report.json").read_text())
    del report["warnings"], report["answers"]
    (tmp_path / "report.json").write_text(json.dumps(report))
    result = runner.invoke(app, ["check", str(tmp_path), "--json"])
    details = {c["name"]: c["detail"] for c in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0
    assert details["the report does not contradict itself"].startswith("not looked at")


def test_eval_compares_the_result_with_the_dense_model(job: Job, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog sat on the cat. " * 20)
    sizes = ["--windows", "2", "--window-tokens", "64", "--json"]
    arguments = [str(job.output / "onnx"), "--text", str(text), "--against", str(job.output)]
    result = runner.invoke(app, ["eval", *arguments, *sizes])
    assert result.exit_code == 0, result.stderr
    measured = json.loads(result.stdout)["text"]
    assert measured["tokens"] == 2 * 63
    assert measured["top1_agreement"] == 1.0  # the same program in two runners
    doubts = json.loads(result.stdout)["warnings"]
    assert {doubt["code"] for doubt in doubts} == {"no-better-than-guessing"}  # it is untrained


def test_bench_compares_two_artefacts(job: Job) -> None:
    sizes = ["--prompt-tokens", "8", "--new-tokens", "4", "--repeats", "2", "--warmup", "0"]
    arguments = [str(job.output / "onnx"), "--against", str(job.output), "--json"]
    result = runner.invoke(app, ["bench", *arguments, *sizes])
    assert result.exit_code == 0, result.stderr
    comparison = json.loads(result.stdout)["comparison"]
    assert comparison["tpot"]["of_medians"] > 0
    assert len(comparison["subject"]["ttft_ms"]["values"]) == 2


def test_an_interrupted_job_leaves_the_former_result_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PRUNEC_CACHE", str(tmp_path / "cache"))
    job = Job(tmp_path)
    job.output.mkdir(parents=True)
    (job.output / "report.json").write_text("former")

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lowering, "export_onnx", interrupt)
        result = job.run()
    assert result.exit_code == 130
    assert "is as it was" in result.stderr
    assert (job.output / "report.json").read_text() == "former"
    monkeypatch.setattr(stages, "run_pipeline", interrupt)  # would be called if not taken over
    result = job.run()
    assert result.exit_code == 0, result.stderr
    assert json.loads((job.output / "report.json").read_text())["passes"]
    assert [p.name for p in job.output.parent.iterdir()] == ["out"]
