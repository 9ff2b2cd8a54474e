from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from support.checkpoints import write_llama


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A checkpoint that can be used, to be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "model"))
