"""An adapter is no model, and none is left out or applied unseen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from prunec.frontend.sources import SourceError, find_checkpoint, find_config


def write_adapter(folder: Path, **changes: Any) -> None:
    weight = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({weight: torch.ones(4, 32)}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config | changes))


def test_an_adapter_alone_names_its_base_and_the_commands(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    for find in (find_checkpoint, find_config):
        with pytest.raises(SourceError) as caught:
            find(str(tmp_path))
        said = str(caught.value)
        assert "this is a LoRA adapter of org/base" in said
        assert (
            f"AutoPeftModelForCausalLM.from_pretrained({str(tmp_path)!r}).merge_and_unload()"
            in said
        )
        assert "reasons" not in said


def test_an_adapter_beside_a_model_needs_a_choice(folder: Path) -> None:
    write_adapter(folder)
    with pytest.raises(SourceError) as caught:
        find_checkpoint(str(folder))
    assert "lies beside the model" in str(caught.value)
    assert "move adapter_config.json, adapter_model.safetensors elsewhere" in str(caught.value)


def test_the_commands_are_those_of_the_adapters_task(tmp_path: Path) -> None:
    write_adapter(tmp_path, task_type="SEQ_CLS")
    with pytest.raises(SourceError, match="AutoPeftModelForSequenceClassification"):
        find_checkpoint(str(tmp_path))


def test_what_cannot_be_merged_is_not_advised_to_be(tmp_path: Path) -> None:
    write_adapter(tmp_path, peft_type="PREFIX_TUNING")
    with pytest.raises(SourceError, match="cannot be merged") as caught:
        find_checkpoint(str(tmp_path))
    assert "merge_and_unload" not in str(caught.value)


def test_a_damaged_adapter_configuration_is_named_too(tmp_path: Path) -> None:
    write_adapter(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(SourceError, match=r"adapter_config\.json is damaged"):
        find_checkpoint(str(tmp_path))
