"""One change of what something stored is made of, and its key is another."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.torch import TorchRunner
from prunec.frontend.calibration import Author, CalibrationSpec, calibration_tokens
from prunec.frontend.export import trace_model
from prunec.passes.ir import Program, Role, cast, digest
from support.models import random_tokens, small_model, small_program
from support.runners import BigramRunner, CharacterTokenizer, random_table
from support.stored import CODE, STORES, Made, job

ROOT = Path(__file__).parents[2]
PROGRAM = small_program()


def nudged() -> Program:
    name = "model.layers.0.mlp.down_proj.weight"
    weight = PROGRAM.weights[name].clone()
    weight[0, 0] = torch.nextafter(weight[0, 0], torch.tensor(torch.inf))
    return PROGRAM.with_weights({name: weight})


def with_epsilon_times(factor: float) -> Program:
    program = cast(cast(PROGRAM, torch.float64), torch.float32)
    nodes = [n for n in program.main.graph.nodes if "add.Tensor" in str(n.target)]
    node = next(n for n in nodes if isinstance(n.args[1], float))
    node.args = (node.args[0], factor * node.args[1])
    return program


def with_outputs(**changes: Any) -> Program:
    ((name, entry),) = PROGRAM.entries.items()
    first, *rest = entry.outputs
    changed = replace(entry, outputs=(replace(first, **changes), *rest))
    return replace(PROGRAM, entries={name: changed})


@cache
def cacheless() -> Program:
    return trace_model(small_model(), cache=False)


PROGRAMS: dict[str, Callable[[], Program]] = {
    "a weight by its last bit": nudged,
    "the precision": lambda: small_program(torch.float64),
    "a constant of the graph": lambda: with_epsilon_times(10),
    "no cache": cacheless,
    "the name of an output": lambda: with_outputs(name="scores"),
    "the role of an output": lambda: with_outputs(role=Role.OTHER),
    "a parameter as a buffer": lambda: replace(PROGRAM, buffers=PROGRAM.buffers | {"lm_head"}),
}

CHANGES: dict[str, dict[str, Any]] = {
    "tokenizer": {"special": "<other>"},
    "text": {"text": random_tokens(2, 16, seed=1)},
    "option": {"option": 0.75},
    "seed": {"seed": 1},
    "teacher": {"teacher": with_epsilon_times(10)},
}


@pytest.fixture(autouse=True)
def _benches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools" / "bench"))


@pytest.mark.parametrize("store", STORES)
def test_equal_ingredients_have_equal_keys(store: Callable[[Made], str], tmp_path: Path) -> None:
    made = Made(tmp_path / "made")
    copy = replace(made, program=with_epsilon_times(1), teacher=with_epsilon_times(1))
    assert store(made) == store(copy)


@pytest.mark.parametrize("store", STORES)
def test_another_program_has_another_key(store: Callable[[Made], str], tmp_path: Path) -> None:
    made = Made(tmp_path / "made")
    keys = [store(replace(made, program=change())) for change in PROGRAMS.values()]
    assert len({store(made), *keys}) == 1 + len(PROGRAMS)


@pytest.mark.parametrize(
    ("store", "part"), [(store, part) for store, parts in STORES.items() for part in parts]
)
def test_whatever_else_is_another_has_another_key(
    store: Callable[[Made], str], part: str, tmp_path: Path
) -> None:
    made = Made(tmp_path / "made")
    assert store(made) != store(replace(made, **CHANGES[part]))


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("package", ["torch", "transformers"])
@pytest.mark.parametrize("where", ["installed", "loaded"])
def test_another_version_of_a_library_has_another_key(
    store: Callable[[Made], str],
    package: str,
    where: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, version = store(Made(tmp_path / "made")), metadata.version
    if where == "loaded":
        monkeypatch.setattr(sys.modules[package], "__version__", "0")
    else:
        monkeypatch.setattr(
            metadata, "version", lambda name: "0" if name == package else version(name)
        )
    assert store(Made(tmp_path / "made")) != before


@pytest.fixture
def copied_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of prunec's source that keys are made of."""
    there = digest._ROOT
    for folder in ("passes", "frontend", "backends", "driver"):
        shutil.copytree(there / folder, tmp_path / "source" / folder)
    monkeypatch.setattr(digest, "_ROOT", tmp_path / "source")
    digest.digest_source.cache_clear()
    yield tmp_path / "source"
    digest.digest_source.cache_clear()


@pytest.mark.parametrize("store", STORES)
def test_another_source_has_another_key(
    store: Callable[[Made], str], copied_source: Path, tmp_path: Path
) -> None:
    before = store(Made(tmp_path / "made"))
    changed = copied_source / CODE.get(store, "passes/analysis/statistics.py")
    changed.write_text(changed.read_text() + "# changed\n")
    digest.digest_source.cache_clear()
    assert store(Made(tmp_path / "made")) != before


def test_a_plan_that_an_option_names_belongs_to_the_key_of_a_job(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    made = Made(tmp_path / "made", pipeline=f"remove-structures{{{{plan={plan}}}}}")
    keys = set()
    for text in ("one", "two"):
        plan.write_text(text)
        keys.add(job(made))
    assert len(keys) == 2


def test_text_of_a_program_without_a_cache_is_not_taken_for_that_of_one_with_it(
    tmp_path: Path,
) -> None:
    spec = CalibrationSpec(window_count=1, window_tokens=48)

    def write(author: Author, cache: Path | None) -> torch.Tensor:
        return calibration_tokens(spec, CharacterTokenizer(), author, cache=cache).tokens

    other = write(Author(BigramRunner(random_table()).step, cacheless()), tmp_path)
    author = Author(TorchRunner(PROGRAM).step, PROGRAM)
    found = write(author, tmp_path)
    assert torch.equal(found, write(author, None))
    assert not torch.equal(found, other)


DIGESTS = {
    "passes/ir/digest.py": "the keys",
    "passes/ir/program.py": "names and shapes, that a plan fits",
    "frontend/checkpoints/packaged.py": "a download is what it should be",
    "frontend/calibration/select.py": "the text, for people",
    "frontend/calibration/written.py": "seeds",
    "backends/onnx/weight_file.py": "equal weights within one file",
    "backends/tensorrt/manifest.py": "files, against damage",
}


def test_no_other_place_makes_keys_of_its_own() -> None:
    files = [f for part in ("passes", "frontend", "backends", "tools") for f in _source(part)]
    there = {str(f.relative_to(ROOT)) for f in files if "import hashlib" in f.read_text()}
    assert there == set(DIGESTS)


def _source(folder: str) -> Iterator[Path]:
    return (ROOT / folder).rglob("*.py")
