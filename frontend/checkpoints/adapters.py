"""Adapters of PEFT: a change to a model, not a model."""

from __future__ import annotations

from pathlib import Path

from prunec.frontend.checkpoints.documents import read_object
from prunec.frontend.checkpoints.findings import Finding, some

CONFIG = "adapter_config.json"
_CLASSES = {
    "SEQ_CLS": "AutoPeftModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "AutoPeftModelForSeq2SeqLM",
    "TOKEN_CLS": "AutoPeftModelForTokenClassification",
    "QUESTION_ANS": "AutoPeftModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoPeftModelForFeatureExtraction",
}
_PROMPTS = ("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT")


def has_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, alone or beside a model."""
    return bool(_adapter_files(folder))


def adapter_findings(folder: Path) -> list[Finding]:
    """An adapter alone, or one beside a model, which would be left out or applied unseen."""
    files = _adapter_files(folder)
    if not files:
        return []
    document, found = read_object(folder / CONFIG) if (folder / CONFIG).is_file() else ({}, [])
    kind = str(document.get("peft_type", "PEFT"))
    name = "LoRA" if kind == "LORA" else kind
    base = document.get("base_model_name_or_path") or "a model that it does not name"
    what = f"a {name} adapter of {base} ({some(files)})"
    remedy = _merge(folder, kind, str(document.get("task_type")))
    if (folder / "config.json").is_file():
        there = f"{what} lies beside the model; it would change what the model computes"
        remedy += f"\n   To prune the model without it, move {some(files)} elsewhere"
    else:
        there = f"this is {what}, not a model"
    return [*found, Finding(there, remedy)]


def _adapter_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("adapter_*") if _is_adapter(path.name))


def _is_adapter(name: str) -> bool:
    return name in (CONFIG, "adapter_model.safetensors", "adapter_model.bin")


def _merge(folder: Path, kind: str, task: str) -> str:
    """How to make one model of both."""
    if kind in _PROMPTS:
        return f"{kind} adds trained inputs and cannot be merged into weights: prune the base model"
    auto, source = _CLASSES.get(task, "AutoPeftModelForCausalLM"), f"{str(folder)!r}"
    return (
        "Merge it into its base model first (pip install peft), and give the merged folder:\n"
        f"     from peft import {auto}\n"
        f"     model = {auto}.from_pretrained({source}).merge_and_unload()\n"
        "     model.save_pretrained('merged')\n"
        "     from transformers import AutoTokenizer\n"
        f"     AutoTokenizer.from_pretrained({source}).save_pretrained('merged')"
    )
