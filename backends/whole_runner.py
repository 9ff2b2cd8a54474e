"""What every backend that runs a model once on whole texts offers: encoders and classifiers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from prunec.passes.ir import Port, Role


@dataclass(frozen=True)
class Output:
    """What such a model returns under one name.

    Attributes:
        name: For example ``logits`` or ``last_hidden_state``.
        shape: Sizes, and the labels ``batch_size`` and ``sequence_length``.
        is_logits: Whether its last axis is what a softmax is taken over.
    """

    name: str
    shape: tuple[int | str, ...]
    is_logits: bool

    @property
    def is_per_token(self) -> bool:
        """Whether each token has its own, rather than each text."""
        return "sequence_length" in self.shape

    @property
    def is_distribution(self) -> bool:
        """Whether it tells how likely each class, token or place is; one number tells none."""
        return self.is_logits and self.shape[-1] != 1


class WholeRunner(Protocol):
    """A model that reads texts whole, without a cache."""

    name: str
    """The backend and its device, for example ``onnxruntime/cpu``."""
    outputs: tuple[Output, ...]
    vocabulary: int | None
    """How many tokens it knows; None where that cannot be told."""

    def run(self, tokens: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read texts.

        Args:
            tokens: [batch, token], int64.
            mask: [batch, token], int64: 1 for real tokens, 0 for padding on either side. A model
                that takes no mask reads the padding, too.

        Returns:
            Every output by name, in float32 on the CPU.
        """


def output_of(port: Port) -> Output:
    """An output of a program."""
    return Output(port.name, port.shape, port.role is Role.LOGITS)


def output_named(name: str, shape: tuple[int | str, ...]) -> Output:
    """An output of a file, whose name alone tells what it means."""
    return Output(name, shape, name == "logits" or name.endswith("_logits"))
