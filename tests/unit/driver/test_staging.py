from pathlib import Path

import pytest

from prunec.driver.staging import Staging, open_staging


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
