from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.fx import Graph

from prunec.passes.ir import Entry, Program, load_program, save_program
from prunec.passes.ir.digest import digest, digest_program, digest_source, make_key
from support.models import small_program


@dataclass(frozen=True)
class Options:
    share: float
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class OtherOptions:
    share: float
    names: tuple[str, ...] = ()


APART = [
    None,
    False,
    0,
    0.0,
    -0.0,
    "",
    "0",
    b"",
    b"0",
    [],
    {},
    [[]],
    ["ab", "c"],
    ["a", "bc"],
    [["a"], "bc"],
    {"a": "bc"},
    {"ab": "c"},
    [{"a": 1}, {"b": 2}],
    {"a": 1, "b": 2},
    torch.float32,
    torch.float16,
    torch.zeros(2, 3),
    torch.zeros(3, 2),
    torch.zeros(6),
    torch.zeros(2, 3, dtype=torch.float64),
    torch.tensor([[0, 0, 0], [0, 0, 1e-30]]),
    torch.tensor(0.0),
    torch.empty(0),
    Options(0.5),
    Options(0.5, ("a",)),
    OtherOptions(0.5),
]


def test_values_of_other_kinds_or_content_have_other_digests() -> None:
    assert len({digest(value) for value in APART}) == len(APART)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, 2), [1, 2]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (torch.arange(6).reshape(2, 3), torch.arange(6).reshape(2, 3).T.contiguous().T),
        (Options(0.5, ("a",)), Options(0.5, ("a",))),
        (float("nan"), float("nan")),
    ],
)
def test_equal_values_have_equal_digests(one: Any, other: Any) -> None:
    assert digest(one) == digest(other)


@pytest.mark.parametrize("value", [{1}, Path("a"), len, object(), Options, [object()], {"a": {1}}])
def test_what_has_no_content_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="has no content to digest: give what it holds"):
        make_key(["passes"], part=value)


def test_a_folder_without_source_is_refused() -> None:
    with pytest.raises(ValueError, match="no source in pases"):
        digest_source("pases")


def test_parts_and_folders_of_other_names_make_another_key() -> None:
    keys = {make_key(["passes"], a=1), make_key(["passes"], b=1), make_key(["frontend"], a=1)}
    assert len(keys) == 3
    assert make_key(["passes"], a=1, b=2) == make_key(["passes"], b=2, a=1)


def test_a_program_keeps_its_digest_through_disk_and_in_another_process(tmp_path: Path) -> None:
    program = small_program()
    save_program(program, tmp_path / "program")
    expected = digest_program(program)
    assert digest_program(load_program(tmp_path / "program")) == expected
    code = (
        "import sys; from pathlib import Path; from prunec.passes.ir import load_program;"
        "from prunec.passes.ir.digest import digest_program;"
        "print(digest_program(load_program(Path(sys.argv[1]))).hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "program")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected.hex()


def test_functions_of_sizes_are_digested_by_name_and_not_by_where_they_lie() -> None:
    def digest_of(function: Any) -> bytes:
        graph = Graph()
        graph.output((graph.call_function(function, (1, 2)),))
        return digest_program(Program({"main": Entry(graph, {}, (), ())}, {}))

    def elsewhere(a: int, b: int) -> int:
        return a

    elsewhere.__module__, elsewhere.__name__ = torch.sym_max.__module__, "sym_max"
    assert digest_of(torch.sym_max) == digest_of(elsewhere)
    assert digest_of(torch.sym_max) != digest_of(torch.sym_min)
