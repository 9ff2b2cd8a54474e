"""Code that comes with a checkpoint is never run, and nothing asks whether it should be."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunec.frontend.sources import SourceError, find_checkpoint, find_config
from support.checkpoints import change_json

CODE = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
OWN = {"AutoConfig": "my_code.MyConfig", "AutoModelForCausalLM": "my_code.MyForCausalLM"}


@pytest.fixture
def with_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (folder / "my_code.py").write_text(CODE)

    def ask(prompt: str = "") -> str:
        raise AssertionError(f"asks on the terminal: {prompt}")

    monkeypatch.setattr("builtins.input", ask)
    return folder


@pytest.mark.parametrize("changes", [{"model_type": "mine"}, {"architectures": ["MyForCausalLM"]}])
def test_a_model_of_its_own_code_is_refused(changes: dict[str, object], with_code: Path) -> None:
    change_json(with_code / "config.json", auto_map=OWN, **changes)
    for find in (find_checkpoint, find_config):
        with pytest.raises(SourceError, match=r"code of its own \(my_code\.py") as caught:
            find(str(with_code))
        assert "is not run" in str(caught.value)
    assert not (with_code / "ran").exists()


def test_a_class_that_transformers_has_is_taken_instead(with_code: Path) -> None:
    change_json(with_code / "config.json", auto_map=OWN)
    checkpoint = find_checkpoint(str(with_code))
    assert type(checkpoint.load_model()).__module__.startswith("transformers.models.llama")
    assert not (with_code / "ran").exists()
    assert any("my_code.py" in note for note in checkpoint.notes)


def test_a_tokenizer_of_its_own_code_is_refused(with_code: Path) -> None:
    change_json(
        with_code / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["my_code.MyTokenizer", None]},
        tokenizer_class="MyTokenizer",
    )
    with pytest.raises(SourceError, match="the tokenizer is code of its own"):
        find_checkpoint(str(with_code))
    assert not (with_code / "ran").exists()


def test_a_kernel_from_elsewhere_is_refused(folder: Path) -> None:
    change_json(folder / "config.json", attn_implementation="someone/attention")
    with pytest.raises(SourceError, match="asks for code from elsewhere"):
        find_checkpoint(str(folder))
