from collections.abc import Callable
from pathlib import Path

import pytest

from prunec.driver.staging import Staging


def open_staging(output: Path, key: str, notices: list[str] | None = None) -> Staging:
    staging = Staging(output)
    staging.take_over(key, [].append if notices is None else notices.append)
    return staging


def finish_stage(staging: Staging, name: str) -> None:
    with staging.stage(name) as result:
        (staging.folder / name).write_text("done")
        result["fact"] = 1


def test_a_published_folder_replaces_the_one_before(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / "old").write_text("old")
    staging = open_staging(output, "key")
    finish_stage(staging, "passes")
    assert (output / "old").exists()
    staging.publish()
    assert sorted(p.name for p in output.iterdir()) == ["passes"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_the_same_key_goes_on_where_it_stopped(tmp_path: Path) -> None:
    finish_stage(open_staging(tmp_path / "out", "key"), "passes")
    again = open_staging(tmp_path / "out", "key")
    assert again.is_done("passes")
    assert not again.is_done("onnx")
    assert again.results["passes"]["fact"] == 1


def test_another_key_begins_anew(tmp_path: Path) -> None:
    finish_stage(open_staging(tmp_path / "out", "key"), "passes")
    other = open_staging(tmp_path / "out", "other")
    assert not other.is_done("passes")
    assert not (other.folder / "passes").exists()


def test_a_stage_that_fails_is_not_done(tmp_path: Path) -> None:
    staging = open_staging(tmp_path / "out", "key")
    with pytest.raises(KeyboardInterrupt), staging.stage("passes"):
        raise KeyboardInterrupt
    assert not open_staging(tmp_path / "out", "key").is_done("passes")


def test_an_unfinished_job_says_what_is_left(tmp_path: Path) -> None:
    staging = open_staging(tmp_path / "out", "key")
    finish_stage(staging, "passes")
    sentence = staging.leave()
    assert "No result was written" in sentence
    assert "(passes) wait in" in sentence
    assert staging.folder.exists()


def test_an_unfinished_job_without_results_leaves_nothing_behind(tmp_path: Path) -> None:
    staging = open_staging(tmp_path / "out", "key")
    finish_stage(staging, "trace")
    assert staging.leave() == "No result was written."
    assert list(tmp_path.iterdir()) == []


def test_stages_before_the_key_is_known_leave_an_interrupted_job_alone(tmp_path: Path) -> None:
    finish_stage(open_staging(tmp_path / "out", "key"), "passes")
    again = Staging(tmp_path / "out")
    with again.stage("trace"):
        pass
    assert again.leave() == "No result was written."
    again.take_over("key", [].append)
    assert list(again.results) == ["trace", "passes"]


@pytest.mark.parametrize("damage", [lambda text: text[:-1] + "?", lambda text: ""])
def test_a_stage_whose_file_is_damaged_is_run_again_and_so_are_those_after_it(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    staging = open_staging(tmp_path / "out", "key")
    for name in ("passes", "onnx", "evaluate"):
        finish_stage(staging, name)
    file = staging.folder / "onnx"
    file.write_text(damage(file.read_text()))
    notices: list[str] = []
    again = open_staging(tmp_path / "out", "key", notices)
    assert [again.is_done(name) for name in ("passes", "onnx", "evaluate")] == [True, False, False]
    assert notices == [f"{file} is damaged: the stages from onnx on are run again"]
    assert [p.name for p in sorted(again.folder.iterdir())] == ["job.json", "passes"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": {"key": "key"}, "digest": "0"}'])
def test_a_damaged_state_begins_anew_and_says_so(tmp_path: Path, text: str) -> None:
    finish_stage(open_staging(tmp_path / "out", "key"), "passes")
    (tmp_path / ".out.unfinished" / "job.json").write_text(text)
    notices: list[str] = []
    assert not open_staging(tmp_path / "out", "key", notices).is_done("passes")
    assert ["is damaged: the job begins anew" in notice for notice in notices] == [True]


def test_a_result_that_was_altered_is_found_out(tmp_path: Path) -> None:
    finish_stage(open_staging(tmp_path / "out", "key"), "passes")
    state = tmp_path / ".out.unfinished" / "job.json"
    state.write_text(state.read_text().replace('"fact": 1', '"fact": 2'))
    assert not open_staging(tmp_path / "out", "key").is_done("passes")


def test_what_an_unfinished_stage_left_is_not_published(tmp_path: Path) -> None:
    staging = open_staging(tmp_path / "out", "key")
    finish_stage(staging, "passes")
    (staging.folder / "half").write_text("written")
    again = open_staging(tmp_path / "out", "key")
    again.publish()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["passes"]
