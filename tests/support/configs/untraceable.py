"""Models that no program can be made of, and what the refusal says."""

from __future__ import annotations

from support.configs.sizes import BART, ENCODER, GROUPED_BY_HIDDEN, TOKENS, VISION, Build, config

NOT_TRACEABLE: dict[str, tuple[Build, str]] = {
    "jetmoe": (
        config(
            "JetMoeConfig",
            TOKENS,
            hidden_size=36,
            num_hidden_layers=2,
            num_key_value_heads=4,
            kv_channels=10,
            intermediate_size=56,
            num_local_experts=5,
            num_experts_per_tok=2,
            max_position_embeddings=96,
        ),
        "aten._local_scalar_dense",
    ),
    "dbrx": (
        config(
            "DbrxConfig",
            TOKENS,
            d_model=40,
            n_heads=4,
            n_layers=2,
            max_seq_len=96,
            attn_config={"kv_n_heads": 2, "clip_qkv": 4.0, "rope_theta": 10000.0},
            ffn_config={
                "ffn_hidden_size": 56,
                "moe_num_experts": 5,
                "moe_top_k": 2,
                "hidden_size": 40,
            },
        ),
        "nonzero",
    ),
    "mamba": (
        config("MambaConfig", TOKENS, hidden_size=40, num_hidden_layers=2),
        "recurrent state",
    ),
    "jamba": (config("JambaConfig", GROUPED_BY_HIDDEN), "recurrent state"),
    "recurrent-gemma": (config("RecurrentGemmaConfig", GROUPED_BY_HIDDEN), "recurrent state"),
    "deberta": (
        config("DebertaConfig", ENCODER, relative_attention=True, pos_att_type=["c2p", "p2c"]),
        "a size depends on data",
    ),
    "vilt": (config("ViltConfig", VISION, ENCODER), "data-dependent"),
    "led": (
        config(
            "LEDConfig",
            BART,
            attention_window=4,
            max_encoder_position_embeddings=96,
            max_decoder_position_embeddings=96,
        ),
        "data-dependent",
    ),
    "vit-mae": (
        config(
            "ViTMAEConfig",
            VISION,
            decoder_hidden_size=32,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=4,
            decoder_intermediate_size=44,
        ),
        "random numbers",
    ),
}
