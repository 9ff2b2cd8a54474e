"""The entry point that runs the whole model, chooses units, and hands them to decode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from prunec.passes.contract import PassError
from prunec.passes.ir import Entry, Port, Program, Role, propagate
from prunec.passes.ir.shapes import example_size
from prunec.passes.surgery.select_experts.choice import Choice
from prunec.passes.surgery.select_experts.gather import gather, gather_each
from prunec.passes.surgery.select_experts.groups import Group, Part, part_shape
from prunec.passes.surgery.select_experts.statistic import (
    energy_shares,
    score_each,
    score_together,
)
from prunec.passes.surgery.select_experts.summing import Summing, SummingSite, as_gathered
from prunec.passes.surgery.select_experts.writer import GraphWriter

aten = torch.ops.aten


def prefill_entry(
    program: Program,
    groups: Sequence[Group],
    choices: Sequence[Choice],
    *,
    per_sequence: bool,
    summing: Summing = as_gathered,
) -> tuple[Entry, Mapping[str, torch.Tensor]]:
    """Append to the only entry point what chooses and gathers.

    Args:
        program: With one entry point that takes tokens.
        groups: Whose units to choose.
        choices: How, for each group.
        per_sequence: Whether every row of the batch has units of its own.
        summing: Repairs the gathered matrix.

    Returns:
        The entry point, and the constants that it reads besides the program's weights.

    Raises:
        PassError: what a group sums over is not one vector for each token.
    """
    writer = GraphWriter(program.main)
    tokens = writer.input(Role.TOKENS)
    assert tokens is not None, "the caller looked"
    with writer.at_start():
        sizes = (writer.size(tokens, 0), writer.size(tokens, 1))
        real = _real_tokens(writer, tokens, sizes[1])
    outputs: list[tuple[Port, torch.Tensor]] = []
    for group, choice in zip(groups, choices, strict=True):
        site = _GroupSite(writer, group, real, sizes, per_sequence)
        with writer.after([r.node.name for part in group.summing for r in part.readers]):
            indices = site.choose(choice)
            outputs.append((site.indices_port(), indices))
            outputs += [
                (
                    site.part_port(part, program),
                    site.narrow(part, indices, summing),
                )
                for part in group.parts
            ]
    entry = writer.finish(outputs)
    propagate(entry, {**program.weights, **writer.constants})
    return entry, writer.constants


def _real_tokens(writer: GraphWriter, tokens: Node, new: torch.Tensor) -> torch.Tensor:
    """[batch, token], float32: 1 for the new tokens that are no padding."""
    mask = writer.input(Role.MASK)
    if mask is None:
        return aten.ones_like.default(writer.proxy(tokens), dtype=torch.float32)
    start = writer.size(mask, 1) - new
    found = aten.slice.Tensor(writer.proxy(mask), 1, start, torch.iinfo(torch.int64).max)
    return aten._to_copy.default(found, dtype=torch.float32)


@dataclass(frozen=True)
class _GroupSite:
    """One group while its nodes are written."""

    writer: GraphWriter
    group: Group
    real: torch.Tensor
    sizes: tuple[torch.Tensor, torch.Tensor]
    per_sequence: bool

    def choose(self, choice: Choice) -> torch.Tensor:
        """The chosen units: [count] or [batch, count]."""
        if choice.fixed is not None:
            # They are sorted already; but the lowering wants outputs that something computes.
            return aten.sort.default(self.constant("choice", choice.fixed))[0]
        shares: torch.Tensor | None = None
        for part in self.group.summing:
            table = self.table(part)
            for activations in self.activations(part):
                one = energy_shares(activations, self.real)
                one = part.positions.sum_over_units(one, table)
                shares = one if shares is None else aten.add.Tensor(shares, one)
        assert shares is not None, "a group has something that sums over it"
        scores = score_each(shares) if self.per_sequence else score_together(shares, self.real)
        return choice.by_scores(scores, self.group.count, self.constant)

    def narrow(self, part: Part, indices: torch.Tensor, summing: Summing) -> torch.Tensor:
        """What is chosen of a weight, as decode reads it."""
        weight, table, count = self.writer.weight(part.weight), self.table(part), self.group.count
        if self.per_sequence:
            positions = part.positions.of_each(indices, table, count)
            gathered = gather_each(weight, part, positions, count)
        else:
            positions = part.positions.of(indices, table)
            gathered = gather(weight, part, positions)
        if not part.sums_units:
            return gathered
        return summing(
            SummingSite(
                part=part,
                activations=tuple(self.activations(part)),
                returned=tuple(self.returned(part)),
                real=self.real,
                tokens=self.sizes[1],
                positions=positions,
                width=count * part.positions.per_unit,
                per_sequence=self.per_sequence,
                gathered=gathered,
                constant=self.constant,
            )
        )

    def activations(self, part: Part) -> list[torch.Tensor]:
        """What a part's contractions are given, each once: [batch, token, in]."""
        return [self._by_token(r.node.args[r.operand]) for r in part.inputs]

    def returned(self, part: Part) -> list[torch.Tensor]:
        """What the same contractions return without a bias: [batch, token, out]."""
        found = []
        for reader in part.inputs:
            value = self._by_token(reader.node)
            bias = reader.bias
            found.append(value if bias is None else aten.sub.Tensor(value, self.writer.proxy(bias)))
        return found

    def _by_token(self, node: Any) -> torch.Tensor:
        shape = [example_size(s) for s in node.meta["val"].shape]
        batch, new = (example_size(self.writer.value(size)) for size in self.sizes)
        value = self.writer.proxy(node)
        if shape[:-1] == [batch, new]:
            return value
        if shape[:-1] == [batch * new]:
            return aten.reshape.default(value, [*self.sizes, shape[-1]])
        raise PassError(
            f"{self.group.structure.name}: node {node.name} is not one vector for each token but "
            f"{tuple(node.meta['val'].shape)}, so tokens cannot vote for units"
        )

    def table(self, part: Part) -> torch.Tensor:
        """The constant that says where units lie in a part; read only where it is needed."""
        if part.positions.is_identity:
            return part.positions.table
        return self.writer.constant("experts.positions", part.positions.table)

    def constant(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A constant of this group."""
        return self.writer.constant(f"experts.{self.group.index}.{name}", tensor)

    def indices_port(self) -> Port:
        """The output that says what was chosen."""
        shape = (*self._leading(), self.group.count)
        return Port(self.group.indices_port, Role.EXPERTS, shape, torch.int64)

    def part_port(self, part: Part, program: Program) -> Port:
        """The output, and decode's input, that holds what was chosen of a weight."""
        return part_port(part, program, self.group.count, self._leading())

    def _leading(self) -> tuple[int | str, ...]:
        return self.writer.batch_labels() if self.per_sequence else ()


def part_port(part: Part, program: Program, count: int, leading: tuple[int | str, ...]) -> Port:
    """The port that holds what was chosen of a weight.

    Args:
        part: The weight.
        program: Has it whole.
        count: How many units are chosen.
        leading: The batch's size where every row has its own.
    """
    weight = program.weights[part.weight]
    shape = part_shape(part, weight, count)
    if leading and not part.is_matrix:
        shape = (1, *shape)
    return Port(part.port, Role.EXPERTS, (*leading, *shape), weight.dtype)
