"""Operators of images: channels pass, as outer parts or shuffled, and the extent is refused."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunec.frontend.export import trace_module
from prunec.passes.analysis.coupling import find_structures
from prunec.passes.ir import Program, cast
from support.laws import ROUNDING, choose_units
from support.oracle import law_error


class Between(nn.Module):
    """A convolution up to eight channels, a step, and a convolution of what it gives."""

    def __init__(self, step: nn.Module, channels: int, kind: type[nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        self.up, self.step, self.down = kind(3, 8, 1), step, kind(channels, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.tanh(self.step(torch.tanh(self.up(x)))))


class Step(nn.Module):
    def __init__(self, function) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Sampled(nn.Module):
    """Places to sample at that the image itself tells."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.grid_sample(x, self.places(x).tanh().permute(0, 2, 3, 1), align_corners=False)


def patches_and_back(x: Tensor) -> Tensor:
    return F.fold(F.unfold(x, 3, padding=1) ** 2, (4, 4), 3, padding=1)


STEPS: dict[str, tuple[nn.Module, int, list[int]]] = {
    "pixel unshuffle": (nn.PixelUnshuffle(2), 32, [8]),
    "pixel shuffle": (nn.PixelShuffle(2), 2, [2]),
    "shuffled down and up": (nn.Sequential(nn.PixelUnshuffle(2), nn.PixelShuffle(2)), 8, [8]),
    "channel shuffle": (nn.ChannelShuffle(2), 8, [2, 4]),
    "native channel shuffle": (Step(lambda x: torch.native_channel_shuffle(x, 2)), 8, [2, 4]),
    "shuffled twice": (nn.Sequential(nn.ChannelShuffle(2), nn.ChannelShuffle(4)), 8, [2, 4]),
    "patches": (Step(lambda x: F.unfold(x, 2, stride=2).unsqueeze(-1)), 32, [8]),
    "patches added up": (Step(patches_and_back), 8, [8]),
    "sampled": (Sampled(), 8, [8]),
    "nearest exact": (nn.Upsample(scale_factor=2, mode="nearest-exact"), 8, [8]),
    "antialiased": (
        Step(lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True)),
        8,
        [8],
    ),
    "adaptive max": (nn.AdaptiveMaxPool2d(2), 8, [8]),
    "instance norm": (nn.InstanceNorm2d(8, affine=True), 8, [8]),
    "instance norm of kept statistics": (
        nn.InstanceNorm2d(8, affine=True, track_running_stats=True),
        8,
        [8],
    ),
    "slopes": (nn.PReLU(8), 8, [8]),
    "one slope": (nn.PReLU(), 8, [8]),
    "transposed in groups": (nn.ConvTranspose2d(8, 6, 3, groups=2), 6, [2, 3, 4]),
}
VOLUMES: dict[str, tuple[nn.Module, int, list[int]]] = {
    "nearest": (nn.Upsample(scale_factor=2), 8, [8]),
    "trilinear": (nn.Upsample(scale_factor=2, mode="trilinear"), 8, [8]),
    "adaptive max": (nn.AdaptiveMaxPool3d(2), 8, [8]),
    "max": (nn.MaxPool3d(2), 8, [8]),
    "transposed in groups": (nn.ConvTranspose3d(8, 6, 2, groups=2), 6, [2, 3, 4]),
}  # fmt: skip


def traced(module: nn.Module, *extent: int) -> tuple[Program, Tensor]:
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4, generator=generator)
    x = torch.randn(2, 3, *extent, generator=generator)
    return cast(trace_module(module.eval(), (x,)), torch.float64), x.double()


def require_law(program: Program, x: Tensor, sizes: list[int]) -> None:
    coupling = find_structures(program)
    assert sorted(s.size for s in coupling.structures) == sizes
    for seed in range(4):
        random = Random(seed)
        alone = [{s.atom: choose_units(s, random)} for s in coupling.structures]
        together = {s.atom: choose_units(s, random) for s in coupling.structures}
        for selection in (*alone, together):
            assert law_error(program, coupling, selection, {"x": x}) < ROUNDING


@pytest.mark.parametrize("name", STEPS)
def test_channels_pass_an_operator_of_images(name: str) -> None:
    step, channels, sizes = STEPS[name]
    require_law(*traced(Between(step, channels), 4, 4), sizes)


@pytest.mark.parametrize("name", VOLUMES)
def test_channels_pass_an_operator_of_volumes(name: str) -> None:
    step, channels, sizes = VOLUMES[name]
    require_law(*traced(Between(step, channels, nn.Conv3d), 2, 4, 4), sizes)


def test_the_window_of_a_patch_stays_whole() -> None:
    program, _ = traced(Between(*STEPS["patches"][:2]), 4, 4)
    refused = [r.refusal.reason for r in find_structures(program).refusals]
    assert "it counts the places of a window" in refused


def test_a_weight_norm_keeps_the_axis_whole_that_it_takes_lengths_of() -> None:
    norm = nn.utils.parametrizations.weight_norm
    module = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), norm(nn.Linear(8, 6)), nn.Linear(6, 2))
    x = torch.randn(4, 3)
    program = cast(trace_module(module, (x,)), torch.float64)
    coupling = find_structures(program)
    assert [s.size for s in coupling.structures] == [6]
    refused = [r.refusal.reason for r in coupling.refusals]
    assert "a weight norm takes the length along it" in refused
    (own,) = coupling.structures
    feeds = {program.main.inputs[0].name: x.double()}
    assert law_error(program, coupling, {own.atom: choose_units(own, Random(0))}, feeds) < ROUNDING
