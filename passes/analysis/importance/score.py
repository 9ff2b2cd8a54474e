"""Score the units of a program's structures."""

from __future__ import annotations

from dataclasses import dataclass

from prunec.passes.analysis.coupling import Coupling, find_structures
from prunec.passes.analysis.importance.activation import Activation
from prunec.passes.analysis.importance.block_influence import BlockInfluence
from prunec.passes.analysis.importance.flap import Flap
from prunec.passes.analysis.importance.leverage import Leverage
from prunec.passes.analysis.importance.magnitude import Magnitude
from prunec.passes.analysis.importance.obs import ObsLoss
from prunec.passes.analysis.importance.obs_fisher import ObsFisher
from prunec.passes.analysis.importance.obs_greedy import ObsGreedy
from prunec.passes.analysis.importance.saap import Saap
from prunec.passes.analysis.importance.scores import Criterion, Scores
from prunec.passes.analysis.importance.stored import scored_once
from prunec.passes.analysis.importance.taylor import Taylor
from prunec.passes.analysis.importance.taylor_mixed import TaylorMixed
from prunec.passes.analysis.importance.taylor_second import TaylorSecond
from prunec.passes.analysis.importance.taylor_vector import TaylorVector
from prunec.passes.analysis.importance.wanda import Wanda
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Program

_ALL: tuple[type[Criterion], ...] = (
    Magnitude,
    Activation,
    Wanda,
    Flap,
    Leverage,
    ObsLoss,
    ObsGreedy,
    ObsFisher,
    Taylor,
    TaylorSecond,
    TaylorMixed,
    TaylorVector,
    Saap,
    BlockInfluence,
)
CRITERIA: dict[str, type[Criterion]] = {criterion.name: criterion for criterion in _ALL}


@dataclass(frozen=True)
class Score(Pass):
    """Score every unit of the named kinds of structures.

    Several in a row add up: each kind may have a criterion of its own. Where the run has a cache,
    scores are stored there under a digest of all that they depend on.

    Changes: nothing; the scores are left in ``context.scores``.
    Keeps: the program, as the same object.

    Raises:
        PassError: no structure of these kinds, or the criterion lacks what it measures on.
    """

    name = "score"
    is_exact = True
    source = "each criterion names its own"

    criterion: str = "activation"
    kinds: tuple[str, ...] = ("kv-group", "head", "ffn-channel")
    inputs: str = "dense"
    """What the layers are given while they are measured: ``dense``, those of the whole model."""

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion={self.criterion!r}: choose one of {sorted(CRITERIA)}")
        if self.inputs != "dense":
            raise ValueError(f"inputs={self.inputs!r}: only dense inputs are measured")
        if CRITERIA[self.criterion].scores_branches:
            if self.kinds != ("layer",):
                raise ValueError(f"criterion={self.criterion} scores kinds=layer and no other")
        elif "layer" in self.kinds:
            able = [name for name, found in CRITERIA.items() if found.scores_branches]
            raise ValueError(f"kinds: a layer is a whole branch; score it with criterion={able[0]}")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        coupling = context.analyse(find_structures, program)
        structures = coupling.of_kind(*self.kinds)
        if not structures:
            there = sorted({s.kind for s in coupling.structures})
            raise PassError(f"no structure of the kinds {self.kinds}; this program has {there}")
        criterion = CRITERIA[self.criterion]()
        scores = scored_once(
            program,
            (self.criterion, *sorted(self.kinds), self.inputs),
            context,
            lambda: criterion.score(program, coupling, structures, context),
        )
        context.scores = _added(context.scores, scores, coupling)
        return program


def _added(before: Scores | None, scores: Scores, coupling: Coupling) -> Scores:
    """Earlier scores of structures that are still as they were, and these over them."""
    sizes = {s.name: s.size for s in coupling.structures}
    earlier = before.by_structure.items() if before is not None else ()
    valid = {n: s for n, s in earlier if sizes.get(n) == len(s) and n not in scores.by_structure}
    if before is None or not valid:
        return scores
    moves = {n: f for n, f in (before.fluctuation or {}).items() if n in valid}
    moves |= scores.fluctuation or {}
    return Scores(
        f"{before.criterion} + {scores.criterion}",
        {**valid, **scores.by_structure},
        moves or None,
    )
