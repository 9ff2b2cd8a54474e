import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from prunec.backends.measure import Sample, SampleError, measure_generation
from support.checkpoints import write_tokenizer
from support.runners import BigramRunner, ScriptRunner, random_table


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


def writes(tokenizer: Any, text: str, name: str = "script") -> ScriptRunner:
    tokens = [*tokenizer.encode(text), tokenizer.eos_token_id]
    return ScriptRunner([tokens], len(tokenizer), name)


def test_answers_are_compared_by_words_and_by_tokens(tokenizer: Any) -> None:
    runner, dense = (
        writes(tokenizer, "a cat sat", "pruned"),
        writes(tokenizer, "a dog sat", "dense"),
    )
    found = measure_generation(runner, dense, tokenizer, [Sample("7", "qa", "Who?")], 20)["qa"]
    ours, theirs = (tokenizer.encode(t) for t in ("a cat sat", "a dog sat"))
    first = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    (item,) = found.items
    assert (found.runner, found.reference, found.samples) == ("pruned", "dense", 1)
    assert found.rouge_l == item.rouge_l == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(1 / 2)
    assert item.first_divergence == first == found.median_same_tokens
    assert item.new_tokens == len(ours) + 1
    assert found.same_answers == 0
    assert found.rouge_l_stderr is None


def test_a_runner_beside_itself_agrees_wholly_and_tasks_are_kept_apart(tokenizer: Any) -> None:
    runner = BigramRunner(random_table(len(tokenizer)))
    samples = [Sample(str(i), task, "the cat"[: i + 1]) for i, task in enumerate(["a", "b", "a"])]
    found = measure_generation(runner, runner, tokenizer, samples, 6)
    assert [(task, q.samples) for task, q in found.items()] == [("a", 2), ("b", 1)]
    for quality in found.values():
        assert quality.rouge_l == quality.f1 == quality.token_agreement == quality.same_answers == 1
        assert quality.median_same_tokens == max(i.new_tokens for i in quality.items)


def test_an_answer_ends_after_its_stop_string_which_is_no_part_of_its_text(tokenizer: Any) -> None:
    sample = Sample("7", "qa", "Who?", stop=("\nQ:",))
    long, short = writes(tokenizer, " cat\nQ: a dog"), writes(tokenizer, " cat")
    found = measure_generation(long, short, tokenizer, [sample], 30)["qa"]
    assert found.rouge_l == found.f1 == 1
    assert found.items[0].new_tokens == len(tokenizer.encode(" cat\nQ:"))


def test_a_sample_may_want_fewer_tokens(tokenizer: Any) -> None:
    runner = BigramRunner(random_table(len(tokenizer)))
    samples = [Sample("7", "qa", "Who?", max_new_tokens=n) for n in (2, 9)]
    found = measure_generation(runner, runner, tokenizer, samples, 4)["qa"]
    assert [item.new_tokens for item in found.items] == [2, 4]


def test_the_start_of_a_long_prompt_is_cut_and_the_result_says_so(tokenizer: Any) -> None:
    runner = writes(tokenizer, "cat")
    prompts = ["what is the capital of France?", "Paris?"]
    samples = [Sample(p, "qa", p) for p in prompts]
    whole = tokenizer.encode(prompts[0])
    found = measure_generation(runner, runner, tokenizer, samples, 4, max_prompt_tokens=6)["qa"]
    assert (found.cut_prompts, found.max_prompt_tokens) == (1, 6)
    assert [i.cut_tokens for i in found.items] == [len(whole) - 6, 0]
    assert runner.steps[0][0].tolist() == [whole[-6:]]


def test_answers_of_the_reference_are_made_once(tokenizer: Any, tmp_path: Path) -> None:
    stored = tmp_path / "new" / "answers.json"
    samples = [Sample("1", "qa", "Who?"), Sample("2", "qa", "What?")]
    runner, dense = writes(tokenizer, "cat"), writes(tokenizer, "dog")
    measure_generation(runner, dense, tokenizer, samples[:1], 9, stored=stored)
    done = len(dense.steps)
    first = measure_generation(runner, dense, tokenizer, samples, 9, stored=stored)
    assert len(dense.steps) == 2 * done
    again = measure_generation(runner, dense, tokenizer, samples, 9, stored=stored)
    assert len(dense.steps) == 2 * done
    assert again == first
    measure_generation(runner, dense, tokenizer, samples, 2, stored=stored)
    assert len(dense.steps) == 2 * done + 2 * 2  # a shorter answer is another one


def test_a_file_that_holds_no_answers_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    stored = tmp_path / "answers.json"
    stored.write_text("[1]")
    runner = writes(tokenizer, "cat")
    with pytest.raises(SampleError, match="holds no answers: delete it"):
        measure_generation(runner, runner, tokenizer, [Sample("1", "qa", "Who?")], 2, stored=stored)


def test_a_file_whose_answers_were_altered_is_refused(tokenizer: Any, tmp_path: Path) -> None:
    stored = tmp_path / "answers.json"
    runner, samples = writes(tokenizer, "cat"), [Sample("1", "qa", "Who?")]
    measure_generation(runner, runner, tokenizer, samples, 2, stored=stored)
    document = json.loads(stored.read_text())
    for tokens in document["answers"].values():
        tokens[0] += 1
    stored.write_text(json.dumps(document))
    with pytest.raises(SampleError, match="is damaged: delete it"):
        measure_generation(runner, runner, tokenizer, samples, 2, stored=stored)


def test_the_result_is_json(tokenizer: Any) -> None:
    runner = writes(tokenizer, "cat")
    found = measure_generation(runner, runner, tokenizer, [Sample("1", "qa", "Who?")], 9)["qa"]
    document = json.loads(json.dumps(found.to_json()))
    assert document["items"][0]["id"] == "1"
    assert document["new_tokens"] == 9


@pytest.mark.parametrize("limits", [(0, 5), (5, 0)])
def test_limits_that_allow_nothing_are_refused(tokenizer: Any, limits: tuple[int, int]) -> None:
    runner = writes(tokenizer, "cat")
    with pytest.raises(ValueError, match="at least 1 is needed"):
        measure_generation(runner, runner, tokenizer, [], limits[0], max_prompt_tokens=limits[1])
