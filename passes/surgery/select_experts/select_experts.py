"""Let the prompt choose the feed-forward units that decode reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from prunec.passes.analysis.coupling import Coupling, Structure, find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import DECODE, PREFILL, Port, Program, Role
from prunec.passes.surgery.select_experts.choice import Choice
from prunec.passes.surgery.select_experts.counts import (
    planned_counts,
    planned_units,
    require_structures,
    uniform_counts,
)
from prunec.passes.surgery.select_experts.criteria import (
    by_magnitude,
    by_plan,
    by_prompt,
    by_scores,
    column_norms,
    run_scores,
)
from prunec.passes.surgery.select_experts.decode import decode_entry
from prunec.passes.surgery.select_experts.groups import Group, find_groups
from prunec.passes.surgery.select_experts.known import known_from_text
from prunec.passes.surgery.select_experts.prefill import prefill_entry
from prunec.passes.surgery.select_experts.prior import prior_scores
from prunec.passes.surgery.select_experts.refit import RefitOnPrompt
from prunec.passes.surgery.select_experts.summing import Summing, as_gathered


@dataclass(frozen=True)
class SelectExperts(Pass):
    """Split a language model into a prefill that chooses feed-forward units and a decode with them.

    ``prefill`` is the whole model; besides its own outputs it gives the chosen part of every
    weight that carries feed-forward units (``experts.<weight>``, matrices as [out, in]) and which
    units they are (``experts.<i>.indices``). ``decode`` takes those parts as inputs in place of
    the weights. A batch shares one choice unless `per_sequence` is set. A structure that keeps
    all its units stays as it is; where all do, so does the program.

    Changes: the entry points.
    Keeps: inputs, outputs and their names in both, and every weight; adds constants.

    Raises:
        PassError: no feed-forward structure, several entry points, no tokens or no cache, no
            text, scores or plan where an option needs them, or a structure whose units cannot be
            chosen later.
    """

    name = "select-experts"
    source = "GRIFFIN (Dong et al. 2024, arXiv 2404.01365)"

    keep: float = 0.5
    """Share of the units of every structure; the paper's is 0.5."""
    multiple: int = 8
    """Of the units this many or a multiple is chosen: odd widths waste kernel tiles."""
    rates: Literal["uniform", "plan"] = "uniform"
    """``plan``: as many units of each structure as the plan of this run leaves, not `keep`."""
    choice: Literal["prompt", "magnitude", "static"] = "prompt"
    """``prompt`` is GRIFFIN's; ``magnitude`` (its baseline: product of row norms) and ``static``
    (the run's scores, or the plan's units with ``rates=plan``) choose the same for every prompt."""
    per_sequence: bool = False
    """Every row of a batch has units of its own (the paper's code runs batches of one)."""
    prior: float = 0.0
    """Weight of a unit's place on calibration text beside its place in the prompt (GLASS,
    arXiv 2508.14302); 0 reads the prompt alone."""
    prior_by: Literal["statistic", "scores"] = "statistic"
    """What places units in general: the prompt's own statistic on calibration text, or the scores
    of this run, such as those of obs-fisher. Ours."""
    column_norm: bool = False
    """Multiply scores by the norm of the unit's columns (Wanda, arXiv 2306.11695)."""
    core: float = 0.0
    """Share of the chosen units that is the same for every prompt, the best on calibration text;
    the prompt chooses the rest. Ours."""

    refit: Literal["none", "calibration", "prompt"] = "none"
    """Solve the chosen columns again at the end of every prompt, by second moments of the
    calibration text alone or mixed with the prompt's. Ours."""
    prompt_share: float = 0.3
    """Of the prompt in these moments (``refit=prompt``)."""
    ridge: float = 0.01
    """Of the refit, as a share of each chosen input's second moment."""
    rank: int = 0
    """Directions kept of the calibration text's moments, which are as large as the square of the
    units; all where 0."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep={self.keep} is not above 0 and at most 1")
        if self.multiple < 1:
            raise ValueError(f"multiple={self.multiple} is not at least 1")
        if self.ridge <= 0:
            raise ValueError(f"ridge={self.ridge} must be above 0")
        if self.rank < 0:
            raise ValueError(f"rank={self.rank} is below 0")
        for option in ("prior", "core", "prompt_share"):
            if not 0 <= getattr(self, option) <= 1:
                raise ValueError(f"{option}={getattr(self, option)} is not in 0..1")
        only_prompt = ("per_sequence", "prior", "column_norm", "core")
        unread = [option for option in only_prompt if getattr(self, option)]
        if self.choice != "prompt" and unread:
            raise ValueError(f"{', '.join(unread)}: read by choice=prompt alone")

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        tokens = _require_language_model(program)
        coupling = context.analyse(find_structures, program)
        counts = [
            (structure, count)
            for structure, count in self.counts(program, context)
            if count < structure.size
        ]
        if not counts:
            return program
        groups = find_groups(program, coupling, counts)
        leading = tokens.shape[:1] if self.per_sequence else ()
        decode = decode_entry(program, coupling, groups, leading)
        choices = self._choices(program, coupling, groups, context)
        prefill, constants = prefill_entry(
            program,
            groups,
            choices,
            per_sequence=self.per_sequence,
            summing=self._summing(program, groups, context),
        )
        return replace(
            program,
            entries={PREFILL: prefill, DECODE: decode},
            weights={**program.weights, **constants},
            buffers=program.buffers | constants.keys(),
        )

    def _summing(self, program: Program, groups: Sequence[Group], context: Context) -> Summing:
        if self.refit == "none":
            return as_gathered
        wanted_by = f"select-experts with refit={self.refit}"
        known = known_from_text(program, groups, self.rank, context, wanted_by)
        share = self.prompt_share if self.refit == "prompt" else 0.0
        return RefitOnPrompt(known, share, self.ridge)

    def counts(self, program: Program, context: Context) -> Sequence[tuple[Structure, int]]:
        """How many units of each structure are chosen; reads no weight.

        Raises:
            PassError: there is no such structure, or no plan that says it where `rates` wants one.
        """
        coupling = context.analyse(find_structures, program)
        structures = require_structures(program, coupling, context.notice)
        if self.rates == "plan":
            return planned_counts(program, coupling, structures, context.plan, self.multiple)
        return uniform_counts(structures, self.keep, self.multiple)

    def _choices(
        self, program: Program, coupling: Coupling, groups: Sequence[Group], context: Context
    ) -> list[Choice]:
        if self.choice == "magnitude":
            return by_magnitude(program, groups)
        if self.choice == "static" and self.rates == "plan":
            return by_plan(groups, planned_units(program, coupling, context.plan))
        if self.choice == "static":
            return by_scores(groups, context.scores)
        norms: Sequence[torch.Tensor | None] = [None] * len(groups)
        if self.column_norm:
            norms = [column_norms(program, group) for group in groups]
        priors: Sequence[torch.Tensor | None] = [None] * len(groups)
        if self.prior or self.core:
            priors = self._priors(program, groups, norms, context)
        return by_prompt(groups, priors, norms, prior=self.prior, core=self.core)

    def _priors(
        self,
        program: Program,
        groups: Sequence[Group],
        norms: Sequence[torch.Tensor | None],
        context: Context,
    ) -> list[torch.Tensor]:
        if self.prior_by == "scores":
            return run_scores(groups, context.scores, "prior_by=scores")
        wanted_by = f"select-experts with prior={self.prior} core={self.core}"
        found = prior_scores(program, groups, context, wanted_by)
        pairs = zip(found, norms, strict=True)
        return [known if norm is None else known * norm for known, norm in pairs]


def _require_language_model(program: Program) -> Port:
    """The input of tokens of a program with one entry point."""
    if len(program.entries) != 1:
        raise PassError(
            f"the program has the entry points {sorted(program.entries)}; units are chosen once, "
            "in a program with one"
        )
    found = program.main.ports(Role.TOKENS)[0]
    if not found:
        there = [port.name for port in program.main.inputs]
        raise PassError(f"the program takes no tokens but {there}: a prompt cannot choose for it")
    if not program.main.ports(Role.CACHE)[0]:
        raise PassError("the program has no cache: what decodes would not know its prompt")
    return found[0]
