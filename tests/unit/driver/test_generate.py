import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from prunec.driver.explaining import MISTAKE
from prunec.driver.main import app
from prunec.passes.ir import save_program
from support.checkpoints import write_llama, write_tokenizer
from support.models import small_program

runner = CliRunner()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_llama(tmp_path_factory.mktemp("checkpoint")))


def generate(*arguments: str) -> Result:
    return runner.invoke(app, ["generate", *arguments], env={"COLUMNS": "300"})


def test_the_text_is_all_of_stdout_and_the_document_holds_the_same(model: str) -> None:
    given = [model, "--prompt", "the cat", "--new-tokens", "6"]
    shown, document = generate(*given), json.loads(generate(*given, "--json").stdout)
    assert shown.exit_code == 0
    assert shown.stdout == document["text"] + "\n"
    assert document["prompt"] == "the cat"
    assert document["new_tokens"] == len(document["tokens"]) == 6
    assert document["ttft_ms"] > 0
    assert document["tokens_per_second"] > 0
    assert f"{document['prompt_tokens']} tokens of prompt, 6 new" in shown.stderr


def test_two_models_are_shown_and_compared_token_by_token(model: str, tmp_path: Path) -> None:
    other = str(write_llama(tmp_path / "other", seed=1))
    given = [model, "--prompt", "the cat", "--new-tokens", "6", "--against", other]
    document = json.loads(generate(*given, "--json").stdout)
    pairs = list(zip(document["tokens"], document["against"]["tokens"], strict=True))
    assert document["agreement"]["share"] == sum(a == b for a, b in pairs) / 6
    assert document["against"]["reference"] == other


def test_a_file_and_a_seed_give_the_same_text_again(model: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("the dog\n")
    draws = ["--temperature", "1.5", "--new-tokens", "6", "--json"]
    tokens = [
        json.loads(generate(model, *prompt, *draws, "--seed", seed).stdout)["tokens"]
        for prompt, seed in (
            (("--prompt-file", str(file)), "1"),
            (("--prompt", "the dog"), "1"),
            (("--prompt", "the dog"), "2"),
        )
    ]
    assert tokens[0] == tokens[1] != tokens[2]


def test_a_prompt_longer_than_the_positions_is_refused(model: str) -> None:
    result = generate(model, "--prompt", "~" * 300)
    assert result.exit_code == MISTAKE
    assert "the prompt has 300 tokens and the model has 256 positions" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either --prompt TEXT or"),
        (["--prompt", "a", "--prompt-file", "b"], "either --prompt TEXT or"),
        (["--prompt", ""], "the prompt is empty"),
        (["--prompt-file", "no-such-file"], "there is no such file"),
        (["--prompt", "a", "--top-p", "0"], "top_p is 0.0"),
    ],
)
def test_a_mistake_is_found_before_a_model_is_loaded(arguments: list[str], message: str) -> None:
    result = generate("no-model", *arguments)
    assert result.exit_code == MISTAKE
    assert message in result.stderr


def test_a_prompt_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "prompt.bin"
    file.write_bytes(b"a\xff")
    result = generate("no-model", "--prompt-file", str(file))
    assert result.exit_code == MISTAKE
    assert "is not UTF-8 text" in result.stderr


def test_a_tokenizer_beside_a_program_that_lacks_its_tokens_is_refused(tmp_path: Path) -> None:
    program = small_program()
    save_program(program, tmp_path / "program")
    size = write_tokenizer(tmp_path)
    result = generate(str(tmp_path / "program"), "--prompt", "the cat")
    assert result.exit_code == MISTAKE
    assert (
        f"the tokenizer has tokens up to {size - 1}, the model's embedding has 128" in result.stderr
    )
