"""Give a program that was traced without weights random ones, made where they are to be."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch._subclasses.fake_tensor import FakeTensor

from prunec.passes.ir import Program


def fill(
    programs: Mapping[str, Program],
    made_on: torch.device | str,
    kept_on: torch.device | str,
    seed: int = 0,
) -> dict[str, Program]:
    """The same programs with real tensors, one for all programs where the name is the same.

    No more than one tensor at a time is where it is made and not kept, and none is ever wider
    than the program has it. Matrices have the standard deviation 1/sqrt(columns), so that what
    passes through them keeps its size; vectors lie between 0.5 and 1.5. Tensors that are real
    already are moved.

    Args:
        programs: By side; a weight of one name is the same weight.
        made_on: Whose generator makes the numbers: other devices give others for the same seed.
        kept_on: Where the tensors are then.
        seed: Of the numbers.
    """
    generator = torch.Generator(made_on).manual_seed(seed)
    bare = {n: w for program in programs.values() for n, w in program.weights.items()}
    tensors = {}
    for name in sorted(bare):
        weight = bare[name]
        if isinstance(weight, FakeTensor):
            made = torch.empty(weight.shape, dtype=weight.dtype, device=made_on)
            weight = _randomise(made, generator)
        tensors[name] = weight.to(kept_on)
    return {
        side: program.with_weights({name: tensors[name] for name in program.weights})
        for side, program in programs.items()
    }


def _randomise(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.dim() < 2:
        return tensor.uniform_(0.5, 1.5, generator=generator)
    return tensor.normal_(std=tensor.shape[-1] ** -0.5, generator=generator)
