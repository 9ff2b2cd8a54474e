"""A folder whose prompt chooses, in ONNX Runtime: as the program in torch, and without copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime
import pytest
import torch

from prunec.backends.experts_steps import ReleasedError
from prunec.backends.onnx import export_experts, export_onnx
from prunec.backends.ort import ExpertsOrtRunner, OrtError, OrtRunner, fold_cache
from prunec.backends.runner import generate
from prunec.backends.torch import ExpertsRunner, TorchRunner
from prunec.passes.contract import Context
from prunec.passes.ir import DECODE, Program
from prunec.passes.surgery import SelectExperts
from support.models import random_tokens, small_program
from support.oracle import relative_error

ROUNDING = 1e-5
SOLVING = 1e-3  # two algorithms in float32, moments of few tokens under a small ridge
TOKENS = random_tokens(3, 14)
MASK = torch.ones_like(TOKENS)
MASK[1, :4] = 0
PROMPT = 9
OPTIONS: dict[str, dict[str, Any]] = {
    "shared": {},
    "per-sequence": {"per_sequence": True},
    "refitted": {"refit": "prompt"},
    "refitted per sequence": {"refit": "prompt", "per_sequence": True},
}


def select(option: str) -> Program:
    step = SelectExperts(**OPTIONS[option])
    return step.apply(small_program(), Context(calibration=random_tokens(4, 16, 1)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Program, Path]]:
    found = {}
    for option in OPTIONS:
        program, folder = select(option), tmp_path_factory.mktemp("experts")
        export_experts(program, folder, rewrites=(fold_cache,))
        found[option] = program, folder
    return found


@pytest.fixture
def folder(folders: dict[str, tuple[Program, Path]]) -> Path:
    return folders["shared"][1]


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("pack_weights", [True, False])
def test_every_step_gives_the_logits_of_torch(
    folders: dict[str, tuple[Program, Path]], option: str, rows: int, pack_weights: bool
) -> None:
    program, folder = folders[option]
    here, there = ExpertsRunner(program), ExpertsOrtRunner(folder, pack_weights=pack_weights)
    tolerance = SOLVING if "refit" in option else ROUNDING
    expected_cache = found_cache = None
    for start, end in ((0, PROMPT), (PROMPT, PROMPT + 1), (PROMPT + 1, TOKENS.shape[1])):
        tokens, mask = TOKENS[:rows, start:end], MASK[:rows, :end]
        expected, expected_cache = here.step(tokens, mask, expected_cache)
        found, found_cache = there.step(tokens, mask, found_cache)
        real = mask[:, start:].bool()
        assert relative_error(found[real], expected[real]) < tolerance


@pytest.mark.parametrize("option", OPTIONS)
def test_it_writes_what_torch_writes(folders: dict[str, tuple[Program, Path]], option: str) -> None:
    program, folder = folders[option]
    there = ExpertsOrtRunner(folder)
    for rows in (1, 3):
        prompt, mask = TOKENS[:rows, :PROMPT], MASK[:rows, :PROMPT]
        expected = generate(ExpertsRunner(program), prompt, mask, new_tokens=16)
        assert torch.equal(generate(there, prompt, mask, new_tokens=16), expected)


def test_all_but_no_units_decode_like_the_dense_model(tmp_path: Path) -> None:
    step = SelectExperts(keep=0.99, multiple=1)  # 95 of 96: with all the pass changes nothing
    program = step.apply(small_program(), Context())
    weights = {n: _silent_last_unit(n, w) for n, w in program.weights.items()}
    dense = small_program().with_weights({n: weights[n] for n in small_program().weights})
    export_experts(program.with_weights(weights), tmp_path, rewrites=(fold_cache,))
    export_onnx(dense, tmp_path / "model.onnx", rewrites=(fold_cache,))
    found = generate(ExpertsOrtRunner(tmp_path), TOKENS, MASK, new_tokens=16)
    for runner in (TorchRunner(dense), OrtRunner(tmp_path / "model.onnx")):
        assert torch.equal(found, generate(runner, TOKENS, MASK, new_tokens=16))


def _silent_last_unit(name: str, weight: torch.Tensor) -> torch.Tensor:
    """A unit that is never active, so that the other 95 are all there is to choose."""
    if not name.endswith("up_proj.weight"):
        return weight
    return torch.cat([weight[:-1], torch.zeros_like(weight[-1:])])


def test_what_was_chosen_is_the_same_memory_at_every_step(folder: Path) -> None:
    runner = ExpertsOrtRunner(folder)
    _, cache = runner.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    chosen = {name: value.data_ptr() for name, value in cache.experts.items()}
    given: list[dict[str, int]] = []
    decoder: Any = runner._entries._decode  # type: ignore[attr-defined]
    run = decoder.run

    def watched(*args: Any, handed_on: dict[str, Any], **more: Any) -> Any:
        given.append({name: value.data_ptr() for name, value in handed_on.items()})
        return run(*args, handed_on=handed_on, **more)

    decoder.run = watched
    for place in range(PROMPT, PROMPT + 3):
        _, cache = runner.step(TOKENS[:, place : place + 1], MASK[:, : place + 1], cache)
    assert given == [chosen] * 3


def test_a_later_prompt_writes_where_a_dropped_one_was_and_spares_one_that_is_held(
    folder: Path,
) -> None:
    runner = ExpertsOrtRunner(folder)

    def choose(shift: int) -> Any:
        tokens = TOKENS[:1, :PROMPT].roll(shift, 1)
        return runner.step(tokens, torch.ones_like(tokens), None)[1].experts

    def places(experts: Any) -> list[int]:
        return [value.data_ptr() for value in experts.values()]

    first, second = choose(0), choose(1)
    kept, before = places(first), [value.numpy().copy() for value in first.values()]
    freed = places(second)
    assert not set(kept) & set(freed)
    del second
    third = choose(2)
    assert places(third) == freed
    assert all((a == b.numpy()).all() for a, b in zip(before, first.values(), strict=True))


def test_decode_turns_no_matrix_that_it_is_given(folder: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "decode.onnx")
    onnxruntime.InferenceSession(folder / "decode.onnx", options)
    found = ir.load(tmp_path / "decode.onnx").graph
    readers = [n for n in found if any(i and i.name.startswith("experts.") for i in n.inputs)]
    assert {n.op_type for n in readers} == {"FusedMatMul"}


@pytest.mark.parametrize("option", [{"verify_every": 3}, {"refresh_every": 3}])
def test_the_whole_model_runs_again_as_in_torch(
    folders: dict[str, tuple[Program, Path]], option: dict[str, int]
) -> None:
    program, folder = folders["shared"]
    here, there = ExpertsRunner(program, **option), ExpertsOrtRunner(folder, **option)  # type: ignore[arg-type]
    _, expected_cache = here.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    _, found_cache = there.step(TOKENS[:, :PROMPT], MASK[:, :PROMPT], None)
    for place in range(PROMPT, TOKENS.shape[1]):
        tokens, mask = TOKENS[:, place : place + 1], MASK[:, : place + 1]
        expected, expected_cache = here.step(tokens, mask, expected_cache)
        found, found_cache = there.step(tokens, mask, found_cache)
        assert relative_error(found, expected) < ROUNDING


def test_a_released_prefill_decodes_on_and_takes_no_further_prompt(folder: Path) -> None:
    runner, whole = ExpertsOrtRunner(folder), ExpertsOrtRunner(folder)
    prompt, step = (TOKENS[:, :PROMPT], MASK[:, :PROMPT]), TOKENS[:, PROMPT : PROMPT + 1]
    _, cache = runner.step(*prompt, None)
    _, expected_cache = whole.step(*prompt, None)
    runner.release_prefill()
    found, _ = runner.step(step, MASK[:, : PROMPT + 1], cache)
    expected, _ = whole.step(step, MASK[:, : PROMPT + 1], expected_cache)
    assert torch.equal(found, expected)
    with pytest.raises(ReleasedError, match="was released, and a prompt needs the whole model"):
        runner.step(*prompt, None)


def test_what_verifies_cannot_release_prefill(folder: Path) -> None:
    with pytest.raises(ReleasedError, match="run the whole model again"):
        ExpertsOrtRunner(folder, verify_every=2).release_prefill()


def test_an_empty_prompt_is_an_error(folder: Path) -> None:
    with pytest.raises(ValueError, match="the prompt is empty"):
        ExpertsOrtRunner(folder).step(TOKENS[:, :0], MASK[:, :0], None)


def test_decode_alone_is_no_decoder(folder: Path) -> None:
    with pytest.raises(OrtError, match=r"wants inputs that no decoder step has: \['experts"):
        OrtRunner(folder / f"{DECODE}.onnx")
