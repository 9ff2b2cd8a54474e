"""Score the units of a program's structures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.analysis.importance.activation import Activation
from prunec.passes.analysis.importance.block_influence import BlockInfluence
from prunec.passes.analysis.importance.flap import Flap
from prunec.passes.analysis.importance.leverage import Leverage
from prunec.passes.analysis.importance.magnitude import Magnitude
from prunec.passes.analysis.importance.obs import ObsLoss
from prunec.passes.analysis.importance.obs_fisher import ObsFisher
from prunec.passes.analysis.importance.obs_greedy import ObsGreedy
from prunec.passes.analysis.importance.saap import Saap
from prunec.passes.analysis.importance.scores import Criterion, InputsCriterion, Scores
from prunec.passes.analysis.importance.stored import scored_once
from prunec.passes.analysis.importance.taylor import Taylor
from prunec.passes.analysis.importance.taylor_mixed import TaylorMixed
from prunec.passes.analysis.importance.taylor_second import TaylorSecond
from prunec.passes.analysis.importance.taylor_vector import TaylorVector
from prunec.passes.analysis.importance.wanda import Wanda
from prunec.passes.analysis.masked import masked_program
from prunec.passes.contract import Context, Pass, PassError, PlanError, explained
from prunec.passes.ir import Program
from prunec.passes.ir.selection import PerUnit, Selection

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
_OF_INPUTS = sorted(found.name for found in _ALL if issubclass(found, InputsCriterion))
_INPUTS = ("dense", "pruned")


@dataclass(frozen=True)
class Score(Pass):
    """Score every unit of the named kinds of structures.

    Several in a row add up: each kind may have a criterion of its own. Where the run has a cache,
    scores are stored there under a digest of all that they depend on.

    With ``inputs=pruned`` each layer is measured on what the layers before it return without the
    units that the plan of this run removes, as in ``score,allocate,score{inputs=pruned},allocate``.
    Its own units are all there to be measured, also those that the plan removes. Statistics are
    those of one contraction at a time.

    Changes: nothing; the scores are left in ``context.scores``.
    Keeps: the program, as the same object.

    Raises:
        PassError: no structure of these kinds, the criterion lacks what it measures on, or for
            pruned inputs there is no plan, not one of this program, or one that removes units
            which not only linear layers sum over.
    """

    name = "score"
    is_exact = True
    source = "each criterion names its own"

    criterion: str = "activation"
    kinds: tuple[str, ...] = ("kv-group", "head", "ffn-channel", "expert-channel")
    inputs: str = "dense"
    """What the layers are given while they are measured: ``dense``, what the whole model gives
    them, or ``pruned``, what the plan of an allocate before leaves of that."""

    def __post_init__(self) -> None:
        if self.criterion not in CRITERIA:
            raise ValueError(f"criterion={self.criterion!r}: choose one of {sorted(CRITERIA)}")
        if self.inputs not in _INPUTS:
            raise ValueError(f"inputs={self.inputs!r}: choose one of {_INPUTS}")
        if self.inputs == "pruned" and not issubclass(CRITERIA[self.criterion], InputsCriterion):
            raise ValueError(
                f"inputs=pruned is for criteria of what layers are given, and "
                f"criterion={self.criterion} is none: choose one of {_OF_INPUTS}"
            )
        if CRITERIA[self.criterion].scores_branches:
            if self.kinds != ("layer",):
                raise ValueError(f"criterion={self.criterion} scores kinds=layer and no other")
        elif "layer" in self.kinds:
            able = [name for name, found in CRITERIA.items() if found.scores_branches]
            raise ValueError(f"kinds: a layer is a whole branch; score it with criterion={able[0]}")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        coupling = context.analyse(find_structures, program)
        structures, selection = self.subjects(program, context)
        scores = scored_once(
            program,
            (self.criterion, *sorted(self.kinds), self.inputs, *_spelled(selection, coupling)),
            context,
            lambda: self._measure(program, coupling, structures, selection, context),
        )
        context.scores = _added(context.scores, scores, coupling)
        return program

    def subjects(self, program: Program, context: Context) -> tuple[Sequence[Structure], Selection]:
        """The structures that are scored, and what is left of the layers that feed others.

        Reads no weights and no text.

        Raises:
            PassError: no structure of these kinds; for pruned inputs, no plan of this program.
        """
        coupling = context.analyse(find_structures, program)
        structures = coupling.of_kind(*self.kinds)
        if not structures:
            there = sorted({s.kind for s in coupling.structures})
            raise PassError(f"no structure of the kinds {self.kinds}; this program has {there}")
        if self.inputs == "dense":
            return structures, {}
        if context.plan is None:
            raise PassError(
                "inputs=pruned measures on what a plan leaves and this run has none yet: put "
                "score,allocate before it"
            )
        with explained(PlanError, "inputs=pruned is for the program of the plan, before its cut"):
            return structures, context.plan.selection(program, coupling)

    def _measure(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        selection: Selection,
        context: Context,
    ) -> Scores:
        criterion = CRITERIA[self.criterion]()
        if not isinstance(criterion, InputsCriterion):
            return criterion.score(program, coupling, structures, context)
        fed = masked_program(program, coupling, selection)
        return criterion.score_on(fed, program, coupling, structures, context)


def _spelled(selection: Selection, coupling: Coupling) -> list[str]:
    """A selection as text, the same for equal ones."""
    tables = {a: k.table if isinstance(k, PerUnit) else k for a, k in selection.items()}
    return [f"{s.name}={tables[s.atom].tolist()}" for s in coupling.structures if s.atom in tables]


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
