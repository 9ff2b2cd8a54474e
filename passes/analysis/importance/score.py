"""Score the units of a program's structures."""

from __future__ import annotations

from dataclasses import dataclass

from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.analysis.importance.activation import Activation, Wanda
from prunec.passes.analysis.importance.magnitude import Magnitude
from prunec.passes.analysis.importance.obs import ObsLoss
from prunec.passes.analysis.importance.scores import Criterion, Scores
from prunec.passes.analysis.importance.taylor import Taylor
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program

CRITERIA: dict[str, type[Criterion]] = {
    c.name: c for c in (Magnitude, Activation, Wanda, ObsLoss, Taylor)
}


@dataclass(frozen=True)
class Score(Pass):
    """Score every unit of the named kinds of structures.

    Several in a row add up: each kind may have a criterion of its own.

    Changes: nothing; the scores are left in ``context.scores``.
    Keeps: the program, as the same object.

    Raises:
        PassError: no structure of these kinds, or the criterion lacks what it measures on.
    """

    name = "score"
    is_exact = True
    source = "TransAct (activation), Wanda-sp (wanda), ZipLM (obs), LLM-Pruner (taylor)"

    criterion: str = "activation"
    kinds: tuple[str, ...] = ("kv-group", "head", "ffn-channel")

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion={self.criterion!r}: choose one of {sorted(CRITERIA)}")
        if "layer" in self.kinds:
            raise ValueError("kinds: a layer is a whole branch, which no criterion of units scores")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        coupling = context.analyse(find_structures, program)
        structures = coupling.of_kind(*self.kinds)
        if not structures:
            there = sorted({s.kind for s in coupling.structures})
            raise PassError(f"no structure of the kinds {self.kinds}; this program has {there}")
        criterion = CRITERIA[self.criterion]()
        scored = criterion.score(program, coupling, structures, context)
        context.scores = _added(context.scores, Scores(self.criterion, scored), coupling)
        return program


def _added(before: Scores | None, scores: Scores, coupling: Coupling) -> Scores:
    """Earlier scores of structures that are still as they were, and these over them."""
    sizes = {s.name: s.size for s in coupling.structures}
    earlier = before.by_structure.items() if before is not None else ()
    valid = {n: s for n, s in earlier if sizes.get(n) == len(s) and n not in scores.by_structure}
    if before is None or not valid:
        return scores
    moves = {n: f for n, f in (before.fluctuation or {}).items() if n in valid}
    return Scores(
        f"{before.criterion} + {scores.criterion}",
        {**valid, **scores.by_structure},
        {**moves, **(scores.fluctuation or {})} or None,
    )
