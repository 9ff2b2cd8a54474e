"""Sizes that the tiny models share.

No two axes of a model have one size by chance, so that a rule which matches axes by their size
is found out: hidden 36 or 40, feed-forward 56, 4 heads in 2 KV groups, heads 10 wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import transformers
from transformers import PreTrainedConfig

Build = Callable[[], PreTrainedConfig]

VOCABULARY = 64
TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
DECODER = {
    **TOKENS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "use_cache": True,
}
GROUPED = {**DECODER, "hidden_size": 36, "num_key_value_heads": 2, "head_dim": 10}
GROUPED_BY_HIDDEN = {**DECODER, "num_key_value_heads": 2}
ROTARY_SWITCH = 14
"""Tokens up to which a rotary table that grows with the text is as it was trained."""
LONG_ROTARY = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4],
    "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0],
    "original_max_position_embeddings": ROTARY_SWITCH,
}
EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 28}
ENCODER = {
    **TOKENS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "type_vocab_size": 2,
}
VISION = {
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
}
BART = {
    **TOKENS,
    "d_model": 40,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 56,
    "decoder_ffn_dim": 52,
    "max_position_embeddings": 96,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": None,
}
T5 = {
    **TOKENS,
    "d_model": 36,
    "d_kv": 10,
    "d_ff": 56,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 0,
}
DEEPSEEK = {
    **DECODER,
    "hidden_size": 36,
    "num_key_value_heads": 4,
    "q_lora_rank": 22,
    "kv_lora_rank": 18,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 6,
    "v_head_dim": 14,
    "moe_intermediate_size": 28,
    "n_routed_experts": 6,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
    "n_group": 2,
    "topk_group": 1,
    "routed_scaling_factor": 1.5,
}
CONVOLUTIONS = {"num_channels": 3, "image_size": 40}
SPEECH = {
    **TOKENS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "conv_dim": (20, 24),
    "conv_stride": (4, 3),
    "conv_kernel": (8, 3),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 2,
    "apply_spec_augment": False,
}


def config(name: str, *bases: Mapping[str, Any], **changes: Any) -> Build:
    options: dict[str, Any] = {}
    for part in (*bases, changes):
        options |= part

    def build() -> PreTrainedConfig:
        config: PreTrainedConfig = getattr(transformers, name)(**options)
        return config

    return build


TOWER_TEXT = {
    **TOKENS,
    "hidden_size": 36,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "projection_dim": 26,
}
TOWER_PAIR = {
    "text_config": TOWER_TEXT,
    "vision_config": {**VISION, "projection_dim": 26},
    "projection_dim": 26,
}
