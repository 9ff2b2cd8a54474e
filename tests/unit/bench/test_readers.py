import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def bench(bench_modules: None) -> ModuleType:
    return importlib.import_module("readers")


@pytest.fixture
def table(bench: ModuleType) -> ModuleType:
    return importlib.import_module("readers_bench.table")


def result(error: float = 1e-7, **more: Any) -> dict[str, Any]:
    engine = {"seconds": 0.5, "rewritten": {"spell_out_attention": 2}}
    return {"onnxruntime": {"largest_error": error}, "engine": engine, **more}


def test_a_line_says_what_each_reader_made_of_each_file(table: ModuleType) -> None:
    found = {"float32": result(), "bfloat16": {"engine": {"failed": "EngineError: a | b"}}}
    machine = {"versions": {"torch": "2.13"}}
    text = table.to_markdown({"machine": machine, "architectures": {"some": found}})
    line = next(line for line in text.splitlines() if line.startswith("| some |"))
    cells = "1e-07 | 0.5 s, 2 spelled out | not tried |  | no kernels | EngineError: a \\| b"
    assert line == f"| some | {cells} |"
    assert "1 of 2 files are taken by all their readers. Not so: some in bfloat16." in text


@pytest.mark.parametrize(
    "bad",
    [
        {"failed": "OnnxError: no"},
        result(engine={"failed": "EngineError: no"}),
        result(onnxruntime={"failed": "Fail: no"}),
        result(1e-3),
        result(float("nan")),
    ],
)
def test_what_a_reader_refuses_or_computes_otherwise_is_not_good(
    table: ModuleType, bad: dict[str, Any]
) -> None:
    assert table.is_good("float32", result())
    assert not table.is_good("float32", bad)


def test_what_is_there_is_not_run_again(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[tuple[str, str]] = []

    def run(name: str, precision: str) -> dict[str, Any]:
        ran.append((name, precision))
        return result()

    monkeypatch.setattr(bench, "_guarded", run)
    out = tmp_path / "readers.json"
    wanted = ["--out", str(out), "--only", "llama", "--precisions", "float32"]
    assert bench.main(wanted) == 0
    assert bench.main([*wanted, "float16"]) == 0
    assert ran == [("llama", "float32"), ("llama", "float16")]
    assert bench.main([*wanted, "--fresh"]) == 0
    assert ran[2:] == [("llama", "float32")]
    assert list(json.loads(out.read_text())["architectures"]["llama"]) == ["float32", "float16"]
    assert "| llama |" in out.with_suffix(".md").read_text()


@pytest.mark.tensorrt
@pytest.mark.slow
def test_one_architecture_goes_through_everything(table: ModuleType) -> None:
    found = importlib.import_module("readers_bench.checks").check_readers("vit", "float32")
    assert table.is_good("float32", found), found
    assert found["engine"]["rewritten"]["spell_out_attention"] == 2
