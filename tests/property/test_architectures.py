"""The laws of the cut on tiny random models of many architectures, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.ir.axes import Indices
from prunec.passes.ir.selection import Kept, PerUnit, Selection
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program, random_feeds
from support.oracle import law_error

# float64 rounding through two layers; a wrong cut is off by more than 1e-3.
ROUNDING = 1e-9

LANGUAGE = (
    "llama", "llama-biases", "mistral", "mistral-sliding", "qwen2", "qwen3", "gemma", "gemma2",
    "gemma3", "phi", "phi3", "gpt2", "gpt-neox", "gptj", "opt", "falcon-mqa", "falcon-new",
    "bloom", "mpt", "stablelm", "cohere", "olmo2", "starcoder2", "granite", "nemotron", "mixtral",
    "qwen2-moe", "deepseek-v2",
)  # fmt: skip
ENCODERS = ("bert", "roberta", "distilbert", "modernbert", "vit", "dinov2", "swin", "clip")
CONVOLUTIONS = ("convnext", "resnet")
ENCODER_DECODERS = ("t5", "bart", "whisper")
ALL = (*LANGUAGE, *ENCODERS, *CONVOLUTIONS, *ENCODER_DECODERS)
ATTENTION = (*LANGUAGE, *ENCODERS, *ENCODER_DECODERS)


def subset(rng: np.random.Generator, size: int, count: int) -> Indices:
    return np.sort(rng.choice(size, count, replace=False))


def one_left(rng: np.random.Generator, structure: Structure) -> Kept:
    return subset(rng, structure.size, structure.least)


def some_left(rng: np.random.Generator, structure: Structure) -> Kept:
    """Any number of units; those of each outer unit apart where they may be."""
    count = int(rng.integers(structure.least, structure.size + 1))
    if structure.outer is None:
        return subset(rng, structure.size, count)
    rows = [subset(rng, structure.size, count) for _ in range(structure.outer.size)]
    return PerUnit(structure.outer, np.stack(rows))


def selections(coupling: Coupling) -> Iterator[tuple[str, Selection]]:
    """For each kind one structure with one unit left, and all structures cut at random."""
    rng = np.random.default_rng(0)
    for kind in dict.fromkeys(s.kind for s in coupling.structures):
        structure = coupling.of_kind(kind)[-1]
        yield f"one of {structure.name}", {structure.atom: one_left(rng, structure)}
    for trial in range(2):
        chosen = [s for s in coupling.structures if s.kind != "layer"]
        yield f"all at random {trial}", {s.atom: some_left(rng, s) for s in chosen}
    everything = {s.atom: some_left(rng, s) for s in coupling.structures}
    yield "all and some layers dropped", everything


@pytest.mark.parametrize("name", ALL)
def test_cut_equals_masked_original(name: str) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    feeds = random_feeds(program.main, seed=1, past=3)
    errors = {
        what: law_error(program, coupling, selection, feeds)
        for what, selection in selections(coupling)
    }
    assert {what: e for what, e in errors.items() if not e < ROUNDING} == {}


@pytest.mark.parametrize("name", ALL)
def test_channels_are_offered_and_refusals_have_reasons(name: str) -> None:
    coupling = find_structures(architecture_program(name))
    kinds = {s.kind for s in coupling.structures}
    assert kinds & {"ffn-channel", "expert-channel", "conv-channel"}
    if name in ATTENTION:
        assert kinds & {"head", "kv-group"}
    for refused in coupling.refusals:
        assert len(refused.refusal.reason.split()) > 3
        assert refused.refusal.node


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "vit"])
def test_the_bill_matches_for_every_structure(name: str) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    for structure in coupling.structures:
        if structure.kind == "layer":
            continue
        keep = np.arange(structure.size - 1)
        if len(keep) < structure.least:
            continue
        after = cut_program(program, coupling, {structure.atom: keep})
        gone = sum(w.numel() for w in program.parameters().values()) - sum(
            w.numel() for w in after.parameters().values()
        )
        assert gone == structure.parameters_per_unit, structure.name


@pytest.mark.parametrize("name", ["llama", "opt", "t5"])
def test_a_dropped_branch_takes_its_weights_and_caches_along(name: str) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    for layer in coupling.of_kind("layer"):
        for unit, predicted in enumerate(layer.unit_parameters):
            keep = np.delete(np.arange(layer.size), unit)
            after = cut_program(program, coupling, {layer.atom: keep})
            assert set(after.weights) == {
                n for e in after.entries.values() for n in e.reads.values()
            }
            gone = sum(w.numel() for n, w in program.parameters().items() if n not in after.weights)
            assert gone == predicted
            assert len(after.main.inputs) - len(program.main.inputs) in (0, -2)


def test_weights_that_are_left_are_those_of_the_original() -> None:
    program = architecture_program("llama")
    coupling = find_structures(program)
    channels = coupling.of_kind("ffn-channel")[0]
    after = cut_program(program, coupling, {channels.atom: np.array([3, 5])})
    (gate, *_) = channels.members
    assert torch.equal(after.weights[gate.weight], program.weights[gate.weight][[3, 5]])
