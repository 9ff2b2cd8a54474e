"""A hub id is looked at like any folder, from the cache where the hub cannot be reached."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from prunec.frontend.sources import SourceError, find_checkpoint, find_config
from support.checkpoints import change_json

ID = "org/model"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def store(cache: Path, written: Path) -> Path:
    """Put a model into the cache as its downloads would lie there."""
    folder = cache / "models--org--model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    return Path(shutil.copytree(written, folder / "snapshots" / "c0ffee"))


def test_a_model_in_the_cache_needs_no_network(cache: Path, written: Path) -> None:
    snapshot = store(cache, written)
    checkpoint = find_checkpoint(ID)
    assert (checkpoint.reference, checkpoint.location) == (ID, str(snapshot))
    assert checkpoint.load_model().config.model_type == "llama"
    assert find_config(ID).model_type == "llama"


def test_what_is_not_in_the_cache_is_said_with_what_to_do(cache: Path) -> None:
    for find in (find_checkpoint, find_config):
        with pytest.raises(SourceError, match=r"org/model is not in the cache \(.*hub\)") as caught:
            find(ID)
        assert "HF_HUB_OFFLINE" in str(caught.value)


def test_a_cached_model_takes_the_same_look(cache: Path, written: Path) -> None:
    snapshot = store(cache, written)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "tokenizer.json").write_text("{")
    with pytest.raises(SourceError, match=r"org/model cannot be used, for 2 reasons"):
        find_checkpoint(ID)


def test_weights_are_fetched_only_after_the_small_files_passed(
    cache: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot, fetched = store(cache, written), []

    def fetch(reference: str, allow_patterns: list[str]) -> str:
        fetched.append(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    find_checkpoint(ID)
    small, whole = fetched
    assert not any("safetensors" in name for name in small)
    assert whole == [*small, "model.safetensors"]
    change_json(snapshot / "config.json", model_type="perceptron")
    with pytest.raises(SourceError, match="perceptron"):
        find_checkpoint(ID)
    assert len(fetched) == 3


def test_a_network_that_fails_leaves_the_cache(
    cache: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(SourceError, match="no route to host"):
        find_checkpoint(ID)
    store(cache, written)
    assert find_checkpoint(ID).config.model_type == "llama"


def test_an_odd_id_is_named(cache: Path) -> None:
    with pytest.raises(SourceError, match="neither a folder here nor a hub id"):
        find_checkpoint("org/mo del")
