"""Language models with experts."""

from __future__ import annotations

from support.configs.sizes import (
    DEEPSEEK,
    EXPERTS,
    GROUPED,
    GROUPED_BY_HIDDEN,
    LONG_ROTARY,
    Build,
    config,
)

EXPERT_DECODERS: dict[str, Build] = {
    "mixtral": config(
        "MixtralConfig", GROUPED, num_local_experts=5, num_experts_per_tok=2, sliding_window=None
    ),
    "qwen2-moe": config(
        "Qwen2MoeConfig",
        GROUPED_BY_HIDDEN,
        EXPERTS,
        shared_expert_intermediate_size=30,
        mlp_only_layers=[0],
    ),
    "qwen3-moe": config("Qwen3MoeConfig", GROUPED, EXPERTS),
    "deepseek-v2": config(
        "DeepseekV2Config", DEEPSEEK, topk_method="group_limited_greedy", head_dim=6
    ),
    "deepseek-v3": config("DeepseekV3Config", DEEPSEEK, head_dim=6),
    "phimoe": config("PhimoeConfig", GROUPED_BY_HIDDEN, num_local_experts=5, num_experts_per_tok=2),
    "phimoe-longrope": config(
        "PhimoeConfig",
        GROUPED_BY_HIDDEN,
        num_local_experts=5,
        num_experts_per_tok=2,
        rope_parameters=LONG_ROTARY | {"short_mscale": 1.1, "long_mscale": 1.3},
    ),
    "granitemoe": config(
        "GraniteMoeConfig", GROUPED_BY_HIDDEN, num_local_experts=5, num_experts_per_tok=2
    ),
    "olmoe": config("OlmoeConfig", GROUPED_BY_HIDDEN, num_experts=5, num_experts_per_tok=2),
    "gpt-oss": config(
        "GptOssConfig", GROUPED, num_local_experts=5, num_experts_per_tok=2, sliding_window=6
    ),
    "llama4": config(
        "Llama4TextConfig",
        GROUPED,
        intermediate_size_mlp=52,
        num_local_experts=5,
        num_experts_per_tok=1,
        attention_chunk_size=6,
    ),
}
