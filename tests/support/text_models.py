"""Configurations of tiny models that read a text whole: classifiers and encoders."""

from __future__ import annotations

from transformers import PreTrainedConfig

from support.configs.sizes import ENCODER, GROUPED, Build, config

_LABELS = {"num_labels": 3}

TEXT_MODELS: dict[str, Build] = {
    "encoder": config("BertConfig", ENCODER, architectures=["BertModel"]),
    "masked-lm": config("BertConfig", ENCODER, architectures=["BertForMaskedLM"]),
    "classifier": config(
        "BertConfig", ENCODER, _LABELS, architectures=["BertForSequenceClassification"]
    ),
    "token-classifier": config(
        "BertConfig", ENCODER, _LABELS, architectures=["BertForTokenClassification"]
    ),
    "answers": config("BertConfig", ENCODER, architectures=["BertForQuestionAnswering"]),
    "decoder-classifier": config(
        "LlamaConfig", GROUPED, _LABELS, architectures=["LlamaForSequenceClassification"]
    ),
    "tied-decoder-classifier": config(
        "LlamaConfig",
        GROUPED,
        _LABELS,
        tie_word_embeddings=True,
        architectures=["LlamaForSequenceClassification"],
    ),
}
"""How to make one, by what it does."""


def text_model(name: str) -> PreTrainedConfig:
    """A configuration by name."""
    return TEXT_MODELS[name]()
