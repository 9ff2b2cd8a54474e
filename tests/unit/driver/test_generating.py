import json
from dataclasses import replace
from pathlib import Path

import pytest

from prunec.driver.artefact import Artefact
from prunec.driver.generating import find_positions
from support.checkpoints import write_llama, write_tokenizer
from support.models import small_program
from support.runners import BigramRunner, random_table


def artefact(source: Path | None) -> Artefact:
    runner = BigramRunner(random_table())
    return Artefact("x", runner, None, 0, None if source is None else str(source))


def test_a_program_knows_its_positions_from_what_it_was_made_of(tmp_path: Path) -> None:
    program = small_program()
    program = replace(program, origin={**program.origin, "max_position_embeddings": 99})
    assert find_positions(replace(artefact(tmp_path), program=program)) == 99


def test_a_checkpoint_says_it_in_its_configuration(tmp_path: Path) -> None:
    assert find_positions(artefact(write_llama(tmp_path))) == 256


def test_an_onnx_folder_says_it_in_the_configuration_for_genai(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"context_length": 77}}))
    assert find_positions(artefact(tmp_path)) == 77


@pytest.mark.parametrize("has_tokenizer", [False, True])
def test_where_nobody_says_it_any_length_is_tried(tmp_path: Path, has_tokenizer: bool) -> None:
    assert find_positions(artefact(tmp_path if has_tokenizer else None)) is None
