"""Models that take images or boxes beside text, and generate or encode the text."""

from __future__ import annotations

from typing import Any

from support.configs.sizes import ENCODER, GROUPED, GROUPED_BY_HIDDEN, VISION, Build, config


def generating(name: str, **changes: Any) -> Build:
    """A configuration that names the class that generates."""
    return config(f"{name}Config", architectures=[f"{name}ForConditionalGeneration"], **changes)


MULTIMODAL: dict[str, tuple[Build, str, list[str]]] = {
    "llava": (
        generating(
            "Llava",
            text_config={"model_type": "llama", **GROUPED},
            vision_config={"model_type": "clip_vision_model", **VISION},
            image_token_index=60,
        ),
        "pixel_values",
        ["model.vision_tower", "model.multi_modal_projector"],
    ),
    "gemma3-images": (
        generating(
            "Gemma3",
            text_config={
                **GROUPED,
                "sliding_window": 6,
                "query_pre_attn_scalar": 10,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            vision_config=VISION,
            mm_tokens_per_image=4,
            image_token_index=60,
            boi_token_index=61,
            eoi_token_index=62,
        ),
        "token_type_ids",
        ["model.vision_tower", "model.multi_modal_projector"],
    ),
    "qwen2-vl": (
        generating(
            "Qwen2VL",
            text_config={
                **GROUPED_BY_HIDDEN,
                "rope_parameters": {
                    "rope_type": "default",
                    "mrope_section": [1, 2, 2],
                    "rope_theta": 1e4,
                },
            },
            vision_config={
                "depth": 2,
                "embed_dim": 40,
                "hidden_size": 40,
                "num_heads": 4,
                "mlp_ratio": 2,
                "patch_size": 8,
            },
            image_token_id=60,
            video_token_id=61,
            vision_start_token_id=62,
            vision_end_token_id=63,
        ),
        "image_grid_thw",
        ["model.visual"],
    ),
    "layoutlm": (config("LayoutLMConfig", ENCODER), "bbox", []),
}
"""By name: the configuration, an input beside text, and what text alone does not reach."""
