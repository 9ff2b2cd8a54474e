import torch

from prunec.backends.torch.place import place
from prunec.passes.ir import execute, language_feeds
from support.models import random_tokens, small_program


def test_a_placed_program_makes_every_tensor_on_its_device() -> None:
    # The meta device stands for a GPU: an operator that meets two devices raises.
    program = place(small_program(), "meta")
    feeds = language_feeds(program.main, random_tokens(2, 5).to("meta"))
    outputs = execute(program, feeds)
    assert {tensor.device.type for tensor in outputs.values()} == {"meta"}
    assert outputs["logits"].shape == (2, 5, 128)


def test_placing_leaves_the_program_as_it_was() -> None:
    program = small_program()
    feeds = language_feeds(program.main, random_tokens(2, 5))
    expected = execute(program, feeds)["logits"]
    place(program, "meta")
    assert torch.equal(execute(program, feeds)["logits"], expected)
    assert torch.equal(execute(place(program, "cpu"), feeds)["logits"], expected)
