"""Tiny random models of many architectures, traced once and shared.

No two axes of a model have one size by chance, so that a rule which matches axes by their size
is found out: hidden 36 or 40, feed-forward 56, 4 heads in 2 KV groups, heads 10 wide.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig

from prunec.frontend.export import trace_model
from prunec.frontend.tracing.architecture import model_class
from prunec.passes.contract import Context
from prunec.passes.ir import Entry, Program, Role, cast
from prunec.passes.ir.run import positions
from prunec.passes.manager import run_pipeline
from prunec.passes.pipelines import CLEAN

VOCABULARY = 64
OTHER_SIZE = 6

_TOKENS = {"vocab_size": VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
_DECODER = {
    **_TOKENS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "use_cache": True,
}
_GROUPED = {**_DECODER, "hidden_size": 36, "num_key_value_heads": 2, "head_dim": 10}
_GROUPED_BY_HIDDEN = {**_DECODER, "num_key_value_heads": 2}
_EXPERTS = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 28}
_ENCODER = {
    **_TOKENS,
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "type_vocab_size": 2,
}
_VISION = {
    "hidden_size": 40,
    "intermediate_size": 56,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 24,
    "patch_size": 8,
    "num_channels": 3,
}
_BART = {
    **_TOKENS,
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
_T5 = {
    **_TOKENS,
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
_DEEPSEEK = {
    **_DECODER,
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
_CONVOLUTIONS = {"num_channels": 3, "image_size": 40}
_SPEECH = {
    **_TOKENS,
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


def _config(name: str, *bases: Mapping[str, Any], **changes: Any) -> Callable[[], PreTrainedConfig]:
    options: dict[str, Any] = {}
    for part in (*bases, changes):
        options |= part

    def build() -> PreTrainedConfig:
        config: PreTrainedConfig = getattr(transformers, name)(**options)
        return config

    return build


_TWO_TOWERS_TEXT = {
    **_TOKENS,
    "hidden_size": 36,
    "intermediate_size": 52,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 96,
    "projection_dim": 26,
}
_TWO_TOWERS = {
    "text_config": _TWO_TOWERS_TEXT,
    "vision_config": {**_VISION, "projection_dim": 26},
    "projection_dim": 26,
}

_DECODERS = {
    "llama": _config("LlamaConfig", _GROUPED, tie_word_embeddings=True),
    "llama-biases": _config("LlamaConfig", _GROUPED, attention_bias=True, mlp_bias=True),
    "mistral": _config("MistralConfig", _GROUPED, sliding_window=None),
    "mistral-sliding": _config("MistralConfig", _GROUPED, sliding_window=6),
    "qwen2": _config("Qwen2Config", _GROUPED_BY_HIDDEN),
    "qwen3": _config("Qwen3Config", _GROUPED),
    "gemma": _config("GemmaConfig", _GROUPED),
    "gemma2": _config("Gemma2Config", _GROUPED, sliding_window=6, query_pre_attn_scalar=10),
    "gemma3": _config(
        "Gemma3TextConfig",
        _GROUPED,
        sliding_window=6,
        query_pre_attn_scalar=10,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "phi": _config("PhiConfig", _DECODER, partial_rotary_factor=0.4),
    "phi3": _config("Phi3Config", _GROUPED_BY_HIDDEN),
    "gpt2": _config(
        "GPT2Config", _TOKENS, n_embd=40, n_layer=2, n_head=4, n_positions=96, n_inner=56
    ),
    "gpt-neox": _config("GPTNeoXConfig", _DECODER, rotary_pct=0.4),
    "gptj": _config(
        "GPTJConfig",
        _TOKENS,
        n_embd=40,
        n_layer=2,
        n_head=4,
        n_positions=96,
        n_inner=56,
        rotary_dim=4,
    ),
    "opt": _config("OPTConfig", _DECODER, ffn_dim=56, word_embed_proj_dim=40),
    "falcon-mqa": _config(
        "FalconConfig",
        _DECODER,
        ffn_hidden_size=56,
        multi_query=True,
        new_decoder_architecture=False,
        parallel_attn=True,
        bias=False,
        alibi=False,
    ),
    "falcon-new": _config(
        "FalconConfig",
        _DECODER,
        ffn_hidden_size=56,
        num_kv_heads=2,
        new_decoder_architecture=True,
        bias=False,
        alibi=False,
    ),
    "falcon-alibi": _config(
        "FalconConfig",
        _DECODER,
        ffn_hidden_size=56,
        multi_query=False,
        new_decoder_architecture=False,
        parallel_attn=False,
        bias=True,
        alibi=True,
    ),
    "bloom": _config("BloomConfig", _TOKENS, hidden_size=40, n_layer=2, n_head=4),
    "mpt": _config(
        "MptConfig", _TOKENS, d_model=40, n_heads=4, n_layers=2, expansion_ratio=2, max_seq_len=96
    ),
    "stablelm": _config(
        "StableLmConfig", _GROUPED_BY_HIDDEN, partial_rotary_factor=0.4, use_qkv_bias=True
    ),
    "stablelm-qk-norm": _config(
        "StableLmConfig",
        _GROUPED_BY_HIDDEN,
        partial_rotary_factor=0.4,
        qk_layernorm=True,
        use_parallel_residual=True,
    ),
    "cohere": _config("CohereConfig", _GROUPED_BY_HIDDEN),
    "cohere-qk-norm": _config("CohereConfig", _GROUPED_BY_HIDDEN, use_qk_norm=True),
    "cohere2": _config(
        "Cohere2Config",
        _GROUPED_BY_HIDDEN,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "olmo": _config("OlmoConfig", _GROUPED_BY_HIDDEN, clip_qkv=2.0),
    "olmo2": _config("Olmo2Config", _GROUPED_BY_HIDDEN),
    "olmo3": _config("Olmo3Config", _GROUPED_BY_HIDDEN, sliding_window=6),
    "starcoder2": _config("Starcoder2Config", _GROUPED_BY_HIDDEN, sliding_window=None),
    "granite": _config(
        "GraniteConfig",
        _GROUPED_BY_HIDDEN,
        embedding_multiplier=2.0,
        residual_multiplier=0.5,
        attention_multiplier=0.3,
        logits_scaling=2.0,
    ),
    "nemotron": _config("NemotronConfig", _GROUPED, partial_rotary_factor=0.4),
    "mixtral": _config(
        "MixtralConfig", _GROUPED, num_local_experts=5, num_experts_per_tok=2, sliding_window=None
    ),
    "qwen2-moe": _config(
        "Qwen2MoeConfig",
        _GROUPED_BY_HIDDEN,
        _EXPERTS,
        shared_expert_intermediate_size=30,
        mlp_only_layers=[0],
    ),
    "qwen3-moe": _config("Qwen3MoeConfig", _GROUPED, _EXPERTS),
    "deepseek-v2": _config(
        "DeepseekV2Config", _DEEPSEEK, topk_method="group_limited_greedy", head_dim=6
    ),
    "deepseek-v3": _config("DeepseekV3Config", _DEEPSEEK, head_dim=6),
    "glm": _config("GlmConfig", _GROUPED, partial_rotary_factor=0.4),
    "glm4": _config("Glm4Config", _GROUPED, partial_rotary_factor=0.4),
    "codegen": _config(
        "CodeGenConfig",
        _TOKENS,
        n_embd=48,
        n_layer=2,
        n_head=4,
        n_positions=96,
        n_inner=56,
        rotary_dim=4,
    ),
    "gpt-bigcode": _config(
        "GPTBigCodeConfig",
        _TOKENS,
        n_embd=40,
        n_layer=2,
        n_head=4,
        n_positions=96,
        n_inner=56,
        multi_query=True,
    ),
    "gpt-neo": _config(
        "GPTNeoConfig",
        _TOKENS,
        hidden_size=40,
        num_layers=2,
        num_heads=4,
        intermediate_size=56,
        max_position_embeddings=96,
        window_size=6,
        attention_types=[[["global", "local"], 1]],
    ),
    "openai-gpt": _config(
        "OpenAIGPTConfig", _TOKENS, n_embd=40, n_layer=2, n_head=4, n_positions=96
    ),
    "biogpt": _config("BioGptConfig", _DECODER),
    "xglm": _config(
        "XGLMConfig",
        _TOKENS,
        d_model=40,
        num_layers=2,
        attention_heads=4,
        ffn_dim=56,
        max_position_embeddings=96,
    ),
    "persimmon": _config("PersimmonConfig", _DECODER, partial_rotary_factor=0.4, qk_layernorm=True),
    "smollm3": _config("SmolLM3Config", _GROUPED, no_rope_layers=[1, 0]),
    "helium": _config("HeliumConfig", _GROUPED_BY_HIDDEN, head_dim=10),
    "phimoe": _config(
        "PhimoeConfig", _GROUPED_BY_HIDDEN, num_local_experts=5, num_experts_per_tok=2
    ),
    "granitemoe": _config(
        "GraniteMoeConfig", _GROUPED_BY_HIDDEN, num_local_experts=5, num_experts_per_tok=2
    ),
    "olmoe": _config("OlmoeConfig", _GROUPED_BY_HIDDEN, num_experts=5, num_experts_per_tok=2),
    "jetmoe": _config(
        "JetMoeConfig",
        _TOKENS,
        hidden_size=36,
        num_hidden_layers=2,
        num_key_value_heads=4,
        kv_channels=10,
        intermediate_size=56,
        num_local_experts=5,
        num_experts_per_tok=2,
        max_position_embeddings=96,
    ),
    "minicpm": _config(
        "MiniCPM3Config",
        _DECODER,
        q_lora_rank=22,
        kv_lora_rank=18,
        qk_nope_head_dim=12,
        qk_rope_head_dim=6,
        v_head_dim=14,
    )
    if hasattr(transformers, "MiniCPM3Config")
    else None,
    "exaone4": _config(
        "Exaone4Config",
        _GROUPED,
        sliding_window=6,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "gpt-oss": _config(
        "GptOssConfig", _GROUPED, num_local_experts=5, num_experts_per_tok=2, sliding_window=6
    ),
    "seed-oss": _config("SeedOssConfig", _GROUPED),
    "ernie4-5": _config("Ernie4_5Config", _GROUPED),
    "arcee": _config("ArceeConfig", _GROUPED),
    "apertus": _config("ApertusConfig", _GROUPED_BY_HIDDEN),
    "hunyuan": _config("HunYuanDenseV1Config", _GROUPED),
    "dbrx": _config(
        "DbrxConfig",
        _TOKENS,
        d_model=40,
        n_heads=4,
        n_layers=2,
        max_seq_len=96,
        attn_config={"kv_n_heads": 2, "clip_qkv": 4.0, "rope_theta": 10000.0},
        ffn_config={"ffn_hidden_size": 56, "moe_num_experts": 5, "moe_top_k": 2, "hidden_size": 40},
    ),
    "llama4": _config(
        "Llama4TextConfig",
        _GROUPED,
        intermediate_size_mlp=52,
        num_local_experts=5,
        num_experts_per_tok=1,
        attention_chunk_size=6,
    ),
    "mamba": _config("MambaConfig", _TOKENS, hidden_size=40, num_hidden_layers=2),
    "jamba": _config("JambaConfig", _GROUPED_BY_HIDDEN),
    "recurrent-gemma": _config("RecurrentGemmaConfig", _GROUPED_BY_HIDDEN),
    "bart-decoder": _config(
        "BartConfig",
        _BART,
        architectures=["BartForCausalLM"],
        is_decoder=True,
        is_encoder_decoder=False,
    ),
    "bert-decoder": _config(
        "BertConfig", _ENCODER, architectures=["BertLMHeadModel"], is_decoder=True
    ),
}

_ENCODERS = {
    "bert": _config("BertConfig", _ENCODER),
    "bert-masked-lm": _config("BertConfig", _ENCODER, architectures=["BertForMaskedLM"]),
    "bert-classifier": _config(
        "BertConfig", _ENCODER, architectures=["BertForSequenceClassification"], num_labels=3
    ),
    "roberta": _config("RobertaConfig", _ENCODER, type_vocab_size=1),
    "distilbert": _config(
        "DistilBertConfig",
        _TOKENS,
        dim=40,
        hidden_dim=56,
        n_layers=2,
        n_heads=4,
        max_position_embeddings=96,
    ),
    "albert": _config("AlbertConfig", _ENCODER, embedding_size=24),
    "electra": _config("ElectraConfig", _ENCODER, embedding_size=24),
    "deberta": _config(
        "DebertaConfig", _ENCODER, relative_attention=True, pos_att_type=["c2p", "p2c"]
    ),
    "deberta-v2": _config(
        "DebertaV2Config",
        _ENCODER,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    ),
    "modernbert": _config(
        "ModernBertConfig",
        _ENCODER,
        local_attention=6,
        global_attn_every_n_layers=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "mpnet": _config("MPNetConfig", _ENCODER, relative_attention_num_buckets=8),
    "camembert": _config("CamembertConfig", _ENCODER, type_vocab_size=1),
    "xlm-roberta": _config("XLMRobertaConfig", _ENCODER, type_vocab_size=1),
    "nomic-bert": _config("NomicBertConfig", _ENCODER)
    if hasattr(transformers, "NomicBertConfig")
    else None,
    "esm": _config("EsmConfig", _ENCODER, mask_token_id=3, position_embedding_type="rotary"),
    "convbert": _config("ConvBertConfig", _ENCODER, embedding_size=24),
    "squeezebert": _config(
        "SqueezeBertConfig",
        _ENCODER,
        embedding_size=40,
        q_groups=2,
        k_groups=2,
        v_groups=2,
        post_attention_groups=1,
        intermediate_groups=2,
        output_groups=2,
    ),
    "fnet": _config("FNetConfig", _ENCODER),
    "xlnet": _config("XLNetConfig", _TOKENS, d_model=40, n_layer=2, n_head=4, d_inner=56),
    "vit": _config("ViTConfig", _VISION),
    "vit-classifier": _config(
        "ViTConfig", _VISION, architectures=["ViTForImageClassification"], num_labels=7
    ),
    "deit": _config("DeiTConfig", _VISION),
    "beit": _config("BeitConfig", _VISION, use_relative_position_bias=True),
    "dinov2": _config("Dinov2Config", _VISION, mlp_ratio=2),
    "dinov2-swiglu": _config("Dinov2Config", _VISION, mlp_ratio=2, use_swiglu_ffn=True),
    "dinov3": _config("DINOv3ViTConfig", _VISION, hidden_size=48),
    "swin": _config(
        "SwinConfig",
        image_size=32,
        patch_size=4,
        num_channels=3,
        embed_dim=12,
        depths=[2, 2],
        num_heads=[2, 3],
        window_size=4,
        mlp_ratio=2.0,
        num_labels=7,
        architectures=["SwinForImageClassification"],
    ),
    "swinv2": _config(
        "Swinv2Config",
        image_size=32,
        patch_size=4,
        num_channels=3,
        embed_dim=12,
        depths=[2, 2],
        num_heads=[2, 3],
        window_size=4,
        mlp_ratio=2.0,
    ),
    "convnext": _config(
        "ConvNextConfig",
        num_channels=3,
        image_size=40,
        patch_size=4,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 2, 1, 1],
        num_labels=7,
        architectures=["ConvNextForImageClassification"],
    ),
    "convnextv2": _config(
        "ConvNextV2Config",
        num_channels=3,
        image_size=40,
        patch_size=4,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 2, 1, 1],
    ),
    "resnet": _config(
        "ResNetConfig",
        _CONVOLUTIONS,
        embedding_size=10,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
        num_labels=7,
        architectures=["ResNetForImageClassification"],
    ),
    "resnet-basic": _config(
        "ResNetConfig",
        _CONVOLUTIONS,
        embedding_size=10,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 2, 1, 1],
        layer_type="basic",
    ),
    "regnet": _config(
        "RegNetConfig",
        _CONVOLUTIONS,
        embedding_size=10,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 2, 1, 1],
        groups_width=4,
    ),
    "mobilenet-v1": _config(
        "MobileNetV1Config", num_channels=3, image_size=40, depth_multiplier=0.25
    ),
    "mobilenet-v2": _config(
        "MobileNetV2Config", num_channels=3, image_size=40, depth_multiplier=0.25
    ),
    "efficientnet": _config(
        "EfficientNetConfig",
        num_channels=3,
        image_size=40,
        width_coefficient=0.25,
        depth_coefficient=0.25,
        hidden_dim=320,
    ),
    "segformer": _config(
        "SegformerConfig",
        num_channels=3,
        image_size=64,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 3],
        sr_ratios=[8, 4, 2, 1],
        mlp_ratios=[2, 2, 2, 2],
        decoder_hidden_size=22,
    ),
    "mobilevit": _config(
        "MobileViTConfig",
        num_channels=3,
        image_size=64,
        patch_size=2,
        hidden_sizes=[24, 28, 32],
        neck_hidden_sizes=[8, 12, 16, 20, 24, 28, 36],
        num_attention_heads=4,
    ),
    "poolformer": _config(
        "PoolFormerConfig",
        num_channels=3,
        image_size=64,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 1, 1, 1],
        num_encoder_blocks=4,
    ),
    "levit": _config(
        "LevitConfig",
        image_size=64,
        num_channels=3,
        hidden_sizes=[16, 24, 32],
        num_attention_heads=[2, 3, 4],
        depths=[1, 1, 1],
        key_dim=[6, 6, 6],
    ),
    "pvt": _config(
        "PvtConfig",
        image_size=64,
        num_channels=3,
        hidden_sizes=[12, 20, 28, 36],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 3],
    ),
    "cvt": _config(
        "CvtConfig",
        num_channels=3,
        image_size=64,
        embed_dim=[12, 20, 28],
        num_heads=[1, 2, 2],
        depth=[1, 1, 2],
        drop_path_rate=[0.0, 0.0, 0.1],
        patch_sizes=[7, 3, 3],
    ),
    "vit-mae": _config(
        "ViTMAEConfig",
        _VISION,
        decoder_hidden_size=32,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=44,
    ),
    "yolos": _config("YolosConfig", _VISION, image_size=[24, 32], num_detection_tokens=5),
    "ijepa": _config("IJepaConfig", _VISION),
    "hiera": _config(
        "HieraConfig",
        image_size=[32, 32],
        patch_size=[3, 3],
        patch_stride=[4, 4],
        patch_padding=[1, 1],
        masked_unit_size=[4, 4],
        embed_dim=12,
        depths=[1, 1],
        num_heads=[1, 2],
        num_query_pool=1,
    ),
    "wav2vec2": _config("Wav2Vec2Config", _SPEECH),
    "hubert": _config("HubertConfig", _SPEECH),
    "ast": _config(
        "ASTConfig",
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=2,
        num_attention_heads=4,
        patch_size=8,
        max_length=64,
        num_mel_bins=24,
    ),
    "clip": _config("CLIPConfig", _TWO_TOWERS),
    "clip-text": _config("CLIPTextConfig", _TWO_TOWERS_TEXT),
    "clip-vision": _config("CLIPVisionConfig", _VISION),
    "siglip": _config(
        "SiglipConfig",
        text_config={**_TWO_TOWERS_TEXT, "projection_size": 40},
        vision_config=_VISION,
    ),
    "blip": _config("BlipConfig", _TWO_TOWERS),
    "chinese-clip": _config(
        "ChineseCLIPConfig", text_config=_ENCODER, vision_config=_VISION, projection_dim=26
    ),
    "align": None,
    "vilt": _config("ViltConfig", _VISION, _ENCODER),
}

_ENCODER_DECODERS = {
    "t5": _config("T5Config", _T5),
    "t5-gated": _config("T5Config", _T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "mt5": _config("MT5Config", _T5),
    "bart": _config("BartConfig", _BART),
    "mbart": _config("MBartConfig", _BART),
    "pegasus": _config("PegasusConfig", _BART),
    "marian": _config("MarianConfig", _BART),
    "blenderbot": _config("BlenderbotConfig", _BART),
    "m2m-100": _config("M2M100Config", _BART),
    "whisper": _config(
        "WhisperConfig", _BART, num_mel_bins=10, max_source_positions=30, max_target_positions=96
    ),
    "speech-to-text": _config(
        "Speech2TextConfig",
        _BART,
        num_conv_layers=2,
        conv_kernel_sizes=(5, 5),
        conv_channels=24,
        input_feat_per_channel=10,
        max_source_positions=60,
        max_target_positions=96,
    ),
    "led": _config(
        "LEDConfig",
        _BART,
        attention_window=4,
        max_encoder_position_embeddings=96,
        max_decoder_position_embeddings=96,
    ),
    "prophetnet": None,
}

_ALL = {**_DECODERS, **_ENCODERS, **_ENCODER_DECODERS}
ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    k: v for k, v in _ALL.items() if v is not None
}


def random_model(name: str, seed: int = 0) -> Any:
    """A model of this architecture in float32, every parameter away from its trivial start."""
    config = ARCHITECTURES[name]()
    torch.manual_seed(seed)
    model = model_class(config)._from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            _randomise(parameter, is_bias=parameter_name.endswith("bias"))
        for buffer_name, buffer in model.named_buffers():
            if buffer_name.endswith(("running_mean", "running_var")):
                _randomise(buffer, is_bias=buffer_name.endswith("mean"))
    return model


def _randomise(tensor: torch.Tensor, is_bias: bool) -> None:
    if tensor.dim() > 1 or is_bias:
        tensor.normal_(std=0.15)
    elif tensor.dim() == 1:  # a norm's weight, a layer's scale, a variance
        tensor.uniform_(0.5, 1.5)


@cache
def traced_architecture(name: str) -> tuple[Any, Program]:
    """A random model and its program in float32, traced and cleaned."""
    model = random_model(name)
    return model, run_pipeline(trace_model(model), CLEAN, Context())


@cache
def architecture_program(name: str, dtype: torch.dtype = torch.float64) -> Program:
    """The traced and cleaned program of a random model of this architecture."""
    return cast(traced_architecture(name)[1], dtype)


def random_feeds(
    entry: Entry, seed: int = 0, *, batch: int = 2, new: int = 9, past: int = 0
) -> dict[str, torch.Tensor]:
    """Valid random inputs of an entry point, by the roles and labels of its ports.

    The first row is padded on the left by two tokens where the entry takes a mask.
    """
    sizes = {
        "batch_size": batch,
        "image_batch_size": batch,
        "sequence_length": new,
        "past_sequence_length": past,
        "total_sequence_length": past + new,
        "decoder_sequence_length": new - 2,
        "sample_count": 400,
    }
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, past + new, dtype=torch.int64)
    mask[0, :2] = 0
    feeds = {}
    for port in entry.inputs:
        shape = [
            sizes.get(size, OTHER_SIZE) if isinstance(size, str) else size for size in port.shape
        ]
        if port.role is Role.MASK:
            feeds[port.name] = mask
        elif port.role is Role.POSITIONS:
            feeds[port.name] = positions(mask)[:, -new:]
        elif port.dtype.is_floating_point:
            feeds[port.name] = torch.randn(shape, generator=generator, dtype=port.dtype)
        else:
            # Tokens, and kinds of tokens: of those there are two.
            high = VOCABULARY if port.role is Role.TOKENS else 2
            feeds[port.name] = torch.randint(min(3, high - 2), high, shape, generator=generator)
    return feeds
