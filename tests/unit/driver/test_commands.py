import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from prunec import __version__
from prunec.driver.explaining import DEFECT, INTERRUPTED, MISTAKE, ExplainingGroup
from prunec.driver.main import app
from prunec.frontend.export import ExportError
from prunec.passes.contract import PassError
from support.checkpoints import change_json, write_llama
from support.models import llama_config

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("checkpoint"))


def failing_app(error: BaseException) -> typer.Typer:
    failing = typer.Typer(cls=ExplainingGroup)

    @failing.callback()
    def main(debug: bool = False) -> None:
        """Group."""

    @failing.command()
    def fail() -> None:
        raise error

    return failing


def test_the_version_is_printed() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.strip()) == (0, f"prunec {__version__}")


@pytest.mark.parametrize(
    "command", ["run", "demo", "explain", "passes", "eval", "bench", "generate", "check"]
)
def test_every_command_has_json_and_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert f"prunec {command}" in result.stdout


def test_passes_are_listed_as_json() -> None:
    result = runner.invoke(app, ["passes", "--json"])
    listed = {row["name"]: row for row in json.loads(result.stdout)["passes"]}
    assert listed["drop-no-ops"]["is_exact"]
    assert not listed["remove-structures"]["is_exact"]
    assert listed["allocate"]["options"]["floor"] == 0.1
    assert {row["owner"] for row in listed.values()} >= {"prunec"}


def test_passes_are_listed_for_people() -> None:
    result = runner.invoke(app, ["passes"])
    assert "remove-structures" in result.stdout
    assert "lossy" in result.stdout


def truncated(model: Path, folder: Path) -> list[str]:
    (folder / "config.json").write_bytes((model / "config.json").read_bytes())
    weights = (model / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-100])
    return ["eval", str(folder), "--text", str(folder / "config.json")]


def unknown_architecture(model: Path, folder: Path) -> list[str]:
    (folder / "config.json").write_text('{"model_type": "perceptron"}')
    (folder / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    return ["explain", str(folder)]


def own_code(model: Path, folder: Path) -> Path:
    """A model of code of its own, about which transformers would ask on the terminal."""
    copied = Path(shutil.copytree(model, folder / "model"))
    own = {"AutoConfig": "code.MyConfig", "AutoModelForCausalLM": "code.MyForCausalLM"}
    change_json(copied / "config.json", model_type="mine", auto_map=own)
    (copied / "code.py").write_text("raise SystemExit('code of a checkpoint was run')")
    return copied


def adapter(model: Path, folder: Path) -> Path:
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    return folder / "adapter"


def smaller_embedding(model: Path, folder: Path) -> Path:
    copied = Path(shutil.copytree(model, folder / "model"))
    AutoModelForCausalLM.from_config(llama_config(vocab_size=200)).save_pretrained(copied)
    return copied


OPENS: dict[str, Callable[[Path, Path], list[str]]] = {
    "run": lambda m, f: ["run", "demo", "--model", str(m), "--output", str(f / "out")],
    "explain": lambda m, f: ["explain", str(m)],
    "eval": lambda m, f: ["eval", str(m), "--text", str(f / "text.txt")],
    "generate": lambda m, f: ["generate", str(m), "--prompt", "a cat"],
    "bench": lambda m, f: ["bench", str(m)],
}
SPOILT: dict[str, tuple[Callable[[Path, Path], Path], str]] = {
    "own code": (own_code, "Code from a checkpoint is not run"),
    "adapter": (adapter, "this is a LoRA adapter of"),
    "smaller embedding": (smaller_embedding, "the model's embedding has 200 rows"),
}


CASES = [
    (case, command)
    for case in SPOILT
    for command in OPENS
    if (case, command) != ("smaller embedding", "explain")  # a graph needs no tokenizer
]


@pytest.mark.parametrize(("case", "command"), CASES)
def test_a_model_that_cannot_be_used_is_refused_by_every_command_and_nothing_asks(
    case: str, command: str, model: Path, tmp_path: Path
) -> None:
    spoil, words = SPOILT[case]
    (tmp_path / "text.txt").write_text("a cat")
    arguments = OPENS[command](spoil(model, tmp_path), tmp_path)
    result = runner.invoke(app, arguments, input="y\n")
    assert result.exit_code == MISTAKE
    assert words in result.stderr
    assert "[y/N]" not in result.output
    assert not (tmp_path / "out").exists()


MISTAKES: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "missing model": (lambda m, f: ["explain", str(f / "no")], "no model at"),
    "truncated weights": (truncated, "cut short"),
    "unknown architecture": (unknown_architecture, "perceptron"),
    "unknown recipe": (lambda m, f: ["run", "dmeo"], "Did you mean 'demo'"),
    "missing result": (lambda m, f: ["check", str(f)], "no program.json"),
    "empty folder": (lambda m, f: ["bench", str(f)], "Expected program.json"),
    "missing text": (lambda m, f: ["eval", str(m), "--text", str(f / "no")], "no such file"),
    "missing questions": (lambda m, f: ["eval", str(m), "--choices", str(f / "no")], "no"),
    "nothing to measure": (lambda m, f: ["eval", str(m)], "--text"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_ends_with_one_message_and_exit_code_2(
    case: str, model: Path, tmp_path: Path
) -> None:
    arguments, expected = MISTAKES[case]
    result = runner.invoke(app, arguments(model, tmp_path))
    assert result.exit_code == MISTAKE
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_an_error_of_a_pass_is_a_mistake_that_can_be_mended() -> None:
    result = runner.invoke(failing_app(PassError("no scores: put score before")), ["fail"])
    assert (result.exit_code, result.stderr) == (MISTAKE, "Error: no scores: put score before\n")


def test_a_full_disk_says_what_to_do() -> None:
    result = runner.invoke(failing_app(OSError(28, "No space left", "/x/y")), ["fail"])
    assert result.exit_code == MISTAKE
    assert "/x/y: the disk is full. Free some space" in result.stderr


def test_an_interrupt_says_what_is_left_in_place() -> None:
    interrupt = KeyboardInterrupt()
    interrupt.add_note("The result before is as it was.")
    result = runner.invoke(failing_app(interrupt), ["fail"])
    assert result.exit_code == INTERRUPTED
    assert "is as it was" in result.stderr


def test_a_defect_asks_for_a_report_and_hides_its_traceback() -> None:
    result = runner.invoke(failing_app(ZeroDivisionError("x / 0")), ["fail"])
    assert result.exit_code == DEFECT
    assert "ZeroDivisionError: x / 0" in result.stderr
    assert "--debug" in result.stderr


def refused_model() -> ExportError:
    error = ExportError("it has a state", in_python="Trace its blocks with trace_module")
    error.tried = (("one way", "it has a state"), ("another way", "it has none"))
    return error


def test_advice_for_python_is_not_given_to_users_of_the_command() -> None:
    result = runner.invoke(failing_app(refused_model()), ["fail"])
    assert result.exit_code == MISTAKE
    assert "it has a state" in result.stderr
    assert "trace_module" not in result.stderr
    assert "another way" not in result.stderr
    assert "--debug shows" in result.stderr


def test_debug_shows_every_way_that_was_tried() -> None:
    result = runner.invoke(failing_app(refused_model()), ["fail", "--debug"])
    assert "Tried another way: it has none" in result.stderr


def test_debug_shows_the_traceback_wherever_it_stands() -> None:
    app_ = failing_app(ZeroDivisionError("x / 0"))
    for arguments in (["--debug", "fail"], ["fail", "--debug"]):
        assert "Traceback" in runner.invoke(app_, arguments).stderr
