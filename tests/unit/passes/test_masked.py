from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from prunec.passes.analysis.contractions import contractions
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.analysis.coupling.branches import dropped_branches
from prunec.passes.analysis.masked import masked_program
from prunec.passes.analysis.sensitivity import output_sensitivities
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Entry, Program, Role, execute, language_feeds
from prunec.passes.ir.selection import Selection
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program, random_feeds
from support.laws import choose_units
from support.models import random_tokens, small_program
from support.oracle import relative_error

PROGRAM = small_program(torch.float64)
COUPLING = find_structures(PROGRAM)
TOKENS = random_tokens(3, 20)
ROUNDING = 1e-12
KINDS = (
    "kv-group",
    "head",
    "query-head-in-group",
    "vo-dim",
    "ffn-channel",
    "expert-channel",
    "layer",
)
ATTENTION_DROPPED: Selection = {COUPLING.branches[0].atom: np.array([0, 1, 3])}  # of layer 1


def logits(program: Program) -> torch.Tensor:
    return execute(program, language_feeds(program.main, TOKENS))["logits"]


def results(program: Program, entry: Entry) -> dict[str, torch.Tensor]:
    """Every output but caches, whose sizes a cut changes."""
    found = execute(program, random_feeds(entry, seed=1))
    return {p.name: found[p.name] for p in entry.outputs if p.role is not Role.CACHE}


@pytest.mark.parametrize(
    "name",
    [
        "llama-biases",
        "gemma2",
        "qwen3",
        "gpt2",
        "falcon-new",
        "cohere",
        "opt",
        "bert",
        "t5",
        "mixtral",
        "gpt-oss",
        "llama4",
    ],
)
@pytest.mark.parametrize("seed", range(2))
def test_the_masked_program_returns_what_the_cut_one_does(name: str, seed: int) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    random = Random(seed)
    selection = {s.atom: choose_units(s, random) for s in coupling.of_kind(*KINDS)}
    after = cut_program(program, coupling, selection)
    masked = results(masked_program(program, coupling, selection), program.main)
    for name, expected in results(after, after.main).items():
        assert relative_error(masked[name], expected) < ROUNDING, name


def test_where_everything_stays_the_program_is_the_same_object() -> None:
    assert masked_program(PROGRAM, COUPLING, {}) is PROGRAM


def test_nodes_keep_their_names_and_the_original_its_weights_and_graph() -> None:
    before = {n: w.clone() for n, w in PROGRAM.weights.items()}
    text = str(PROGRAM.main.graph)
    channels = COUPLING.of_kind("ffn-channel")[0]
    selection = {**ATTENTION_DROPPED, channels.atom: np.arange(10)}
    masked = masked_program(PROGRAM, COUPLING, selection)
    assert {n.name for n in PROGRAM.main.graph.nodes} <= {n.name for n in masked.main.graph.nodes}
    assert str(PROGRAM.main.graph) == text
    assert all(torch.equal(w, PROGRAM.weights[n]) for n, w in before.items())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("llama", "residual"),
        ("llama", "qk-dim"),
        ("falcon-new", "qk-dim"),  # one axis with the values' width
        ("gpt2", "residual"),  # a norm that is one operator
        ("olmo2", "kv-group"),  # a norm over all heads
        ("deepseek-v2", "kv-latent"),
        ("mixtral", "expert"),
    ],
)
def test_units_that_other_operators_read_together_are_refused(name: str, kind: str) -> None:
    program = architecture_program(name)
    coupling = find_structures(program)
    structure = coupling.of_kind(kind)[0]
    with pytest.raises(PassError, match=rf"{kind}\), which .* reads together.*leave that kind out"):
        masked_program(program, coupling, {structure.atom: np.arange(structure.size - 1)})


def test_the_loss_is_as_sensitive_to_a_dropped_branch_as_its_gradient_at_the_sum_says() -> None:
    masked = masked_program(PROGRAM, COUPLING, ATTENTION_DROPPED)
    (branch,) = dropped_branches(COUPLING.branches, ATTENTION_DROPPED)
    out = next(c for c in contractions(PROGRAM.main) if c.node is branch.branch)
    context = Context(calibration=TOKENS)
    found = output_sensitivities(masked, [out], context, "the test")[out]
    # Without its weight the branch adds zeros, and the gradient at its output is that at the sum.
    silent = PROGRAM.with_weights({out.weight: torch.zeros_like(PROGRAM.weights[out.weight])})
    assert torch.allclose(logits(masked), logits(silent))
    expected = output_sensitivities(silent, [out], context, "the test")[out]
    assert expected.abs().max() > 0
    assert torch.allclose(found, expected)


def test_no_gradient_reaches_earlier_layers_through_a_dropped_branch() -> None:
    masked = masked_program(PROGRAM, COUPLING, ATTENTION_DROPPED)
    cut = cut_program(PROGRAM, COUPLING, ATTENTION_DROPPED)
    context = Context(calibration=TOKENS)
    found, expected = (
        output_sensitivities(
            program,
            wanted := [c for c in contractions(program.main) if "layers.0" in c.weight],
            context,
            "the test",
        )
        for program in (masked, cut)
    )
    assert wanted
    by_weight = {c.weight: moments for c, moments in found.items()}
    assert len(by_weight) == len(expected) > 0
    for contraction, moments in expected.items():
        assert torch.allclose(by_weight[contraction.weight], moments)
