"""The predicted bill is what is there after the cut, whatever is cut together."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.cost import measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program
from support.laws import choose, choose_units

NAMES = ("llama", "gpt2", "mixtral", "bloom", "bert", "resnet", "whisper")
SLOW = (
    "deepseek-v3",
    "gptj",
    "albert",
    "gemma3",
    "qwen2-moe",
    "olmo2",
    "t5",
    "swin",
    "vit",
    "bart",
    "clip",
    "gpt-oss",
    "mobilenet-v2",
    "regnet",
    "wav2vec2",
    "xlnet",
)


@pytest.mark.parametrize("name", [*NAMES, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_the_bill_is_that_of_the_cut_program(name: str) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    bill = Bill(program, coupling)
    assert bill.cost({}) == measure(program)
    random = Random(name)
    few = [choose(coupling.structures, random) for _ in range(5)]
    all_but_layers = [s for s in coupling.structures if s.kind != "layer"]
    many = [{s.atom: choose_units(s, random) for s in all_but_layers} for _ in range(2)]
    layers = [{s.atom: choose_units(s, random)} for s in coupling.of_kind("layer")]
    everything = {s.atom: choose_units(s, random) for s in coupling.structures}
    for selection in (*few, *many, *layers, everything):
        assert bill.cost(selection) == measure(cut_program(program, coupling, selection))


def test_a_weight_that_carries_an_axis_twice_shrinks_with_its_square() -> None:
    program = architecture_program("llama")
    coupling = find_structures(program)
    bill = Bill(program, coupling)
    counts = bill.whole.copy()
    residual = coupling.of_kind("residual")[0]
    one, two = (
        _with(counts, coupling.structures.index(residual), residual.size - n) for n in (1, 2)
    )
    ffn = coupling.structures.index(coupling.of_kind("ffn-channel")[0])
    alone = bill.sizes(counts) - bill.sizes(_with(counts, ffn, 1))
    beside = bill.sizes(two) - bill.sizes(_with(two, ffn, 1))
    assert (beside < alone)[:3].all()  # a channel is worth less where the residual is narrower
    assert (bill.sizes(one) > bill.sizes(two))[:3].all()


def _with(counts: np.ndarray, place: int, count: int) -> np.ndarray:
    return np.where(np.arange(len(counts)) == place, count, counts)
