import torch
from torch._subclasses.fake_tensor import FakeTensor

from support.gpu_cases import case, part


def test_weights_are_made_from_the_seed_and_shared_by_both_sides() -> None:
    fill, sides = part("weights").fill, case().bare
    made, again = fill(sides, "cpu", "cpu", seed=3), fill(sides, "cpu", "cpu", seed=3)
    other = fill(sides, "cpu", "cpu", seed=4)
    for name, weight in made["dense"].weights.items():
        assert made["chosen"].weights[name] is weight
        assert torch.equal(weight, again["dense"].weights[name])
        was_fake = isinstance(sides["dense"].weights[name], FakeTensor)
        assert torch.equal(weight, other["dense"].weights[name]) != was_fake
        assert not isinstance(weight, FakeTensor)
        assert weight.dtype == sides["dense"].weights[name].dtype
