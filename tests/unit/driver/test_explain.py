import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from transformers import ViTConfig
from typer.testing import CliRunner, Result

from prunec.driver.explaining import MISTAKE
from prunec.driver.main import app
from prunec.driver.picture import PictureError, draw_structure
from prunec.driver.picture.boxes import MOST_BOXES, Role, find_boxes
from prunec.driver.picture.layout import place
from prunec.driver.structure_report import describe_coupling
from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.ir import Program, save_program
from support.models import llama_config, small_program

runner = CliRunner()


def explain(*arguments: str) -> Result:
    return runner.invoke(app, ["explain", *arguments], env={"COLUMNS": "200"})


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but config.json."""
    folder = tmp_path_factory.mktemp("configuration")
    config = llama_config(dtype="float16", architectures=["LlamaForCausalLM"])
    config.save_pretrained(folder)
    assert [p.name for p in folder.iterdir()] == ["config.json"]
    return folder


@pytest.fixture(scope="module")
def document(configuration: Path) -> dict[str, Any]:
    result = explain(str(configuration), "--json")
    assert result.exit_code == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "program"
    save_program(small_program(), folder)
    return folder


@pytest.fixture(scope="module")
def analysed() -> tuple[Program, Coupling]:
    program = small_program()
    return program, find_structures(program)


def test_a_configuration_is_enough(document: dict[str, Any]) -> None:
    kinds = {row["kind"]: row for row in document["kinds"]}
    assert kinds["kv-group"]["structures"] == 2
    assert kinds["ffn-channel"]["size"] == [96]
    # A row of gate and of up and a column of down, in the two bytes of the configuration's type.
    assert kinds["ffn-channel"]["parameters_per_unit"] == [3 * 60]
    assert kinds["ffn-channel"]["bytes_per_unit"] == [3 * 60 * 2]
    assert document["bytes_per_number"] == 2


def test_a_folder_without_a_configuration_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    result = explain(str(tmp_path))
    assert result.exit_code == MISTAKE
    assert "no config.json; there is ['notes.txt']" in result.stderr


def test_units_that_each_head_may_choose_are_told(document: dict[str, Any]) -> None:
    own = {row["kind"]: row["example"]["own_units_for_each"] for row in document["kinds"]}
    assert own["vo-dim"] == "kv-group"
    assert own["ffn-channel"] is None


def test_json_has_every_structure_and_every_refusal(analysed: tuple[Program, Coupling]) -> None:
    program, coupling = analysed
    found = describe_coupling(program, coupling)
    assert [s["name"] for s in found["structures"]] == [s.name for s in coupling.structures]
    assert len(found["refused"]) == len(coupling.refusals)
    assert sum(row["axes"] for row in found["reasons"]) == len(coupling.refusals)
    assert sum(row["structures"] for row in found["kinds"]) == len(coupling.structures)


def test_refusals_name_the_node_and_a_weight(document: dict[str, Any]) -> None:
    (reason,) = [r for r in document["reasons"] if "by number" in r["reason"]]
    assert reason["example"]["node"] == "embedding"
    assert reason["example"]["members"] == ["lm_head.weight[0]"]
    assert reason["example"]["source"]


def test_tables_show_what_can_be_cut_and_what_cannot(stored: Path) -> None:
    shown = explain(str(stored)).stdout
    for text in (
        "kv-group",
        "each kv-group",
        "up_proj.weight[0]",
        "What cannot be cut",
        "by number",
    ):
        assert text in shown


def test_a_model_of_images_is_explained(tmp_path: Path) -> None:
    ViTConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    ).save_pretrained(tmp_path)
    found = json.loads(explain(str(tmp_path), "--json").stdout)
    assert {"head", "ffn-channel"} <= {row["kind"] for row in found["kinds"]}
    assert found["sizes"]["kv_bytes_per_token"] == 0


def test_a_picture_is_drawn_by_name_or_by_kind(stored: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    result = explain(str(stored), "--picture", "ffn-channel", "--output", str(first), "--json")
    name = json.loads(result.stdout)["picture"]["structure"]
    assert explain(str(stored), "--picture", name, "--output", str(second)).exit_code == 0
    picture = first.read_text()
    assert picture == second.read_text()
    for text in ("down_proj.weight", "[60, *96*]", "silu", "mul.Tensor"):
        assert f"<!-- {text}" in picture or f"{text} -->" in picture


def test_a_picture_needs_nothing_from_elsewhere(
    analysed: tuple[Program, Coupling], tmp_path: Path
) -> None:
    draw_structure(*analysed, "ffn-channel", tmp_path / "picture.svg")
    picture = (tmp_path / "picture.svg").read_text()
    for reference in ("<image", "<script", "@import", 'href="http', "font-family"):
        assert reference not in picture


@pytest.mark.parametrize(("word", "close"), [("head", "heads/"), ("fnn-channel", "'ffn-channel'")])
def test_an_unknown_structure_is_answered_with_close_ones(
    word: str, close: str, stored: Path, tmp_path: Path
) -> None:
    result = explain(str(stored), "--picture", word, "--output", str(tmp_path / "no.svg"))
    assert result.exit_code == MISTAKE
    assert "Did you mean" in result.stderr
    assert close in result.stderr
    assert not list(tmp_path.iterdir())


def test_boxes_tell_where_the_units_are(analysed: tuple[Program, Coupling]) -> None:
    program, coupling = analysed
    boxes, left_out = find_boxes(program, coupling, coupling.of_kind("kv-group")[0])
    by_role = {role: [b for b in boxes if b.role is role] for role in Role}
    assert left_out == 0
    assert len(by_role[Role.WEIGHT]) == 4
    assert {b.detail for b in by_role[Role.CACHE]} == {"[batch, *3*, past sequence, 16]"}
    assert [b.detail for b in by_role[Role.READER]] == ["[batch, sequence, 60]"]
    assert all("*3*" in b.detail for b in by_role[Role.CARRIER])


def test_a_long_structure_is_cut_short_and_says_so(analysed: tuple[Program, Coupling]) -> None:
    program, coupling = analysed
    boxes, left_out = find_boxes(program, coupling, coupling.of_kind("residual")[0])
    assert len(boxes) == MOST_BOXES
    assert left_out > 0


def test_layers_are_no_picture(analysed: tuple[Program, Coupling], tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="whole branches"):
        draw_structure(*analysed, "layer", tmp_path / "picture.svg")


def test_boxes_do_not_overlap_and_stand_below_what_they_read(
    analysed: tuple[Program, Coupling],
) -> None:
    program, coupling = analysed
    for structure in coupling.structures:
        if structure.kind == "layer":
            continue
        boxes, _ = find_boxes(program, coupling, structure)
        layout = place(boxes)
        for reader, box in enumerate(boxes):
            assert all(layout.centres[s][1] < layout.centres[reader][1] for s in box.sources)
        spans = sorted(
            (row, x - width / 2, x + width / 2)
            for (x, row), width in zip(layout.centres, layout.widths, strict=True)
        )
        for (row, _, right), (next_row, left, _) in pairwise(spans):
            assert row != next_row or right < left
