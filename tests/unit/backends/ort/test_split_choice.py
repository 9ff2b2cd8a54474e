"""A prefill in two: together they return what it does, and the first part gathers nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from prunec.backends.experts import read_experts
from prunec.backends.onnx import export_experts
from prunec.backends.ort.decoder import SessionOptions, open_session
from prunec.backends.ort.split_choice import split_choice
from prunec.passes.contract import Context
from prunec.passes.surgery import SelectExperts
from support.architectures import architecture_program
from support.models import random_tokens

OPTIONS: dict[str, dict[str, Any]] = {
    "shared": {},
    "per sequence": {"per_sequence": True},
    "refitted": {"refit": "prompt"},
    "refitted per sequence": {"refit": "prompt", "per_sequence": True},
    "fixed": {"choice": "magnitude"},
}
SHARED_SUMS = 2 + 1  # of two layers, and how many tokens each row has
ROUNDING = 1e-5
TOKENS = random_tokens(3, 9) % 60


@pytest.fixture(scope="module", params=[(a, o) for a in ("llama", "gpt2") for o in OPTIONS])
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name, option = request.param
    step = SelectExperts(multiple=4, **OPTIONS[option])
    context = Context(calibration=random_tokens(4, 16, 1) % 60)
    folder = tmp_path_factory.mktemp(f"{name} {option}")
    export_experts(step.apply(architecture_program(name, torch.float32), context), folder)
    return folder


def split(folder: Path) -> tuple[ir.Model, ir.Model, list[str], list[str]]:
    manifest = read_experts(folder)
    first, second = ["logits", *manifest.cache], list(manifest.experts)
    return *split_choice(ir.load(folder / "prefill.onnx"), first, second), first, second


def feeds(session: Any) -> dict[str, Any]:
    """A prompt whose second row has padding, and no past."""
    mask = np.ones_like(TOKENS.numpy())
    mask[1, :4] = 0
    found = {"input_ids": TOKENS.numpy(), "attention_mask": mask}
    found["position_ids"] = (mask.cumsum(-1) - 1).clip(0)
    for given in session.get_inputs():
        if given.name.startswith("past"):
            shape = [s if isinstance(s, int) else 0 for s in given.shape]
            found[given.name] = np.zeros((len(TOKENS), *shape[1:]), dtype=np.float32)
    return {i.name: found[i.name] for i in session.get_inputs()}


def test_both_parts_return_what_the_whole_does(folder: Path) -> None:
    path, options = folder / "prefill.onnx", SessionOptions()
    before, after, first, second = split(folder)
    whole = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    expected = dict(zip(first + second, whole.run(first + second, feeds(whole)), strict=True))
    one, two = (open_session(path, options, part) for part in (before, after))
    names = [output.name for output in one.get_outputs()]
    found = dict(zip(names, one.run(names, feeds(one)), strict=True))
    given = {i.name: found[i.name] for i in two.get_inputs()}
    found |= dict(zip(second, two.run(second, given), strict=True))
    for name in first + second:
        np.testing.assert_allclose(found[name], expected[name], rtol=ROUNDING, atol=ROUNDING)


def test_the_second_part_is_given_nothing_of_single_tokens(folder: Path) -> None:
    before, after, first, _ = split(folder)
    handed = [value.name for value in after.graph.inputs]
    assert [value.name for value in before.graph.outputs] == [*first, *handed]
    sizes = {str(s) for v in after.graph.inputs for s in v.shape or () if not isinstance(s, int)}
    assert sizes <= {"batch_size"}


def test_the_first_part_gathers_no_weight(folder: Path) -> None:
    before, _, _, second = split(folder)
    chosen = {name.removeprefix("experts.") for name in second}
    gathered = {n.inputs[0].name for n in before.graph if n.op_type == "Gather" and n.inputs[0]}
    assert not chosen & gathered
    if "shared" in folder.name:
        assert len(before.graph.outputs) == 1 + 4 + SHARED_SUMS
        assert not {"TopK", "CumSum", "ScatterElements"} & {n.op_type for n in before.graph}
