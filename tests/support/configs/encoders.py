"""Encoders of text, with and without heads."""

from __future__ import annotations

from support.configs.sizes import ENCODER, TOKENS, Build, config

ENCODERS: dict[str, Build] = {
    "bert": config("BertConfig", ENCODER),
    "bert-masked-lm": config("BertConfig", ENCODER, architectures=["BertForMaskedLM"]),
    "bert-classifier": config(
        "BertConfig", ENCODER, architectures=["BertForSequenceClassification"], num_labels=3
    ),
    "roberta": config("RobertaConfig", ENCODER, type_vocab_size=1),
    "distilbert": config(
        "DistilBertConfig",
        TOKENS,
        dim=40,
        hidden_dim=56,
        n_layers=2,
        n_heads=4,
        max_position_embeddings=96,
    ),
    "albert": config("AlbertConfig", ENCODER, embedding_size=24),
    "electra": config("ElectraConfig", ENCODER, embedding_size=24),
    "deberta-v2": config(
        "DebertaV2Config",
        ENCODER,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
        share_att_key=True,
        norm_rel_ebd="layer_norm",
    ),
    "modernbert": config(
        "ModernBertConfig",
        ENCODER,
        local_attention=6,
        global_attn_every_n_layers=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "mpnet": config("MPNetConfig", ENCODER, relative_attention_num_buckets=32),
    "camembert": config("CamembertConfig", ENCODER, type_vocab_size=1),
    "xlm-roberta": config("XLMRobertaConfig", ENCODER, type_vocab_size=1),
    "nomic-bert": config("NomicBertConfig", ENCODER),
    "esm": config("EsmConfig", ENCODER, mask_token_id=3, position_embedding_type="rotary"),
    "convbert": config("ConvBertConfig", ENCODER, embedding_size=24),
    "squeezebert": config(
        "SqueezeBertConfig",
        ENCODER,
        embedding_size=40,
        q_groups=2,
        k_groups=2,
        v_groups=2,
        post_attention_groups=1,
        intermediate_groups=2,
        output_groups=2,
    ),
    "fnet": config("FNetConfig", ENCODER),
    "xlnet": config("XLNetConfig", TOKENS, d_model=40, n_layer=2, n_head=4, d_inner=56),
}
