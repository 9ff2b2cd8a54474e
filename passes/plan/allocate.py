"""Decide which units each structure gives up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from prunec.passes.analysis.bill import Bill
from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.analysis.importance.scores import Scores
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program
from prunec.passes.plan.allocation import METHODS, Method
from prunec.passes.plan.allocation.rates import coarse_to_fine
from prunec.passes.plan.budget import OPTIONS, make_budgets
from prunec.passes.plan.limits import LimitRules
from prunec.passes.plan.numbers import parse_numbers
from prunec.passes.plan.plan import Cut, Plan
from prunec.passes.plan.problem import Problem, Step
from prunec.passes.plan.reachable import require_reachable

_DEFAULT_KEEP = 0.75


@dataclass(frozen=True)
class Allocate(Pass):
    """Plan which units go, so that every budget holds, exact to one unit.

    Budgets are shares of what is there, and all that are named hold together: ``keep`` (block
    parameters), ``parameters`` (all of them), ``weight_bytes``, ``flops`` (operations per token,
    or per image) and ``kv_bytes`` (per token). Where none is named, ``keep=0.75``. Sizes are
    those that the cut program will have, whatever overlaps.

    ``method`` shares the budget: ``uniform`` (every layer alike), ``global`` (units of all layers
    compete by ``standardise``d scores), ``block-influence`` (layers that change the stream less
    give more; reads scores of the kind ``layer``), ``stability`` (importance less ``eta`` times
    its fluctuation over the text).

    Changes: nothing; the plan is left in ``context.plan``.
    Keeps: the program, as the same object.

    Raises:
        PassError: no scores, no structure of a named kind, or budgets that the limits forbid.
    """

    name = "allocate"
    is_exact = True
    source = "FLAP (global), MoDeGPT (block-influence), SAAP (stability)"

    keep: float | None = None
    """Share of the block parameters that stays."""
    kinds: tuple[str, ...] = ("kv-group", "head", "ffn-channel", "expert-channel")
    multiple: int = 8
    """Of the smallest units a multiple of this many stays: odd widths waste kernel tiles."""
    floor: float = 0.1
    """Share of its units that every structure keeps at least, and one unit."""
    method: str = "uniform"
    parameters: float | None = None
    """Share of all parameters that stays."""
    weight_bytes: float | None = None
    """Share of the bytes of all weights that stays."""
    flops: float | None = None
    """Share of the operations that stays: `Cost.flops_per_token` says which are counted."""
    kv_bytes: float | None = None
    """Share of the cache bytes per token that stays."""
    ceiling: float = 1.0
    """Share of its units that every structure keeps at most."""
    floors: tuple[str, ...] = ()
    """Floors of some kinds or structures, as in ``kv-group=0.5``."""
    ceilings: tuple[str, ...] = ()
    """Ceilings of some kinds or structures."""
    multiples: tuple[str, ...] = ()
    """Multiples of some kinds or structures, as in ``ffn-channel=64``."""
    protect: tuple[str | int, ...] = ()
    """Layers along the residual stream (``0`` the first, ``-1`` the last), kinds, names or patterns
    of names that stay whole."""
    standardise: str = "z-score"
    """For ``global``: ``z-score``, ``mean``, ``rank``, or ``none`` for losses in one unit."""
    kind_weights: tuple[str, ...] = ()
    """For ``global``: factors on the scores of some kinds, as in ``kv-group=2``."""
    temperature: float = 0.1
    """For ``block-influence``: small values make the rates differ more."""
    eta: float = 0.5
    """For ``stability``: the weight of fluctuation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "protect", tuple(map(str, self.protect)))
        for option, share in self._shares().items():
            if not 0 < share <= 1:
                raise ValueError(f"{option}={share} is not above 0 and at most 1")
        if self.multiple < 1 or not 0 <= self.floor <= 1 or not 0 < self.ceiling <= 1:
            raise ValueError("multiple is at least 1, floor lies in 0..1, ceiling above 0 and to 1")
        if self.floor > self.ceiling:
            raise ValueError(f"floor={self.floor} is above ceiling={self.ceiling}")
        _require_shares("floors", self._rules().floors)
        _require_shares("ceilings", self._rules().ceilings)
        if any(n < 1 or n % 1 for n in self._rules().multiples.values()):
            raise ValueError(f"multiples={self.multiples}: whole numbers of at least 1 are needed")
        self._method()

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        coupling = context.analyse(find_structures, program)
        problem = self._problem(program, coupling, context)
        require_reachable(problem, {f.name: getattr(self, f.name) for f in fields(self)})
        removed = self._method().choose(problem)
        cuts = tuple(
            Cut(s.name, s.kind, s.index, s.size, kept)
            for s, kept in zip(problem.structures, problem.kept(removed), strict=True)
        )
        assert context.scores is not None
        reasons = self._reasons(problem, removed, context.scores) | {"seed": context.seed}
        context.plan = Plan(cuts, program.fingerprint(), reasons)
        return program

    def _problem(self, program: Program, coupling: Coupling, context: Context) -> Problem:
        structures = coupling.of_kind(*self.kinds)
        if not structures:
            there = sorted({s.kind for s in coupling.structures})
            raise PassError(f"no structure of the kinds {self.kinds}; this program has {there}")
        if context.scores is None:
            raise PassError("nothing is scored yet: put a score pass before allocate")
        _require_scores(structures, context.scores.by_structure)
        bill = Bill(program, coupling)
        finest = coarse_to_fine(structures)[-1]
        return Problem(
            bill=bill,
            structures=tuple(structures),
            limits=tuple(self._rules().of(coupling, structures, finest, self.multiple)),
            budgets=make_budgets(
                self._shares(), bill.sizes(bill.whole), are_default=not self._named_shares()
            ),
            scores=context.scores.by_structure,
            fluctuation=context.scores.fluctuation or {},
        )

    def _shares(self) -> dict[str, float]:
        return self._named_shares() or {"keep": _DEFAULT_KEEP}

    def _named_shares(self) -> dict[str, float]:
        named = {option: getattr(self, option) for option in OPTIONS}
        return {option: share for option, share in named.items() if share is not None}

    def _rules(self) -> LimitRules:
        return LimitRules(
            self.floor,
            self.ceiling,
            parse_numbers("floors", self.floors),
            parse_numbers("ceilings", self.ceilings),
            parse_numbers("multiples", self.multiples),
            [str(what) for what in self.protect],
        )

    def _method(self) -> Method:
        """The method with its options.

        Raises:
            ValueError: there is no such method, or an option is set that it does not read.
        """
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: choose one of {sorted(METHODS)}")
        chosen = METHODS[self.method]
        reads = {field.name for field in fields(chosen)}  # type: ignore[arg-type]
        for other in METHODS.values():
            for option in fields(other):  # type: ignore[arg-type]
                if option.name not in reads and getattr(self, option.name) != option.default:
                    raise ValueError(f"{option.name} is an option of method={other.name}")
        return chosen(**{name: getattr(self, name) for name in reads})

    def _reasons(self, problem: Problem, removed: Sequence[Step], scores: Scores) -> dict[str, Any]:
        method = self._method()
        sizes = problem.sizes(removed)
        kept = zip(problem.structures, problem.kept(removed), strict=True)
        return {
            "criterion": scores.criterion,
            "method": self.method,
            "options": {
                f.name: _plain(getattr(method, f.name))
                for f in fields(method)  # type: ignore[arg-type]
            },
            "budgets": [budget.to_json(sizes) for budget in problem.budgets],
            "units": {s.name: [len(units), s.size] for s, units in kept},
        }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _require_shares(option: str, numbers: Mapping[str, float]) -> None:
    for what, share in numbers.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{option}: {what}={share:g} is no share in 0..1")


def _require_scores(structures: Sequence[Structure], scores: Mapping[str, torch.Tensor]) -> None:
    missing = [s.name for s in structures if s.name not in scores]
    if missing:
        raise PassError(f"{len(missing)} structures have no score, for example {missing[0]}")
    for structure in structures:
        bad = int((~torch.isfinite(scores[structure.name])).sum())
        if bad:
            raise PassError(
                f"{bad} of {structure.size} scores of {structure.name} are not finite: check the "
                "checkpoint and the calibration text"
            )
