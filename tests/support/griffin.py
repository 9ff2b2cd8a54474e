"""GRIFFIN on a model of transformers, straight from the formula and by the names of its modules."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import DynamicCache

from support.models import under_its_name

FEED_FORWARD: dict[str, tuple[tuple[str, ...], str]] = {
    "llama": (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    "llama-biases": (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    "gemma": (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    "phi3": (("mlp.gate_up_proj",), "mlp.down_proj"),
    "opt": (("fc1",), "fc2"),
    "gpt2": (("mlp.c_fc",), "mlp.c_proj"),
    "phi": (("mlp.fc1",), "mlp.fc2"),
    "falcon-new": (("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h"),
}
"""Of each layer, the modules that make z and the one that sums over it."""


class GriffinReference:
    """Run a prompt, choose, and decode with what was chosen.

    Args:
        model: Of transformers; it is copied.
        name: Of its architecture.
        counts: How many units to choose in each layer.
    """

    def __init__(self, model: Any, name: str, counts: list[int]) -> None:
        self.model = deepcopy(model)
        self.indices: list[torch.Tensor] = []
        producing, summing = FEED_FORWARD[name]
        modules = dict(self.model.named_modules())
        self._summing = [m for n, m in modules.items() if n.endswith(f".{summing}")]
        self._producing = [
            [modules[n.removesuffix(summing) + p] for p in producing]
            for n in modules
            if n.endswith(f".{summing}")
        ]
        self._counts = counts
        self._cache = DynamicCache(config=self.model.config)

    @torch.no_grad()
    def step(self, tokens: torch.Tensor, mask: torch.Tensor, **more: torch.Tensor) -> torch.Tensor:
        """Logits of new tokens; the first call is the prompt and chooses."""
        seen: dict[nn.Module, torch.Tensor] = {}
        hooks = [
            module.register_forward_pre_hook(lambda m, args: seen.__setitem__(m, args[0]))
            for module in self._summing
        ]
        logits = self.model(
            input_ids=tokens,
            attention_mask=mask,
            use_cache=True,
            **under_its_name(self.model, self._cache),
            **more,
        ).logits
        for hook in hooks:
            hook.remove()
        if not self.indices:
            real = mask[:, -tokens.shape[1] :].bool()
            for layer, module in enumerate(self._summing):
                z = seen[module].reshape(*tokens.shape, -1)
                self.indices.append(chosen(z, real, self._counts[layer]))
                self._narrow(layer, self.indices[-1], z.shape[-1])
        return logits

    def _narrow(self, layer: int, units: torch.Tensor, width: int) -> None:
        for module in self._producing[layer]:
            outputs = len(module.bias) if module.bias is not None else len(module.weight)
            rows = torch.cat([units + start for start in range(0, outputs, width)])
            is_linear = isinstance(module, nn.Linear)
            module.weight = nn.Parameter(
                module.weight[rows] if is_linear else module.weight[:, rows]
            )
            if module.bias is not None:
                module.bias = nn.Parameter(module.bias[rows])
            if not is_linear:
                module.nf = len(rows)
        module = self._summing[layer]
        is_linear = isinstance(module, nn.Linear)
        module.weight = nn.Parameter(module.weight[:, units] if is_linear else module.weight[units])


def statistic(z: torch.Tensor) -> torch.Tensor:
    """s = |columns of the row-normalised activations|, [token, unit] to [unit]."""
    norms = z.norm(dim=1, keepdim=True)
    return torch.where(norms > 0, z / norms, 0).norm(dim=0)


def chosen(z: torch.Tensor, real: torch.Tensor, count: int) -> torch.Tensor:
    """The units of a batch, ascending: those with the largest sum of s_i / sqrt(S_i)."""
    total = torch.zeros(z.shape[-1])
    for row, is_real in zip(z, real, strict=True):
        if is_real.any():
            total += statistic(row[is_real]) / is_real.sum().sqrt()
    return total.topk(count).indices.sort().values
