"""Decode with chosen units equals the program that is cut to them, whatever the architecture."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import DECODE, PREFILL, Program, Role, execute, language_feeds, verify
from prunec.passes.ir.run import next_cache
from prunec.passes.surgery import SelectExperts, cut_program
from support.architectures import architecture_program
from support.configs.decoders import DECODERS
from support.configs.experts import EXPERT_DECODERS
from support.oracle import relative_error
from support.required import marked

ROUNDING = 1e-9  # float64
MIXTURES = ("mixtral", "qwen3-moe", "granitemoe", "olmoe", "gpt-oss")
REFUSED = {"openai-gpt": "no cache", "phimoe": "no matrix product sums over it"}
REFUSED |= dict.fromkeys(MIXTURES, "expert-channel.* left alone")
NAMES = [*DECODERS, *EXPERT_DECODERS]
Tensors = Mapping[str, torch.Tensor]


def cut_to(program: Program, chosen: Tensors, row: int | None) -> Program:
    """The program without the units that were not chosen (by one row of the batch)."""
    coupling = find_structures(program)
    selection = {}
    for index, structure in enumerate(coupling.of_kind("ffn-channel")):
        units = chosen[f"experts.{index}.indices"]
        selection[structure.atom] = (units if row is None else units[row]).numpy()
    return cut_program(program, coupling, selection)


@pytest.mark.parametrize("per_sequence", [False, True], ids=["together", "each"])
@pytest.mark.parametrize("name", marked(NAMES))
@torch.no_grad()
def test_decode_equals_the_cut_to_the_chosen_units(name: str, per_sequence: bool) -> None:
    program = architecture_program(name)
    step = SelectExperts(multiple=2, per_sequence=per_sequence)
    if name in REFUSED:
        with pytest.raises(PassError, match=REFUSED[name]):
            step.apply(program, Context())
        return
    after = step.apply(program, Context())
    verify(after, program)
    prefill, decode = after.entries[PREFILL], after.entries[DECODE]
    tokens = torch.randint(3, 60, (2, 11), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(tokens)
    mask[0, :2] = 0
    feeds = language_feeds(prefill, tokens[:, :8], mask[:, :8])
    given, whole = execute(after, feeds, prefill), execute(program, feeds)
    for port in program.main.outputs:
        assert torch.equal(given[port.name], whole[port.name])
    experts = {p.name: given[p.name] for p in decode.ports(Role.EXPERTS)[0]}
    cache = next_cache(prefill, given)
    found = execute(after, language_feeds(decode, tokens[:, 8:], mask, cache | experts), decode)
    for row in range(2):
        cut = cut_to(program, given, row if per_sequence else None)
        expected = execute(cut, language_feeds(cut.main, tokens[:, 8:], mask, cache))
        for port in decode.outputs:
            error = relative_error(found[port.name][row], expected[port.name][row])
            assert error < ROUNDING, port.name
