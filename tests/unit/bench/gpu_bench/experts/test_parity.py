import torch

from support.gpu_cases import part


def test_another_choice_is_noticed() -> None:
    parity = part("experts.parity")
    program = parity.tiny_program("tiny")
    name = next(n for n in program.weights if n.endswith("gate_proj.weight"))
    other = program.with_weights({name: program.weights[name].roll(1, 0)})
    here, there = (parity.chosen_indices(p, "cpu") for p in (program, other))
    assert any(not torch.equal(here[port], there[port]) for port in here)
