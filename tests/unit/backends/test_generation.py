from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from prunec.backends.generation import encode_prompt, generate_text, stream_text
from prunec.backends.runner import GenerationError, generate, stream
from prunec.backends.torch import TorchRunner
from support.checkpoints import write_tokenizer
from support.models import random_tokens, small_program
from support.runners import BigramRunner, ScriptRunner, random_table


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def script(tokenizer: Any, *texts: str) -> ScriptRunner:
    """Writes these texts, each with the end token after it."""
    rows = [[*tokenizer.encode(t), tokenizer.eos_token_id] for t in texts]
    return ScriptRunner(rows, len(tokenizer))


def test_a_stream_hands_out_each_token_before_the_next_is_computed() -> None:
    runner = ScriptRunner([[5, 6, 7]], 10)
    chosen = stream(runner, torch.tensor([[1, 2]]), new_tokens=3)
    assert next(chosen).tolist() == [5]
    assert len(runner.steps) == 1
    assert [row.tolist() for row in chosen] == [[6], [7]]


def test_the_first_step_takes_the_prompt_and_later_ones_a_token_with_a_longer_mask() -> None:
    runner = ScriptRunner([[5, 6], [7, 8]], 10)
    generate(runner, torch.tensor([[1, 2], [0, 3]]), torch.tensor([[1, 1], [0, 1]]), new_tokens=2)
    (prompt, _), (step, mask) = runner.steps
    assert prompt.tolist() == [[1, 2], [0, 3]]
    assert step.tolist() == [[5], [7]]
    assert mask.tolist() == [[1, 1, 1], [0, 1, 1]]


def test_a_row_that_has_ended_is_filled_until_all_have() -> None:
    runner = ScriptRunner([[5, 9, 4, 4], [6, 7, 9, 4]], 10)
    assert generate(runner, torch.tensor([[1], [1]]), new_tokens=4, stop=9).tolist() == [
        [5, 9, 9],
        [6, 7, 9],
    ]


def test_no_new_tokens_are_an_empty_answer() -> None:
    assert generate(ScriptRunner([[5]], 10), torch.tensor([[1]]), new_tokens=0).shape == (1, 0)


def test_prompts_without_a_token_are_refused() -> None:
    runner = ScriptRunner([[5], [5]], 10)
    with pytest.raises(GenerationError, match=r"rows \[1\] of 2 are empty"):
        stream(runner, torch.tensor([[1], [0]]), torch.tensor([[1], [0]]), new_tokens=1)
    with pytest.raises(GenerationError, match="there is no prompt"):
        stream(runner, torch.zeros(0, 3, dtype=torch.int64), new_tokens=1)
    with pytest.raises(GenerationError, match=r"mask is \[1, 2\] and the prompts are \[1, 1\]"):
        stream(runner, torch.tensor([[1]]), torch.tensor([[1, 1]]), new_tokens=1)


def test_a_stream_of_a_real_graph_is_what_one_pass_over_the_whole_finds() -> None:
    runner, prompt = TorchRunner(small_program()), random_tokens(2, 7)
    added = generate(runner, prompt, new_tokens=5)
    whole = torch.cat([prompt, added], dim=1)
    logits, _ = runner.step(whole, torch.ones_like(whole), None)
    assert torch.equal(logits[:, 6:-1].argmax(-1), added)


@pytest.mark.parametrize("text", ["the cat", " Paris is 日本語 🦊é.", "a  b .\n", "a\ufffdb", ""])
def test_pieces_make_the_text_and_no_piece_holds_a_part_of_a_character(
    tokenizer: Any, text: str
) -> None:
    pieces = list(stream_text(script(tokenizer, text), tokenizer, "what is"))
    assert "".join(pieces) == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text
    assert len(pieces) == len(tokenizer.encode(text)) + 2


def test_a_character_cut_off_by_the_limit_is_shown_at_the_end(tokenizer: Any) -> None:
    tokens = tokenizer.encode("日")
    assert len(tokens) == 3
    runner = ScriptRunner([tokens], len(tokenizer))
    assert list(stream_text(runner, tokenizer, "a", new_tokens=2)) == ["", "", "\ufffd"]


def test_a_batch_is_padded_on_the_left_and_each_row_ends_by_itself(tokenizer: Any) -> None:
    runner = script(tokenizer, "Paris", "a dog é")
    short, long = generate_text(runner, tokenizer, ["capital?", "what is the cat on the mat"])
    assert (short.text, long.text) == ("Paris", "a dog é")
    assert short.tokens == (*tokenizer.encode("Paris"), tokenizer.eos_token_id)
    assert short.prompt_tokens == len(tokenizer.encode("capital?"))
    tokens, mask = runner.steps[0]
    assert mask.sum(1).tolist() == [short.prompt_tokens, long.prompt_tokens]
    assert mask[0].tolist() == sorted(mask[0].tolist())
    assert tokenizer.decode(tokens[0][mask[0].bool()]) == "capital?"


def test_a_stream_and_a_batch_of_one_are_the_same_text(tokenizer: Any) -> None:
    runner = BigramRunner(random_table(len(tokenizer)))
    (whole,) = generate_text(runner, tokenizer, ["the dog"], new_tokens=40)
    pieces = stream_text(runner, tokenizer, "the dog", new_tokens=40)
    assert "".join(pieces) == whole.text


def test_the_chat_template_is_taken_where_it_is_wanted(tokenizer: Any) -> None:
    plain, said = (encode_prompt(tokenizer, "a cat", chat=chat) for chat in (False, True))
    assert tokenizer.decode(plain) == "a cat"
    assert tokenizer.decode(said) == "a cat "


def test_what_the_model_has_no_positions_for_is_not_generated(tokenizer: Any) -> None:
    prompt = "the cat sat"
    count = len(tokenizer.encode(prompt))
    runner = ScriptRunner([[5] * 9], len(tokenizer))
    (found,) = generate_text(runner, tokenizer, [prompt], new_tokens=9, positions=count + 4)
    assert len(found.tokens) == 4
    with pytest.raises(GenerationError, match=f"{count} tokens and the model has {count} pos"):
        generate_text(runner, tokenizer, [prompt], positions=count)


def test_bad_prompts_are_refused(tokenizer: Any) -> None:
    runner = ScriptRunner([[5]], len(tokenizer))
    with pytest.raises(GenerationError, match="the prompt is empty"):
        stream_text(runner, tokenizer, "")
    with pytest.raises(GenerationError, match="there is no prompt"):
        generate_text(runner, tokenizer, [])
    with pytest.raises(GenerationError, match="no chat template"):
        encode_prompt(object(), "a", chat=True)
