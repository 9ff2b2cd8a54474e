import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[3] / "tools" / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module("architectures")


@pytest.fixture
def table(bench: ModuleType) -> ModuleType:
    return importlib.import_module("architectures_bench.table")


def check(error: float = 2e-16, **more: Any) -> dict[str, Any]:
    return {"trials": 4, "largest_error": error, "failed": 0, "seconds": 1.5, **more}


def result(**more: Any) -> dict[str, Any]:
    heads = {"structures": 2, "sizes": [4], "units_apart_trials": 0}
    widths = {"structures": 4, "sizes": [6, 10], "units_apart_trials": 3}
    row = {"axes": 2, "weight": "w[0]", "node": "slice_3", "source": "m.py:7 in forward: x"}
    return {
        "model": "SomeModel",
        "trace_seconds": 2.0,
        "analysis_seconds": 0.02,
        "kinds": {"head": check(**heads), "qk-dim": check(**widths)},
        "mixed": check(4e-16),
        "refused": [
            {"kind": "vo-dim", "reason": "a window slides over it", **row},
            {"kind": None, "reason": "its size is fixed", **row},
        ],
        "onnx": {"largest_error": 3e-7, "seconds": 2.0},
        **more,
    }


def document(**architectures: Any) -> dict[str, Any]:
    versions = {"torch": "2.13", "transformers": "5.23"}
    return {"seed": 7, "machine": {"versions": versions}, "architectures": architectures}


def row(text: str, name: str, number: int = 0) -> str:
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")][number]


def test_cells_show_count_sizes_error_and_own_units(table: ModuleType) -> None:
    text = table.to_markdown(document(some={"prunec": result()}))
    cells = row(text, "some")
    assert "| 2 × 4 · 2e-16 |" in cells
    assert "| 4 × 6–10\\* · 2e-16 |" in cells


def test_a_refused_kind_names_its_reason_by_number(table: ModuleType) -> None:
    text = table.to_markdown(document(some={"prunec": result()}))
    assert "refused [1]" in row(text, "some")
    reason = next(line for line in text.splitlines() if line.startswith("| 1 |"))
    assert "a window slides over it" in reason
    assert "`w[0]` of some, by slice_3 (m.py:7 in forward: x)" in reason


def test_the_peer_stands_beside(table: ModuleType) -> None:
    peer = {"outcome": "crashes", "detail": "RuntimeError: shape | size"}
    both = {"prunec": result(), "torch_pruning": peer}
    text = table.to_markdown(document(some=both, other={"prunec": result()}))
    assert row(text, "some", 1).endswith("| crashes: RuntimeError: shape \\| size |")
    assert row(text, "other", 1).endswith("|  |")


@pytest.mark.parametrize(
    "bad",
    [
        {"failed": "ExportError: no"},
        result(mixed=check(1e-3)),
        result(mixed=check(failed=1, first_failure="CutError: no")),
        result(onnx={"failed": "OnnxError: no"}),
        result(onnx={"largest_error": 0.5, "seconds": 1.0}),
    ],
)
def test_what_is_not_good_is_named(table: ModuleType, bad: dict[str, Any]) -> None:
    assert table.is_good(result())
    assert not table.is_good(bad)
    text = table.to_markdown(document(some={"prunec": result()}, broken={"prunec": bad}))
    assert "Not as it should be: broken." in text


def test_what_is_there_is_not_run_again(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []

    def run(part: str, name: str, seed: int) -> dict[str, Any]:
        ran.append(name)
        return result(seed=seed)

    monkeypatch.setattr(bench, "_guarded", run)
    out = tmp_path / "architectures.json"
    wanted = ["--out", str(out), "--only", "llama", "gpt2"]
    assert bench.main(wanted) == 0
    assert bench.main(wanted) == 0
    assert ran == ["llama", "gpt2"]
    assert bench.main([*wanted[:-1], "--fresh", "--seed", "3"]) == 0
    assert ran == ["llama", "gpt2", "llama"]
    stored = json.loads(out.read_text())["architectures"]
    assert {name: stored[name]["prunec"]["seed"] for name in stored} == {"llama": 3, "gpt2": 0}
    assert "| gpt2 |" in out.with_suffix(".md").read_text()


def test_an_unknown_architecture_is_refused_with_those_that_there_are(
    bench: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "architectures.json"
    assert bench.main(["--out", str(out), "--only", "llama", "nonsense"]) == 2
    assert "no architectures ['nonsense']; there are ['albert'," in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_one_architecture_goes_through_everything(table: ModuleType) -> None:
    found = importlib.import_module("architectures_bench.checks").check_architecture("opt", seed=0)
    assert table.is_good(found), found
    assert {"ffn-channel", "head", "residual", "layer"} <= found["kinds"].keys()
    assert found["kinds"]["vo-dim"]["units_apart_trials"] > 0
    assert all(row["reason"] and row["node"] for row in found["refused"])
