"""Every rewrite fires on a decoder, as often as it should, and keeps what the draft computes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.fx import GraphModule

from prunec.backends.onnx.draft import Draft, aten
from prunec.backends.onnx.fuse_rms_norm import fuse_rms_norm
from prunec.backends.onnx.fuse_rotary_embedding import fuse_rotary_embedding
from prunec.backends.onnx.lower import REWRITES
from prunec.backends.onnx.normalise import normalise
from prunec.backends.onnx.pool_whole_planes import pool_whole_planes
from prunec.backends.onnx.scale_pooled_windows import scale_pooled_windows
from prunec.backends.onnx.share_key_value_heads import share_key_value_heads
from prunec.backends.onnx.solve_positive import solve_positive
from prunec.backends.onnx.spell_out_complex import spell_out_complex
from prunec.backends.onnx.transpose_linear_weights import transpose_linear_weights
from prunec.backends.onnx.view_mask_rows import view_mask_rows
from prunec.frontend.export import trace_model
from prunec.passes.contract import Context
from prunec.passes.ir import PREFILL, Program, language_feeds
from prunec.passes.surgery import SelectExperts
from support.architectures import architecture_program
from support.models import random_tokens, small_model, small_program
from support.uneven import narrow_value_program

# A fused kernel adds up in another order: float32 rounding through two layers.
ROUNDING = 1e-5

LAYERS = 2
SMALLEST_VOCABULARY = 60
FIRES = {
    view_mask_rows: 1,
    fuse_rms_norm: 2 * LAYERS + 1,
    fuse_rotary_embedding: 2 * LAYERS,
    share_key_value_heads: LAYERS,
    transpose_linear_weights: 7 * LAYERS,
}


MASK = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])


def outputs_of(draft: Draft) -> list[torch.Tensor]:
    # The first token of the first row is padding: what attention makes of it means nothing.
    return [all_outputs_of(draft)[0][MASK.bool()]]


def all_outputs_of(draft: Draft) -> list[torch.Tensor]:
    tokens, mask = random_tokens(2, 5) % SMALLEST_VOCABULARY, MASK
    feeds = language_feeds(draft.entry(), tokens, mask)
    weights = [draft.weights[name] for _, name in draft.entry().weight_nodes()]
    return list(GraphModule({}, draft.graph)(*weights, *(feeds[p.name] for p in draft.inputs)))


def normalised(program: Program) -> Draft:
    draft = Draft.of(program)
    normalise(draft)
    return draft


def call_count(draft: Draft, target: object) -> int:
    return sum(node.target is target for node in draft.graph.nodes)


def test_every_rewrite_is_tried() -> None:
    elsewhere = {
        spell_out_complex,
        solve_positive,
        pool_whole_planes,
        scale_pooled_windows,
    }  # each in a test file of its own
    assert set(REWRITES) == {*FIRES, *elsewhere}


@pytest.mark.parametrize("rewrite", FIRES, ids=lambda r: r.__name__)
@pytest.mark.parametrize("program", [small_program, narrow_value_program], ids=["even", "uneven"])
def test_a_rewrite_fires_and_keeps_the_outputs(
    rewrite: Callable[[Draft], int], program: Callable[[], Program]
) -> None:
    draft = normalised(program())
    before = outputs_of(draft)
    assert rewrite(draft) == FIRES[rewrite]
    draft.graph.lint()
    for old, new in zip(before, outputs_of(draft), strict=True):
        torch.testing.assert_close(new, old, rtol=ROUNDING, atol=ROUNDING)
    assert rewrite(draft) == 0, "a second run has nothing left to do"


def test_normalising_keeps_the_outputs_and_the_program() -> None:
    program = trace_model(small_model())
    names = [node.name for node in program.main.graph.nodes]
    draft = Draft.of(program)
    before = outputs_of(draft)
    normalise(draft)
    assert torch.equal(before[0], outputs_of(draft)[0])
    assert [node.name for node in program.main.graph.nodes] == names
    assert len(draft.graph.nodes) < len(names)


def test_normalising_leaves_no_cast_in_a_float32_program_but_those_of_mask_and_positions() -> None:
    draft = normalised(trace_model(small_model()))
    assert call_count(draft, aten._to_copy.default) == 2
    assert call_count(draft, aten.to.other) == 0


def test_a_reduced_precision_norm_keeps_its_statistics_in_float32() -> None:
    draft = normalised(small_program(torch.bfloat16))
    assert fuse_rms_norm(draft) == FIRES[fuse_rms_norm]
    norms = [n for n in draft.graph.nodes if n.target is aten.rms_norm.default]
    assert {n.args[0].meta["val"].dtype for n in norms} == {torch.bfloat16}


def test_all_layers_rotate_by_one_pair_of_tables() -> None:
    draft = normalised(small_program())
    fuse_rotary_embedding(draft)
    rotations = [n for n in draft.graph.nodes if "RotaryEmbedding" in str(n.target)]
    assert len({tuple(n.args[1:3]) for n in rotations}) == 1
    assert call_count(draft, aten.cos.default) == call_count(draft, aten.sin.default) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rotations_by_wide_tables_are_fused_in_one_element_type(dtype: torch.dtype) -> None:
    draft = normalised(architecture_program("olmo2", dtype))
    assert fuse_rotary_embedding(draft) == 2 * LAYERS
    rotations = [n for n in draft.graph.nodes if "RotaryEmbedding" in str(n.target)]
    found = [{n.meta["val"].dtype, *(a.meta["val"].dtype for a in n.args)} for n in rotations]
    assert found == 2 * LAYERS * [{torch.float32}]


def test_rotations_in_float64_are_left_as_they_are() -> None:
    assert fuse_rotary_embedding(normalised(small_program(torch.float64))) == 0


def test_a_tied_embedding_keeps_its_orientation() -> None:
    draft = normalised(small_program())
    embedding = next(n.args[0] for n in draft.graph.nodes if n.target is aten.embedding.default)
    before = draft.weights[draft.reads[embedding.name]]
    transpose_linear_weights(draft)
    assert draft.weights[draft.reads[embedding.name]] is before


def test_a_choice_takes_rows_that_lie_in_one_piece() -> None:
    draft = Draft.of(SelectExperts().apply(small_program(), Context()), PREFILL)
    normalise(draft)
    assert transpose_linear_weights(draft) == 5 * LAYERS  # not gate and up: their rows are taken
    taken = [n for n in draft.graph.nodes if n.target is aten.index_select.default]
    assert len(taken) == 3 * LAYERS
    assert call_count(draft, aten.t.default) == LAYERS  # of what sums the chosen
    assert all(n.args[1] == 0 for n in taken)
    names = dict(draft.entry().weight_nodes())
    assert {draft.weights[names[n.args[0]]].shape for n in taken} == {(96, 60)}
    assert transpose_linear_weights(draft) == 0


def test_rows_are_taken_in_one_piece_whoever_else_reads_the_weight() -> None:
    program = SelectExperts(multiple=4).apply(
        architecture_program("gpt2", torch.float32), Context()
    )
    draft = Draft.of(program, PREFILL)
    normalise(draft)
    before = all_outputs_of(draft)
    transpose_linear_weights(draft)
    draft.graph.lint()
    for old, new in zip(before, all_outputs_of(draft), strict=True):
        torch.testing.assert_close(new, old, rtol=ROUNDING, atol=ROUNDING)
    names = dict(draft.entry().weight_nodes())
    taken = [n for n in draft.graph.nodes if n.target is aten.index_select.default]
    matrices = [n for n in taken if n.meta["val"].dim() == 2]
    assert matrices
    assert all(n.args[0] in names and n.args[1] == 0 for n in matrices)
    assert transpose_linear_weights(draft) == 0
