import json
from pathlib import Path
from typing import Any

import pytest

from prunec.backends.measure.questions import Question, QuestionError, read_questions

GOOD = {"id": "7", "query": "Q:", "choices": ["a", "bc"], "gold": 1}


def write(path: Path, *items: Any) -> Path:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in items]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_both_schemas_are_read(tmp_path: Path) -> None:
    partial = {**GOOD, "schema": "partial_context", "suffix": "end."}
    plain, split = read_questions(write(tmp_path / "q.jsonl", GOOD, partial))
    assert plain == Question("7", "Q:", ("a", "bc"), 1)
    assert plain.pairs() == [("Q:", " a"), ("Q:", " bc")]
    assert plain.lengths() == [1, 2]
    assert split.pairs() == [("Q:a", " end."), ("Q:bc", " end.")]
    assert split.lengths() == [4, 4]


def test_line_separators_inside_a_text_do_not_end_a_line(tmp_path: Path) -> None:
    item = json.dumps({**GOOD, "query": "a\u2028b"}, ensure_ascii=False)
    (found,) = read_questions(write(tmp_path / "q.jsonl", item))
    assert found.query == "a\u2028b"


def test_the_first_questions_can_be_taken(tmp_path: Path) -> None:
    path = write(tmp_path / "q.jsonl", *[{**GOOD, "id": i} for i in range(5)])
    assert [q.id for q in read_questions(path, 2)] == ["0", "1"]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("{", "not JSON"),
        ("[]", "an object is expected, there is list"),
        ({"query": "Q"}, "choices must be a list of at least two"),
        ({**GOOD, "choices": ["a"]}, "choices must be a list of at least two"),
        ({**GOOD, "choices": ["a", 3]}, "choices holds something that is not a string"),
        ({**GOOD, "choices": ["a", ""]}, "a choice or the suffix is empty"),
        ({**GOOD, "query": None}, "query must be a string; the keys are"),
        ({**GOOD, "gold": 2}, "gold is 2, an index into 2 choices"),
        ({**GOOD, "gold": "1"}, "gold is '1'"),
        ({**GOOD, "schema": "partial_context"}, "suffix must be a string"),
    ],
)
def test_a_bad_line_is_named_with_what_is_wrong(tmp_path: Path, item: Any, message: str) -> None:
    path = write(tmp_path / "q.jsonl", GOOD, item)
    with pytest.raises(QuestionError, match=f"q.jsonl, line 2: {message}"):
        read_questions(path)


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
    with pytest.raises(QuestionError, match="holds nothing: one JSON object a line"):
        read_questions(write(tmp_path / "q.jsonl"))
