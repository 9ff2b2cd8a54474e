"""Encoders and classifiers in ONNX Runtime against the same program in PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from prunec.backends.onnx import export_onnx
from prunec.backends.ort import OrtError, OrtWholeRunner, fold_cache, keeps_cache
from prunec.backends.torch import TorchWholeRunner
from prunec.passes.ir import ProgramError
from support.architectures import architecture_program
from support.models import small_program
from support.oracle import relative_error

ROUNDING = 1e-5
TOKENS = torch.randint(3, 64, (3, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["bert", "bert-masked-lm", "bert-classifier", "roberta"])
def test_a_padded_batch_gives_what_torch_gives(name: str, tmp_path: Path) -> None:
    program = architecture_program(name, torch.float32)
    export_onnx(program, tmp_path / "model.onnx", rewrites=(fold_cache,))
    here, there = TorchWholeRunner(program), OrtWholeRunner(tmp_path / "model.onnx")
    mask = torch.ones_like(TOKENS)
    mask[1, 7:] = mask[2, :4] = 0
    expected, found = here.run(TOKENS, mask), there.run(TOKENS, mask)
    assert there.outputs == here.outputs
    for output in here.outputs:
        a, b = expected[output.name], found[output.name]
        real = mask.bool() if output.is_per_token else slice(None)
        assert relative_error(b[real], a[real]) < ROUNDING, output


def test_what_an_output_tells_is_known() -> None:
    token, text = (
        TorchWholeRunner(architecture_program(name, torch.float32)).outputs[0]
        for name in ("bert-masked-lm", "bert-classifier")
    )
    assert (token.is_per_token, token.is_distribution) == (True, True)
    assert (text.is_per_token, text.is_distribution) == (False, True)
    state = TorchWholeRunner(architecture_program("bert", torch.float32)).outputs[0]
    assert not state.is_distribution


def test_the_vocabulary_is_the_table_that_tokens_are_looked_up_in() -> None:
    for name in ("bert", "roberta", "distilbert"):
        assert TorchWholeRunner(architecture_program(name, torch.float32)).vocabulary == 64


def test_a_decoder_with_a_cache_is_told_from_what_has_none(tmp_path: Path) -> None:
    decoder, encoder = tmp_path / "decoder.onnx", tmp_path / "encoder.onnx"
    export_onnx(small_program(), decoder)
    export_onnx(architecture_program("roberta", torch.float32), encoder)
    assert keeps_cache(decoder)
    assert not keeps_cache(encoder)
    with pytest.raises(OrtError, match=r"no model of text alone: it takes .*past_key_values"):
        OrtWholeRunner(decoder)


def test_an_image_is_no_text() -> None:
    program = architecture_program("vit", torch.float32)
    with pytest.raises(ProgramError, match="pixel_values"):
        TorchWholeRunner(program).run(TOKENS, torch.ones_like(TOKENS))
