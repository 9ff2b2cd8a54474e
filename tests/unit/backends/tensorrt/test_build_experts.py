from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunec.backends.experts import ExpertsError, read_experts
from prunec.backends.onnx import export_experts
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_experts_engines,
    language_profiles,
    read_manifest,
)
from prunec.passes.contract import Context
from prunec.passes.ir import cast
from prunec.passes.surgery import SelectExperts
from support.fake_tensorrt import FakeTensorRT
from support.models import small_program

PROFILES = language_profiles(batch_size=3, new_tokens=16, max_length=32)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    program = SelectExperts().apply(small_program(), Context())
    export_experts(cast(program, torch.bfloat16), folder)
    return folder


def test_each_engine_has_its_own_phase_and_both_are_tied(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    built = build_experts_engines(source, tmp_path, EngineOptions(profiles=PROFILES))
    found, before = read_experts(tmp_path), read_experts(source)
    assert {n: e.file for n, e in found.entries.items()} == {
        "prefill": "prefill.engine",
        "decode": "decode.engine",
    }
    assert (found.experts, found.cache, found.chosen) == (
        before.experts,
        before.cache,
        before.chosen,
    )
    for name, manifest in built.items():
        assert read_manifest(tmp_path / f"{name}.engine") == manifest
        assert [profile.name for profile in manifest.profiles] == [name]


def test_prefill_runs_after_earlier_tokens_too(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    built = build_experts_engines(source, tmp_path, EngineOptions(profiles=PROFILES))
    (profile,) = built["prefill"].profiles
    sizes = {"batch_size": 3, "sequence_length": 16, "past_sequence_length": 31}
    assert profile.accepts(sizes)
    (profile,) = built["decode"].profiles
    assert not profile.accepts(sizes)


def test_profiles_of_other_names_are_refused(
    fake: FakeTensorRT, source: Path, tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match=r"need profiles named \['prefill', 'decode'\]"):
        build_experts_engines(source, tmp_path, EngineOptions(profiles=PROFILES[:1]))


def test_a_folder_without_a_manifest_is_refused(fake: FakeTensorRT, tmp_path: Path) -> None:
    with pytest.raises(ExpertsError, match=r"has no experts\.json"):
        build_experts_engines(tmp_path, tmp_path / "out")
