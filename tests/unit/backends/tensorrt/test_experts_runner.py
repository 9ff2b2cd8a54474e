"""Both engines' bookkeeping, with a program's entry points in their places."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.experts import MANIFEST, ExpertsManifest
from prunec.backends.experts_steps import ReleasedError
from prunec.backends.runner import generate
from prunec.backends.tensorrt import ExpertsTensorRTRunner, language_profiles
from prunec.backends.tensorrt import runner as runner_module
from prunec.backends.torch import ExpertsRunner
from prunec.passes.contract import Context
from prunec.passes.ir import DECODE, PREFILL, Program
from prunec.passes.surgery import SelectExperts
from support.engine_of_program import ProgramContext, loaded_program, run_on_cpu
from support.models import random_tokens, small_program

TOKENS = random_tokens(3, 9)
MASK = torch.ones_like(TOKENS)
MASK[0, :3] = 0
PREFILL_PROFILE, DECODE_PROFILE = language_profiles(batch_size=3, new_tokens=16, max_length=32)


class Engines:
    """A folder with the manifest, and the contexts that its engines made."""

    def __init__(self, folder: Path, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.program = folder, program
        self.contexts: dict[str, list[ProgramContext]] = {PREFILL: [], DECODE: []}
        manifest = ExpertsManifest.of(program, ".engine")
        (folder / MANIFEST).write_text(manifest.to_json())
        for entry in manifest.entries.values():
            (folder / entry.file).touch()
        monkeypatch.setattr(runner_module, "load_engine", self.load)
        run_on_cpu(monkeypatch)

    def load(self, path: Path) -> Any:
        profile = {PREFILL: PREFILL_PROFILE, DECODE: DECODE_PROFILE}[path.stem]
        entry, made = self.program.entries[path.stem], self.contexts[path.stem]
        return loaded_program(self.program, entry, (profile,), made)


@pytest.fixture(params=[{}, {"per_sequence": True}, {"refit": "prompt"}], ids=str)
def engines(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Engines:
    context = Context(calibration=random_tokens(4, 16, 1))
    program = SelectExperts(**request.param).apply(small_program(), context)
    return Engines(tmp_path, program, monkeypatch)


def test_it_generates_what_torch_generates(engines: Engines) -> None:
    runner = ExpertsTensorRTRunner(engines.folder)
    expected = generate(ExpertsRunner(engines.program), TOKENS, MASK, new_tokens=8)
    assert torch.equal(generate(runner, TOKENS, MASK, new_tokens=8), expected)
    assert (runner.name, runner.vocabulary) == ("tensorrt/cuda", 128)


def test_decode_reads_the_buffers_that_prefill_wrote(engines: Engines) -> None:
    runner = ExpertsTensorRTRunner(engines.folder)
    _, cache = runner.step(TOKENS, MASK, None)
    (prefill,) = engines.contexts[PREFILL]
    mask = MASK
    for _ in range(3):
        mask = torch.cat([mask, mask[:, -1:]], dim=1)
        _, cache = runner.step(TOKENS[:, :1], mask, cache)
        (decode,) = engines.contexts[DECODE]
        parts = [name for name in decode.shapes if name.startswith("experts.")]
        assert len(parts) == 6
        assert all(decode.addresses[name] == prefill.addresses[name] for name in parts)


def test_a_released_prefill_decodes_on_and_takes_no_further_prompt(engines: Engines) -> None:
    runner = ExpertsTensorRTRunner(engines.folder)
    _, cache = runner.step(TOKENS, MASK, None)
    runner.release_prefill()
    runner.step(TOKENS[:, :1], torch.cat([MASK, MASK[:, -1:]], dim=1), cache)
    with pytest.raises(ReleasedError, match="was released, and a prompt needs the whole model"):
        runner.step(TOKENS, MASK, None)
