"""The dense and the pruned program that every section compares."""

from __future__ import annotations

import argparse
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from prunec.frontend.export import trace_model
from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import measure
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from prunec.passes.manager import run_pipeline
from prunec.passes.spec import parse_pipeline

SIDES = ("dense", "pruned")

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 128,
        "max_position_embeddings": 2048,
    },
    "smollm2-135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "max_position_embeddings": 8192,
    },
    "llama-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 8192,
    },
}


class SkippedError(Exception):
    """A section cannot run on this machine; says what is missing."""


class Bench:
    """Programs and sizes of one run.

    Args:
        options: The command line of ``gpu.py``.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self._folder = tempfile.TemporaryDirectory(prefix="prunec-gpu-")
        self.folder = Path(self._folder.name)
        dense = run_pipeline(trace_model(self._model()), parse_pipeline("clean"), Context())
        prune = f"score{{criterion=magnitude}},allocate{{keep={options.keep}}},remove-structures"
        pruned = run_pipeline(dense, parse_pipeline(prune), Context())
        self.programs: dict[str, Program] = dict(zip(SIDES, (dense, pruned), strict=True))

    @cached_property
    def max_length(self) -> int:
        """The most tokens that any check or measurement puts into the cache."""
        wanted: int = self.options.prompt_tokens + self.options.new_tokens + 1
        return max(64, wanted)

    def program(self, side: str, dtype: torch.dtype) -> Program:
        """One side in a precision, on the CPU."""
        return cast(self.programs[side], dtype)

    def describe(self) -> dict[str, Any]:
        """Sizes of both sides."""
        return {side: measure(program).to_json() for side, program in self.programs.items()}

    def _model(self) -> torch.nn.Module:
        if self.options.model:
            return find_checkpoint(self.options.model).load_model()
        from transformers import AutoModelForCausalLM, LlamaConfig

        if self.options.shape not in SHAPES:
            raise ValueError(f"no shape {self.options.shape!r}; there are {sorted(SHAPES)}")
        torch.manual_seed(0)
        config = LlamaConfig(tie_word_embeddings=True, **SHAPES[self.options.shape])
        model: torch.nn.Module = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return model.eval()
