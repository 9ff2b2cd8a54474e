"""An engine as a runner on a GPU, with PyTorch tensors for its buffers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from prunec.backends.tensorrt.library import EngineError
from prunec.backends.tensorrt.load import load_engine
from prunec.backends.tensorrt.manifest import TensorSpec

_DEVICE = "cuda"
_MASK, _TOKENS, _POSITIONS = "attention_mask", "input_ids", "position_ids"


class TensorRTRunner:
    """Step a language model's engine. See `prunec.backends.runner.Runner`.

    Args:
        path: An engine with its manifest beside it.

    Raises:
        EngineError: it cannot be loaded here, or it is no language model with a cache.
    """

    def __init__(self, path: Path) -> None:
        self._loaded = load_engine(path)
        manifest = self._loaded.manifest
        self.name = f"{manifest.library}/cuda"
        self._cache_inputs = [s for s in manifest.inputs if s.name.startswith("past_key_values.")]
        self._logits = next((s for s in manifest.outputs if s.name == "logits"), None)
        if self._logits is None or not self._cache_inputs:
            names = [s.name for s in (*manifest.inputs, *manifest.outputs)]
            raise EngineError(f"{path} is no language model with a cache; it has {names}")
        self.vocabulary = int(self._logits.shape[-1])
        self._stream = torch.cuda.Stream()
        self._contexts: dict[int, Any] = {}
        # An empty tensor has no address of its own and the library takes no null address.
        self._nothing = torch.zeros(256, dtype=torch.uint8, device=_DEVICE)

    @torch.no_grad()
    def step(
        self,
        tokens: torch.Tensor,
        mask: torch.Tensor,
        cache: dict[str, torch.Tensor] | None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """See `prunec.backends.runner.Runner.step`.

        Raises:
            EngineError: no profile of the engine accepts these sizes.
        """
        with torch.cuda.stream(self._stream):
            cache = self.zero_cache(len(tokens)) if cache is None else cache
            outputs = self.run(self.feeds(tokens, mask, cache))
            logits = outputs.pop("logits").float().cpu()  # waits for the stream
        return logits, {n.replace("present.", "past_key_values."): t for n, t in outputs.items()}

    def run(self, feeds: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Enqueue one execution on the current stream; nothing waits for it.

        Args:
            feeds: Contiguous CUDA tensors by input name, in the engine's types.

        Returns:
            New CUDA tensors by output name.
        """
        stream = torch.cuda.current_stream().cuda_stream
        manifest = self._loaded.manifest
        context = self._context(self._profile(feeds), stream)
        for spec in manifest.inputs:
            tensor = feeds[spec.name]
            context.set_input_shape(spec.name, tuple(tensor.shape))
            context.set_tensor_address(spec.name, self._address(tensor))
        outputs = {spec.name: _allocate(context, spec) for spec in manifest.outputs}
        for name, tensor in outputs.items():
            context.set_tensor_address(name, self._address(tensor))
        if not context.execute_async_v3(stream):
            reason = self._loaded.messages.quoted()
            raise EngineError(f"{manifest.library} could not run the engine: {reason}")
        return outputs

    def feeds(
        self, tokens: torch.Tensor, mask: torch.Tensor, cache: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The inputs of one step, on the GPU and in the engine's types."""
        mask = mask.to(_DEVICE)
        positions = (mask.cumsum(-1) - 1).clamp_min(0)[:, -tokens.shape[1] :]
        given = {_TOKENS: tokens.to(_DEVICE), _MASK: mask, _POSITIONS: positions, **cache}
        return {
            spec.name: given[spec.name].to(_dtype(spec)).contiguous()
            for spec in self._loaded.manifest.inputs
        }

    def zero_cache(self, batch: int, past: int = 0) -> dict[str, torch.Tensor]:
        """Keys and values of `past` tokens, all zero; of none, what generation starts from."""
        sizes = {"batch_size": batch, "past_sequence_length": past}
        return {
            spec.name: torch.zeros(
                [s if isinstance(s, int) else sizes[s] for s in spec.shape],
                dtype=_dtype(spec),
                device=_DEVICE,
            )
            for spec in self._cache_inputs
        }

    def _profile(self, feeds: dict[str, torch.Tensor]) -> int:
        manifest = self._loaded.manifest
        sizes = {
            label: size
            for spec in manifest.inputs
            for label, size in zip(spec.shape, feeds[spec.name].shape, strict=True)
            if isinstance(label, str)
        }
        for index, profile in enumerate(manifest.profiles):
            if profile.accepts(sizes):
                return index
        raise EngineError(f"no profile accepts {sizes}; the engine has {manifest.profiles}")

    def _context(self, profile: int, stream: int) -> Any:
        """One context for each profile: changing the profile of a context costs a wait."""
        if profile not in self._contexts:
            context = self._loaded.engine.create_execution_context()
            if context is None or not context.set_optimization_profile_async(profile, stream):
                raise EngineError(f"no execution context: {self._loaded.messages.quoted()}")
            self._contexts[profile] = context
        return self._contexts[profile]

    def _address(self, tensor: torch.Tensor) -> int:
        return (tensor if tensor.numel() else self._nothing).data_ptr()


def _allocate(context: Any, spec: TensorSpec) -> torch.Tensor:
    shape = tuple(context.get_tensor_shape(spec.name))
    if min(shape, default=0) < 0:
        raise EngineError(f"the engine does not know the shape of its output {spec.name}: {shape}")
    return torch.empty(shape, dtype=_dtype(spec), device=_DEVICE)


def _dtype(spec: TensorSpec) -> torch.dtype:
    dtype = getattr(torch, spec.dtype)
    assert isinstance(dtype, torch.dtype)
    return dtype
