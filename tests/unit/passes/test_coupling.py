from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from prunec.frontend.export import trace_config
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, propagate
from prunec.passes.ir.shapes import copy_graph
from prunec.passes.surgery import cut_program
from support.architectures import architecture_program
from support.models import llama_config, small_program

COUPLING = find_structures(small_program())


def unknown_operator(program: Program) -> Program:
    """The program with every SiLU replaced by an operator that has no rule."""
    graph, _ = copy_graph(program.main.graph)
    for node in graph.nodes:
        if node.target is torch.ops.aten.silu.default:
            node.target = torch.ops.aten.special_bessel_j0.default
    entry = replace(program.main, graph=graph)
    propagate(entry, program.weights)
    return replace(program, entries={"main": entry})


def test_a_gated_feed_forward_is_one_structure() -> None:
    members = [(m.weight.split(".")[-2], m.dim) for m in COUPLING.of_kind("ffn-channel")[0].members]
    assert members == [("gate_proj", 0), ("up_proj", 0), ("down_proj", 1)]


def test_a_kv_group_carries_its_query_heads_and_its_cache() -> None:
    group = COUPLING.of_kind("kv-group")[0]
    members = [(m.weight.split(".")[-2], m.dim) for m in group.members]
    assert members == [("q_proj", 0), ("k_proj", 0), ("v_proj", 0), ("o_proj", 1)]
    assert group.size == 3
    assert group.kv_bytes_per_unit == 2 * 16 * 4
    assert group.parameters_per_unit == 60 * 16 * (2 + 1 + 1 + 2)


def test_a_rotary_dimension_and_its_partner_are_one_unit() -> None:
    assert [s.size for s in COUPLING.of_kind("qk-dim")] == [8, 8]


def test_the_residual_stream_is_one_axis_of_all_layers() -> None:
    (residual,) = COUPLING.of_kind("residual")
    assert residual.size == 60
    assert len(residual.members) == 1 + 2 * 9 + 1  # tied table; 7 matrices and 2 norms; last norm


def test_the_tied_embedding_is_one_member_and_its_vocabulary_is_refused() -> None:
    (vocabulary,) = [r for r in COUPLING.refusals if r.size == 128]
    assert [m.weight for m in vocabulary.members] == ["lm_head.weight"]
    assert "the input chooses" in vocabulary.refusal.reason
    assert "embed_tokens" in vocabulary.refusal.source


def test_an_operator_without_a_rule_refuses_what_reaches_it_and_says_so() -> None:
    coupling = find_structures(unknown_operator(small_program()))
    assert not coupling.of_kind("ffn-channel")
    assert coupling.of_kind("kv-group")
    reasons = [r.refusal for r in coupling.refusals if r.size == 96]
    assert len(reasons) == 4  # in each layer what goes into the operator, and what meets its result
    assert all("aten.special_bessel_j0.default has no rule" in r.reason for r in reasons)
    assert all("modeling_llama" in r.source or "activation" in r.source for r in reasons)


def test_scores_of_attention_are_no_stream_to_which_each_layer_adds_the_mask() -> None:
    # With one head left scores and mask have one shape, and later scores depend on the mask.
    program = architecture_program("xglm")
    coupling = find_structures(program)
    one_head = {s.atom: np.array([0]) for s in coupling.of_kind("head")}
    (layers,) = find_structures(cut_program(program, coupling, one_head)).of_kind("layer")
    assert layers.size == 4


def test_branches_beside_each_other_are_found_whichever_is_added_first() -> None:
    # (x + attention(norm(x))) + feed_forward(norm(x)): neither is computed from the other.
    (layers,) = find_structures(architecture_program("cohere")).of_kind("layer")
    assert layers.size == 4
    assert {m.weight.split(".")[-2] for m in layers.members} >= {"o_proj", "down_proj"}


def test_no_weight_is_loaded_for_the_analysis() -> None:
    program = trace_config(llama_config(hidden_size=4092, intermediate_size=11008, head_dim=128))
    sizes = {s.kind: s.size for s in find_structures(program).structures}
    assert sizes["ffn-channel"] == 11008
    assert sizes["residual"] == 4092


def test_heads_without_groups_are_called_heads() -> None:
    program = trace_config(llama_config(num_key_value_heads=6))
    kinds = {s.kind for s in find_structures(program).structures}
    assert "head" in kinds
    assert not kinds & {"kv-group", "query-head-in-group"}
