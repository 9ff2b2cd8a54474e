"""A cache that grows in place gives what a copied one gives, or the model stays as it is."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import onnx_ir as ir
import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.backends.ort import OrtRunner, fold_cache
from prunec.backends.ort.decoder import OrtDecoder, SessionOptions, load_model
from prunec.backends.ort.grow_in_place import ROOM, grow_in_place
from prunec.frontend.export import trace_model
from prunec.passes.ir import Program
from support.architectures import architecture_program, random_model_of
from support.configs.sizes import DECODER, GROUPED, TOKENS, VOCABULARY, Build, config
from support.models import random_tokens
from support.oracle import relative_error
from support.uneven import narrow_value_program, uneven_program

WIDE = {"hidden_size": 32}  # heads 8 wide, as the kernel wants a multiple of that
KINDS: dict[str, Build] = {
    "grouped heads": config("LlamaConfig", GROUPED, head_dim=16),
    "normalised heads": config("Qwen3Config", GROUPED, head_dim=16),
    "a window": config("MistralConfig", GROUPED, head_dim=16, sliding_window=3),
    "one matrix for all three": config(
        "GPT2Config", TOKENS, n_embd=32, n_layer=2, n_head=4, n_positions=96, n_inner=56
    ),
    "half rotated": config("GPTNeoXConfig", DECODER, WIDE, rotary_pct=0.5),
    "a bias in place of positions": config(
        "FalconConfig",
        DECODER,
        WIDE,
        ffn_hidden_size=56,
        multi_query=False,
        new_decoder_architecture=False,
        alibi=True,
    ),
    "one KV head": config(
        "FalconConfig",
        DECODER,
        WIDE,
        ffn_hidden_size=56,
        multi_query=True,
        new_decoder_architecture=False,
        alibi=False,
    ),
}
STEPS = (0, 4, 5, 8, 9, 12)
TOKENS_GIVEN = random_tokens(3, STEPS[-1]) % VOCABULARY
MASK = torch.ones_like(TOKENS_GIVEN)
MASK[1, :3] = 0
ROUNDING = 1e-5


@cache
def program_of(kind: str) -> Program:
    return trace_model(random_model_of(KINDS[kind]()))


@pytest.fixture(scope="module", params=KINDS)
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One program's file with the cache folded, and as TensorRT reads it."""
    folder = tmp_path_factory.mktemp("files")
    folded, plain = folder / "folded.onnx", folder / "plain.onnx"
    program = program_of(request.param)
    export_onnx(program, folded, (fold_cache,))
    export_onnx(program, plain)
    return [folded, plain]


def test_every_concatenation_of_a_cache_folds(files: list[Path]) -> None:
    folded, plain = (load_model(path).graph for path in files)
    grown = {v.name for v in plain.outputs if str(v.name).startswith("present.")}
    assert {v.producer().op_type for v in plain.outputs if v.name in grown} == {"Concat"}
    assert {v.producer().op_type for v in folded.outputs if v.name in grown} == {"Attention"}


@pytest.mark.parametrize("rows", [1, 3])
def test_steps_equal_those_of_the_plain_file(files: list[Path], rows: int) -> None:
    folded, plain = OrtRunner(files[0]), OrtRunner(files[1])
    found_cache = expected_cache = None
    for start, end in pairwise(STEPS):
        tokens, mask = TOKENS_GIVEN[:rows, start:end], MASK[:rows, :end]
        found, found_cache = folded.step(tokens, mask, found_cache)
        expected, expected_cache = plain.step(tokens, mask, expected_cache)
        real = mask[:, start:].bool()
        assert relative_error(found[real], expected[real]) < ROUNDING


def test_a_step_writes_to_the_memory_of_the_one_before(files: list[Path]) -> None:
    runner = OrtRunner(files[0])
    _, first = runner.step(TOKENS_GIVEN[:, :4], MASK[:, :4], None)
    _, second = runner.step(TOKENS_GIVEN[:, 4:5], MASK[:, :5], first)
    assert second.memory is first.memory


def test_two_continuations_of_one_cache_do_not_meet(files: list[Path]) -> None:
    runner = OrtRunner(files[0])
    _, cache = runner.step(TOKENS_GIVEN[:, :4], MASK[:, :4], None)
    one = runner.step(TOKENS_GIVEN[:, 4:5], MASK[:, :5], cache)[1]
    runner.step(TOKENS_GIVEN[:, 9:10], MASK[:, :5], cache)
    found, _ = runner.step(TOKENS_GIVEN[:, 5:6], MASK[:, :6], one)
    expected, _ = runner.step(TOKENS_GIVEN[:, :6], MASK[:, :6], None)
    assert relative_error(found[:, -1], expected[:, -1]) < ROUNDING


REFUSED = {
    "heads 10 wide": lambda: architecture_program("llama", torch.float32),
    "values narrower than keys": narrow_value_program,
    "attention spelled out": lambda: architecture_program("gemma2", torch.float32),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_the_kernel_cannot_do_stays_as_it_is(reason: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(REFUSED[reason](), path, (fold_cache,))
    _stays(load_model(path))
    runner = OrtRunner(path)
    _, past = runner.step(TOKENS_GIVEN[:, :4], MASK[:, :4], None)
    assert past.exact() is past.memory.values


def test_a_cache_that_something_else_reads_keeps_its_form(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(uneven_program(), path, (fold_cache,))
    model = load_model(path)
    past = next(v for v in model.graph.inputs if str(v.name).startswith("past_key_values."))
    for read in (ir.node("Neg", [past]), ir.node("Shape", [past])):
        model.graph.append(read)
        _stays(model)
        model.graph.remove(read, safe=True)
    present = next(v for v in model.graph.outputs if str(v.name).startswith("present."))
    read = ir.node("Neg", [present])
    model.graph.append(read)
    _stays(model)
    model.graph.remove(read, safe=True)
    assert grow_in_place(model)


def test_attention_that_masks_the_future_itself_stays(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(uneven_program(), path, (fold_cache,))
    model = load_model(path)
    node = next(node for node in model.graph if node.op_type == "Attention")
    node.attributes["is_causal"] = ir.AttrInt64("is_causal", 1)
    _stays(model)


def test_layers_of_different_head_counts_grow_too(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(uneven_program(), path, (fold_cache,))
    model = load_model(path)
    assert grow_in_place(model)
    sizes = {v.shape[2] for v in model.graph.inputs if str(v.name).startswith("past")}
    assert {str(size) for size in sizes} == {ROOM}
    found, _ = OrtRunner(path).step(TOKENS_GIVEN, MASK, None)
    expected, _, _ = OrtDecoder(path, SessionOptions()).run(TOKENS_GIVEN, MASK, None)
    assert relative_error(found[MASK.bool()], expected[MASK.bool()]) < ROUNDING


def _stays(model: ir.Model) -> None:
    before = ir.to_proto(model)
    assert not grow_in_place(model)
    assert ir.to_proto(model) == before
