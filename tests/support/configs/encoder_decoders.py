"""From one text or sound to another."""

from __future__ import annotations

from support.configs.sizes import BART, SPEECH, T5, Build, config

ENCODER_DECODERS: dict[str, Build] = {
    "t5": config("T5Config", T5),
    "t5-gated": config("T5Config", T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": config("MT5Config", T5),
    "bart": config("BartConfig", BART),
    "mbart": config("MBartConfig", BART),
    "pegasus": config("PegasusConfig", BART),
    "marian": config("MarianConfig", BART),
    "blenderbot": config("BlenderbotConfig", BART),
    "m2m-100": config("M2M100Config", BART),
    "whisper": config(
        "WhisperConfig", BART, num_mel_bins=10, max_source_positions=30, max_target_positions=96
    ),
    "speech-to-text": config(
        "Speech2TextConfig",
        BART,
        num_conv_layers=2,
        conv_kernel_sizes=(5, 5),
        conv_channels=24,
        input_feat_per_channel=10,
        max_source_positions=60,
        max_target_positions=96,
    ),
    "wav2vec2": config("Wav2Vec2Config", SPEECH),
    "hubert": config("HubertConfig", SPEECH),
    "ast": config(
        "ASTConfig",
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        patch_size=8,
        max_length=64,
        num_mel_bins=24,
    ),
}
