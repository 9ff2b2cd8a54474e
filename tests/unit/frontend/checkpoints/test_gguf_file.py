"""A GGUF file is looked at before it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from prunec.frontend.sources import SourceError, find_checkpoint

TOKENS = ["<end>", "a", "b", "c"]


def write(
    path: Path, tokens: list[str], rows: int, also: Callable[[Any], None] = lambda _: None
) -> Path:
    """Write the embedding of a tiny model, its configuration and its tokenizer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(16)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    if tokens:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(tokens)
        writer.add_eos_token_id(0)
    writer.add_tensor("token_embd.weight", np.ones((rows, 32), dtype=np.float32))
    also(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(path: Path, **needs: bool) -> str:
    with pytest.raises(SourceError) as caught:
        find_checkpoint(str(path), **needs)
    return str(caught.value)


def test_a_whole_file_is_accepted(tmp_path: Path) -> None:
    checkpoint = find_checkpoint(str(write(tmp_path / "m.gguf", TOKENS, 4)), needs_tokenizer=True)
    assert (checkpoint.gguf_file, checkpoint.config.model_type) == ("m.gguf", "llama")


def test_more_tokens_than_rows_are_refused(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m.gguf", TOKENS, 3))
    assert "the tokenizer has 4 tokens, the embedding 3 rows" in said


def test_a_file_without_a_tokenizer_is_refused_where_one_is_needed(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", [], 4)
    find_checkpoint(str(path))
    assert "the file has no tokenizer" in refused(path, needs_tokenizer=True)


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m.gguf", TOKENS, 4, lambda w: w.add_type("adapter")))
    assert "'adapter'" in said


def test_a_part_is_no_model(tmp_path: Path) -> None:
    said = refused(write(tmp_path / "m-00002-of-00003.gguf", TOKENS, 4))
    assert "part 2 of 3" in said
    assert "--merge" in said


def test_a_file_of_another_format_and_a_missing_one_are_named(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"PK\x03\x04")
    assert "not a GGUF file: it begins with b'PK" in refused(tmp_path / "m.gguf")
    assert "no such file" in refused(tmp_path / "other.gguf")


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_file_cut_short_is_named(share: float, tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", TOKENS, 400)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert "cut short" in refused(path)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "perceptron")
    writer.add_tensor("token_embd.weight", np.ones((4, 8), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    assert "makes no model of the GGUF file" in refused(tmp_path / "m.gguf")


def add_quantised_layer(writer: Any) -> None:
    """The other weights of the model above: norms of ones, matrices of 8 bits with scales."""
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, dtype=np.float32))
    shapes = {"ffn_up": (64, 32), "ffn_gate": (64, 32), "ffn_down": (32, 64)}
    shapes |= {f"attn_{part}": (32, 32) for part in ("q", "k", "v", "output")}
    eight = gguf.GGMLQuantizationType.Q8_0
    for name, shape in shapes.items():
        packed = gguf.quants.quantize(np.full(shape, 2, dtype=np.float32), eight)
        writer.add_tensor(f"blk.0.{name}.weight", packed, raw_dtype=eight)


def test_quantised_weights_are_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", TOKENS, 4, add_quantised_layer)
    model = find_checkpoint(str(path)).load_model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    up = model.state_dict()["model.layers.0.mlp.up_proj.weight"]
    assert torch.allclose(up, torch.full((64, 32), 2.0), rtol=1e-3)


def write_lfm2(path: Path) -> Path:
    """Write a model of two layers whose matrices are 8 bits with scales, all of them 2."""
    writer = gguf.GGUFWriter(path, "lfm2")
    writer.add_block_count(2)
    writer.add_context_length(16)
    writer.add_embedding_length(64)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv([2, 2])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_uint32("lfm2.shortconv.l_cache", 3)
    writer.add_token_list(TOKENS)
    norms = {"attn_norm": 64, "ffn_norm": 64, "attn_q_norm": 32, "attn_k_norm": 32}
    sizes = {f"blk.{layer}.{name}": size for layer in (0, 1) for name, size in norms.items()}
    for name, size in {"token_embd_norm": 64, **sizes}.items():
        writer.add_tensor(f"{name}.weight", np.ones(size, dtype=np.float32))
    eight = gguf.GGMLQuantizationType.Q8_0
    parts = ("ffn_up", "ffn_gate", "ffn_down", "attn_q", "attn_k", "attn_v", "attn_output")
    inner = {f"blk.{layer}.{part}": 64 for layer in (0, 1) for part in parts}
    for name, rows in {"token_embd": 4, **inner}.items():
        packed = gguf.quants.quantize(np.full((rows, 64), 2, dtype=np.float32), eight)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=eight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_weights_are_unpacked_even_where_they_could_stay_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utils = pytest.importorskip("transformers.integrations.gguf.utils")
    if "lfm2" not in utils.GGUF_ARCHS:
        pytest.skip("this transformers always unpacks it")
    from transformers.quantizers import quantizer_gguf

    monkeypatch.setattr(quantizer_gguf, "get_gguf_kernel", lambda: pytest.fail("keeps them packed"))
    model = find_checkpoint(str(write_lfm2(tmp_path / "m.gguf"))).load_model()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    matrices = [p for p in model.parameters() if p.dim() == 2]
    assert len(matrices) == 15
    assert all(torch.allclose(m, torch.tensor(2.0), rtol=1e-3) for m in matrices)
