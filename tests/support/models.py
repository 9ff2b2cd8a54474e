"""Small random models, traced once and shared."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from prunec.frontend.export import trace_model
from prunec.passes.contract import Context
from prunec.passes.ir import Program, cast
from prunec.passes.manager import run_pipeline
from prunec.passes.pipelines import CLEAN


def llama_config(**changes: Any) -> LlamaConfig:
    """Two layers, 60 wide, 6 query heads in 3 KV groups, gated feed-forward, tied embeddings."""
    options = {
        "hidden_size": 60,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 16,
        "vocab_size": 128,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return LlamaConfig(**(options | changes))


@cache
def small_model(seed: int = 0) -> Any:
    """A random model of `llama_config`, norms and all away from their trivial start."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(llama_config(), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.uniform_(0.5, 1.5)
            else:
                parameter.normal_(std=0.1)
    return model


@cache
def small_program(dtype: torch.dtype = torch.float32) -> Program:
    """The traced and cleaned `small_model`."""
    traced = trace_model(small_model())
    return cast(run_pipeline(traced, CLEAN, Context()), dtype)


def under_its_name(model: Any, cache: Any) -> dict[str, Any]:
    """A cache as a keyword of the model's forward: its name depends on transformers' version."""
    taken = inspect.signature(model.forward).parameters
    return {next(name for name in ("cache", "past_key_values") if name in taken): cache}


def random_tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    """[rows, length] tokens of the small models' vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, 128, (rows, length), generator=generator)
