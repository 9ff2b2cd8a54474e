from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor

from prunec.frontend.sources import find_checkpoint
from prunec.passes.analysis.cost import decode_bytes, measure
from support.checkpoints import write_llama
from support.gpu_cases import case, part, two_layers


@pytest.mark.parametrize(
    ("shape", "width", "hidden", "attention", "other", "billions"),
    [
        ("gemma-7b", 24576, 3072, 4 * 3072 * 4096, 256000 * 3072, 8.54),
        ("llama-2-13b", 13824, 5120, 4 * 5120**2, 2 * 32000 * 5120, 13.02),
    ],
)
def test_the_papers_shapes_are_traced_and_chosen_from_without_a_weight(
    shape: str, width: int, hidden: int, attention: int, other: int, billions: float
) -> None:
    sides = two_layers(shape)
    layer = 3 * width * hidden + attention + 2 * hidden
    assert measure(sides["dense"]).parameters == 2 * layer + other + hidden
    layers = part("shapes").SHAPES[shape].options["num_hidden_layers"]
    assert round((layers * layer + other + hidden) / 1e9, 2) == billions
    real = [w for w in sides["chosen"].weights.values() if not isinstance(w, FakeTensor)]
    assert sum(w.numel() for w in real) < 1000
    halves = 2 * 3 * width * hidden // 2
    assert decode_bytes(sides["dense"]) - decode_bytes(sides["chosen"]) == 2 * halves


def test_a_checkpoint_keeps_its_own_weights(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model")
    subject = case(model=str(path))
    del subject.bare
    sides = subject.sides(torch.bfloat16, "cpu")
    tensors = find_checkpoint(str(path)).load_model().state_dict()
    for name, weight in sides["dense"].parameters().items():
        assert torch.equal(weight, tensors[name].bfloat16())
        assert sides["chosen"].weights[name] is weight
    assert part("experts.sections").describe_case(subject)["shape"] is None


def test_lengths_without_a_token_are_refused() -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        case(experts_new_tokens=[0])
