"""Choose the next token from logits: the likeliest, or drawn at random."""

from __future__ import annotations

from collections.abc import Callable

import torch

Choose = Callable[[torch.Tensor], torch.Tensor]
"""From logits [batch, vocabulary] to tokens [batch], int64."""


class SamplingError(ValueError):
    """A setting that no token can be drawn with; names it and what is allowed."""


def greedy(logits: torch.Tensor) -> torch.Tensor:
    """The likeliest token of each row; of equal ones the first."""
    # On one thread: those of torch would spin for milliseconds after it, in the next step's way.
    return torch.from_numpy(logits.numpy().argmax(-1))


def build_sampler(temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> Choose:
    """A choice that draws tokens; each one that is built starts from its seed again.

    Args:
        temperature: Divides the logits; below 1 likely tokens become likelier. 0 is `greedy`.
        top_p: Draw among the likeliest tokens alone that together reach this probability, 0-1.
            Source: Holtzman et al. 2020, arXiv 1904.09751, section 3.1.
        seed: The same seed draws the same tokens from the same logits.

    Raises:
        SamplingError: the temperature is negative, or `top_p` is not above 0 and at most 1.
    """
    if not 0 <= temperature < float("inf"):
        raise SamplingError(f"temperature is {temperature}: give 0 (greedy) or a positive number")
    if not 0 < top_p <= 1:
        raise SamplingError(f"top_p is {top_p}: give a number above 0 and at most 1")
    if temperature == 0:
        return greedy
    generator = torch.Generator().manual_seed(seed)

    def draw(logits: torch.Tensor) -> torch.Tensor:
        probabilities = (logits.double() / temperature).softmax(-1)  # [batch, vocabulary]
        if top_p < 1:
            probabilities = _nucleus(probabilities, top_p)
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    return draw


def _nucleus(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """Zero for all but the fewest tokens that reach `top_p`; the likeliest one always stays."""
    ordered, order = probabilities.sort(-1, descending=True)
    is_beyond = ordered.cumsum(-1) - ordered >= top_p
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.masked_fill(is_beyond, 0))
