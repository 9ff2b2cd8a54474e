"""A small report as a job would leave it."""

from __future__ import annotations

from typing import Any


def example_report() -> dict[str, Any]:
    """Two layers with different cuts; numbers of a plausible size."""
    before = {
        "parameters": 134_515_008,
        "block_parameters": 106_202_880,
        "weight_bytes": 538_060_032,
        "kv_bytes_per_token": 46_080,
        "flops_per_token": 269_030_016,
    }
    after = before | {
        "parameters": 107_900_000,
        "block_parameters": 79_652_160,
        "weight_bytes": 431_600_000,
        "kv_bytes_per_token": 36_864,
    }
    return {
        "created": "2026-01-01 00:00 UTC",
        "model": {"reference": "some/model"},
        "versions": {"prunec": "0.1.0", "python": "3.11"},
        "machine": {"system": "Linux", "processor": "CPU", "cores": 2, "threads": 2, "gpus": []},
        "peak_memory_bytes": 3_400_000_000,
        "sizes": {"before": before, "after": after},
        "choice": None,
        "task": "generation",
        "quality": {
            "dense_perplexity": 5.3,
            "other_perplexity": 7.94,
            "kl_nats": 0.412,
            "top1_agreement": 0.731,
            "nll_difference": 0.404,
            "nll_difference_stderr": 0.02,
            "tokens": 4080,
            "prompt_tokens": 1,
            "vocabulary": 49_152,
            "text": {"source": "wiki.txt"},
        },
        "answers": [
            {"prompt": "Capital of France?", "before": "Paris.", "after": "Paris!"},
            {"prompt": "And of Peru?", "before": "Lima.", "after": ""},
        ],
        "kinds": [
            {"kind": "kv-group", "place": "layer", "layers": [_layer(0, 3, 2), _layer(1, 3, 3)]},
            {
                "kind": "ffn-channel",
                "place": "layer",
                "layers": [_layer(0, 1536, 1000), _layer(1, 1536, 700)],
            },
        ],
        "plan": {
            "criterion": "activation",
            "method": "global",
            "options": {"standardise": "z-score", "kind_weights": ["kv-group=2"]},
            "budgets": [
                {
                    "budget": "keep",
                    "what": "block parameters",
                    "asked": 0.75,
                    "reached": 0.75,
                    "before": 106_202_880,
                    "limit": 79_652_160,
                    "after": 79_652_160,
                }
            ],
        },
        "passes": [
            {
                "name": "remove-structures",
                "spec": "remove-structures",
                "seconds": 1.3,
                "before": before,
                "after": after,
            }
        ],
        "folder": "out",
        "warnings": [],
        "files": [{"path": "onnx/", "what": "ONNX", "size_bytes": 432_000_000}],
        "next_steps": [{"what": "Check it", "command": "prunec check out"}],
        "method": ["Perplexity over 8 windows."],
        "stages": {"trace": 10.0, "passes": 80.5},
        "recipe": {"model": {"source": "some/model"}},
    }


def _layer(index: int, size: int, kept: int) -> dict[str, int]:
    return {"index": index, "size": size, "kept": kept}
