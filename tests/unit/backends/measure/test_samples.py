import json
from pathlib import Path
from typing import Any

import pytest

from prunec.backends.measure import Sample, SampleError, read_samples

GOOD = {"id": "7", "query": "Q:", "references": ["a"], "task": "coqa"}


def write(path: Path, *items: Any) -> Path:
    path.write_text("\n".join(map(json.dumps, items)) + "\n", encoding="utf-8")
    return path


def test_a_sample_has_its_limits_where_the_task_sets_them(tmp_path: Path) -> None:
    limited = {**GOOD, "stop": ["\nQ:"], "max_new_tokens": 32}
    plain, strict = read_samples(write(tmp_path / "s.jsonl", GOOD, limited))
    assert plain == Sample("7", "coqa", "Q:", ("a",))
    assert (strict.stop, strict.max_new_tokens) == (("\nQ:",), 32)


def test_a_file_without_tasks_is_one_task_of_its_name(tmp_path: Path) -> None:
    (found,) = read_samples(write(tmp_path / "mine.jsonl", {"query": "Q:"}))
    assert (found.task, found.references) == ("mine", ())


def test_an_answer_is_cut_at_the_first_stop_string_of_all() -> None:
    sample = Sample("7", "coqa", "Q:", stop=("\nQ:", "#"))
    assert sample.cut(" yes\nQ: why? # no") == " yes"
    assert sample.cut(" yes # no\nQ:") == " yes "
    assert sample.cut(" yes") == " yes"


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ([], "an object is expected, there is list"),
        ({**GOOD, "query": ""}, "query must be a text"),
        ({**GOOD, "references": "a"}, "references must be a list of texts"),
        ({**GOOD, "stop": [""]}, "stop must be a list of texts, none of them empty"),
        ({**GOOD, "max_new_tokens": 0}, "max_new_tokens is 0: at least 1"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, item: Any, message: str) -> None:
    path = write(tmp_path / "s.jsonl", GOOD, item)
    with pytest.raises(SampleError, match=f"s.jsonl, line 2: {message}"):
        read_samples(path)


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="cannot be read"):
        read_samples(tmp_path / "none.jsonl")
    with pytest.raises(SampleError, match="holds nothing"):
        read_samples(write(tmp_path / "s.jsonl"))
