"""Models that compare texts with images, and their halves."""

from __future__ import annotations

from support.configs.sizes import ENCODER, TOWER_PAIR, TOWER_TEXT, VISION, Build, config

TOWERS: dict[str, Build] = {
    "clip": config("CLIPConfig", TOWER_PAIR),
    "clip-text": config("CLIPTextConfig", TOWER_TEXT),
    "clip-vision": config("CLIPVisionConfig", VISION),
    "siglip": config(
        "SiglipConfig",
        text_config={**TOWER_TEXT, "projection_size": 40},
        vision_config=VISION,
    ),
    "blip": config("BlipConfig", TOWER_PAIR),
    "chinese-clip": config(
        "ChineseCLIPConfig", text_config=ENCODER, vision_config=VISION, projection_dim=26
    ),
}
