"""What the pass makes, what it keeps, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prunec.backends.runner import generate
from prunec.backends.torch import ExpertsRunner, TorchRunner
from prunec.passes.analysis.cost import decode_bytes, measure
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import (
    DECODE,
    PREFILL,
    Program,
    Role,
    cast,
    execute,
    language_feeds,
    load_program,
    save_program,
    verify,
)
from prunec.passes.ir.digest import digest_program
from prunec.passes.manager import PipelineError, run_pipeline
from prunec.passes.plan import Cut, Plan
from prunec.passes.spec import SpecError, build_pass, format_pipeline, parse_pipeline
from prunec.passes.surgery import SelectExperts, cut_program
from support.architectures import architecture_program
from support.layer_inputs import layer_inputs
from support.models import random_tokens, small_program
from support.oracle import relative_error

PROGRAM = small_program()
CHANNELS = find_structures(PROGRAM).of_kind("ffn-channel")
WIDTH = 96
TOKENS = random_tokens(2, 12)
ROUNDING = 1e-5


def select(program: Program = PROGRAM, context: Context | None = None, **options: Any) -> Program:
    context = context or Context(calibration=random_tokens(4, 16, 1))
    return run_pipeline(program, [SelectExperts(**options)], context)


def indices(program: Program, tokens: torch.Tensor = TOKENS) -> list[torch.Tensor]:
    prefill = program.entries[PREFILL]
    outputs = execute(program, language_feeds(prefill, tokens), prefill)
    return [outputs[p.name] for p in prefill.outputs if p.name.endswith(".indices")]


def plan_of(*keep: tuple[int, ...], program: Program = PROGRAM) -> Plan:
    cuts = [
        Cut(s.name, s.kind, s.index, s.size, units)
        for s, units in zip(CHANNELS, keep, strict=False)
    ]
    return Plan(tuple(cuts), program.fingerprint())


def test_inputs_outputs_and_caches_keep_their_names_in_both_entries() -> None:
    program, main = select(), PROGRAM.main
    prefill, decode = program.entries[PREFILL], program.entries[DECODE]
    assert prefill.inputs == main.inputs
    assert prefill.outputs[: len(main.outputs)] == main.outputs
    assert decode.inputs[: len(main.inputs)] == main.inputs
    assert decode.outputs == main.outputs
    given = {p.name: p for p in prefill.ports(Role.EXPERTS)[1]}
    for port in decode.ports(Role.EXPERTS)[0]:
        assert given.pop(port.name) == port
    assert list(given) == ["experts.0.indices", "experts.1.indices"]


def test_keeping_every_unit_returns_the_same_object() -> None:
    assert SelectExperts(keep=1).apply(PROGRAM, Context()) is PROGRAM


def test_without_what_is_never_active_decode_computes_what_the_whole_model_does() -> None:
    silent = {n: w.clone() for n, w in PROGRAM.weights.items() if "up_proj" in n}
    for weight in silent.values():
        weight[1::2] = 0
    program = PROGRAM.with_weights(silent)
    chosen = select(program)
    assert all(torch.equal(found, torch.arange(0, WIDTH, 2)) for found in indices(chosen))
    expected = generate(TorchRunner(program), TOKENS, new_tokens=8)
    assert torch.equal(generate(ExpertsRunner(chosen), TOKENS, new_tokens=8), expected)


def test_activations_of_zero_choose_the_first_units_and_no_nan() -> None:
    silent = {n: torch.zeros_like(w) for n, w in PROGRAM.weights.items() if "up_proj" in n}
    program = select(PROGRAM.with_weights(silent))
    assert all(torch.equal(found, torch.arange(48)) for found in indices(program))
    runner = ExpertsRunner(program)
    logits, cache = runner.step(TOKENS, torch.ones_like(TOKENS), None)
    assert torch.isfinite(logits).all()
    assert all(torch.isfinite(t).all() for t in cache.experts.values())


def test_rows_of_padding_alone_have_no_say() -> None:
    program = select()
    prefill = program.entries[PREFILL]
    mask = torch.ones_like(TOKENS)
    mask[1] = 0
    outputs = execute(program, language_feeds(prefill, TOKENS, mask), prefill)
    alone = indices(program, TOKENS[:1])
    assert torch.equal(outputs["experts.0.indices"], alone[0])


def test_a_prompt_of_one_token_chooses_its_largest_activations() -> None:
    token = TOKENS[:1, :1]
    for layer, found in enumerate(indices(select(), token)):
        weight = f"model.layers.{layer}.mlp.down_proj.weight"
        (activations,) = layer_inputs(PROGRAM, weight, token)
        assert torch.equal(found, activations.abs().topk(48).indices.sort().values)


def test_a_plan_gives_every_layer_a_rate_of_its_own() -> None:
    context = Context(plan=plan_of(tuple(range(24)), tuple(range(72))))
    assert [len(found) for found in indices(select(context=context, rates="plan"))] == [24, 72]


def test_a_layer_that_the_plan_leaves_whole_is_read_as_it_is() -> None:
    program = select(context=Context(plan=plan_of(tuple(range(24)))), rates="plan")
    assert [len(found) for found in indices(program)] == [24]
    assert any("layers.1.mlp" in name for name in program.entries[DECODE].reads.values())
    assert not any("layers.0.mlp" in name for name in program.entries[DECODE].reads.values())


def test_units_are_chosen_of_what_a_static_cut_left() -> None:
    text = "score{criterion=magnitude},allocate{keep=0.75},remove-structures,select-experts"
    cut = run_pipeline(PROGRAM, parse_pipeline(text)[:-1], Context())
    after = run_pipeline(PROGRAM, parse_pipeline(text), Context())
    for structure, found in zip(
        find_structures(cut).of_kind("ffn-channel"), indices(after), strict=True
    ):
        assert len(found) == max(8, structure.size // 2 // 8 * 8)
    assert decode_bytes(after) < decode_bytes(cut) < decode_bytes(PROGRAM)
    feeds = language_feeds(cut.main, TOKENS)
    expected = execute(cut, feeds)["logits"]
    found, _ = ExpertsRunner(after).step(TOKENS, torch.ones_like(TOKENS), None)
    assert relative_error(found, expected) < ROUNDING


def test_a_cut_to_fixed_units_is_what_a_fixed_choice_decodes_with() -> None:
    units = tuple(range(5, 5 + 48))
    plan = plan_of(units, units)
    program = select(context=Context(plan=plan), rates="plan", choice="static")
    coupling = find_structures(PROGRAM)
    cut = cut_program(PROGRAM, coupling, plan.selection(PROGRAM, coupling))
    prefill, decode = program.entries[PREFILL], program.entries[DECODE]
    chosen = execute(program, language_feeds(prefill, TOKENS), prefill)
    feeds = language_feeds(cut.main, TOKENS)
    expected = execute(cut, feeds)["logits"]
    experts = {p.name: chosen[p.name] for p in decode.ports(Role.EXPERTS)[0]}
    assert relative_error(execute(program, feeds | experts, decode)["logits"], expected) < ROUNDING


def test_a_stored_program_chooses_the_same(tmp_path: Path) -> None:
    program = select(prior=0.5, core=0.25)
    save_program(program, tmp_path / "program")
    again = load_program(tmp_path / "program")
    verify(again)
    assert digest_program(again) == digest_program(program)
    assert again.entries[PREFILL].outputs == program.entries[PREFILL].outputs
    for first, second in zip(indices(program), indices(again), strict=True):
        assert torch.equal(first, second)


def test_sizes_count_weights_once_and_the_work_of_a_decoded_token() -> None:
    before, after = measure(PROGRAM), measure(select())
    gone = 2 * 3 * 60 * 48
    assert after.parameters == before.parameters
    assert after.block_parameters == before.block_parameters
    assert after.kv_bytes_per_token == before.kv_bytes_per_token
    assert after.flops_per_token == before.flops_per_token - 2 * gone
    assert decode_bytes(select()) == decode_bytes(PROGRAM) - 4 * gone


def test_an_embedding_that_is_no_head_is_read_by_the_row() -> None:
    program = architecture_program("opt", torch.float32)  # its head is tied, its positions not
    (places,) = (w for n, w in program.weights.items() if "embed_positions" in n)
    everything = sum(w.numel() * w.element_size() for w in program.weights.values())
    assert decode_bytes(program) == everything - 4 * (len(places) - 1) * places.shape[1]


@pytest.mark.parametrize("name", ["mistral", "qwen2"])
def test_who_follows_the_type_of_an_embedding_does_not_read_it(name: str) -> None:
    program = architecture_program(name, torch.float32)  # its head is its own
    table = program.weights["model.embed_tokens.weight"]
    everything = sum(w.numel() * w.element_size() for w in program.weights.values())
    assert decode_bytes(program) == everything - 4 * (len(table) - 1) * table.shape[1]


def test_the_manager_records_the_pass() -> None:
    (record,) = select(keep=0.25).records[-1:]
    assert record["spec"] == "select-experts{keep=0.25}"
    assert record["after"]["flops_per_token"] < record["before"]["flops_per_token"]


def test_the_text_of_a_pipeline_names_its_options() -> None:
    text = "select-experts{keep=0.25 multiple=16 prior=0.5 column_norm=True core=0.25}"
    assert format_pipeline(parse_pipeline(text)) == text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep=0.0 is not above 0"),
        ({"keep": 1.5}, "keep=1.5 is not above 0"),
        ({"multiple": 0}, "multiple=0 is not at least 1"),
        ({"prior": 1.1}, "prior=1.1 is not in 0..1"),
        ({"core": -0.1}, "core=-0.1 is not in 0..1"),
        ({"choice": "random"}, "'prompt', 'magnitude' or 'static'"),
        ({"rates": "global"}, "'uniform' or 'plan'"),
        ({"choice": "magnitude", "core": 0.5}, "core: read by choice=prompt alone"),
        ({"choice": "static", "per_sequence": True}, "per_sequence: read by choice=prompt"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        build_pass("select-experts", options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiple": 128}, "has 96 units, so no multiple of 128"),
        ({"rates": "plan"}, r"needs a plan: put allocate\{kinds=ffn-channel\}"),
        ({"choice": "static"}, "needs scores: put score before"),
        ({"prior": 0.5}, "needs calibration text"),
        ({"prior": 0.5, "prior_by": "scores"}, "prior_by=scores needs scores"),
        ({"core": 0.5}, "needs calibration text"),
    ],
)
def test_what_an_option_needs_is_asked_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        select(context=Context(), **options)


def test_a_plan_that_does_not_fit_is_refused() -> None:
    odd = Context(plan=plan_of(tuple(range(20))))
    with pytest.raises(PassError, match=r"20 of 96 units .* no positive multiple of 8"):
        SelectExperts(rates="plan").apply(PROGRAM, odd)
    (heads, *_) = find_structures(PROGRAM).of_kind("kv-group")
    cut = Cut(heads.name, heads.kind, heads.index, heads.size, (0, 1))
    other = Context(plan=Plan((cut,), PROGRAM.fingerprint()))
    with pytest.raises(PassError, match=r"the plan cuts \['kv-group'\] too"):
        SelectExperts(rates="plan").apply(PROGRAM, other)
    stale = Context(plan=replace(plan_of(tuple(range(24))), fingerprint="another"))
    with pytest.raises(PassError, match="made for a program with the fingerprint another"):
        SelectExperts(rates="plan").apply(PROGRAM, stale)


def test_a_second_choice_is_refused() -> None:
    with pytest.raises(PassError, match=r"has the entry points \['decode', 'prefill'\]"):
        SelectExperts().apply(select(), Context())


def test_a_model_without_tokens_is_refused() -> None:
    with pytest.raises(PassError, match="takes no tokens but"):
        SelectExperts().apply(architecture_program("vit"), Context())


def test_experts_alone_are_refused_with_the_reason() -> None:
    with pytest.raises(PassError, match=r"this program has .*expert-channel.*routed to"):
        SelectExperts().apply(architecture_program("mixtral"), Context())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_choosing_and_casting_commute(dtype: torch.dtype) -> None:
    cast_first, cast_last = select(cast(PROGRAM, dtype)), cast(select(), dtype)
    verify(cast_last)
    assert digest_program(cast_first) == digest_program(cast_last)
    assert cast_last.entries[DECODE].inputs[-1].dtype == dtype


def test_constants_of_a_choice_stay_exact_in_low_precision() -> None:
    program = cast(select(prior=0.5, core=0.5, column_norm=True), torch.bfloat16)
    verify(program)
    constants = [w for n, w in program.weights.items() if n.startswith("experts.")]
    assert constants
    assert all(w.dtype in (torch.float32, torch.int64) for w in constants)
    assert all(len(found.unique()) == 48 for found in indices(program))
