"""Memory goes from a prompt to the next, and never to two at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prunec.backends.ort.experts_memory import Experts, ExpertsMemory


class Holder:
    """Anything that can be held and dropped."""


def fresh(batch: int) -> Mapping[str, Any]:
    return {"up": [batch]}


def test_what_a_dropped_holder_had_is_lent_again() -> None:
    memory = ExpertsMemory(fresh)
    holder = Holder()
    first = memory.lend(2, holder)
    del holder
    assert memory.lend(2, Holder()) is first


def test_what_is_held_is_not_lent_again() -> None:
    memory = ExpertsMemory(fresh)
    holders = Holder(), Holder()
    assert memory.lend(2, holders[0]) is not memory.lend(2, holders[1])


def test_another_batch_gets_memory_of_its_own_size() -> None:
    memory = ExpertsMemory(fresh)
    memory.lend(2, Holder())
    assert memory.lend(3, Holder()) == {"up": [3]}


def test_a_closed_memory_keeps_nothing() -> None:
    memory = ExpertsMemory(fresh)
    holder = Holder()
    first = memory.lend(2, holder)
    memory.close()
    del holder
    assert memory.lend(2, Holder()) is not first


def test_experts_are_gathered_once_and_only_when_one_is_read() -> None:
    gathered: list[Experts] = []

    def gather(holder: Experts) -> Mapping[str, Any]:
        gathered.append(holder)
        return {"up": 1, "down": 2}

    experts = Experts(["up", "down"], gather)
    assert (len(experts), list(experts), gathered) == (2, ["up", "down"], [])
    assert {**experts} == {"up": 1, "down": 2}
    assert gathered == [experts]
