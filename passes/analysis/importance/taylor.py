"""Score by what the loss would change, to first order."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from prunec.passes.analysis.coupling import Coupling, Structure
from prunec.passes.analysis.importance.scores import Criterion, sum_of_weight_scores
from prunec.passes.contract import Context, PassError
from prunec.passes.ir import Program, Role, execute, language_feeds

_BATCH = 2  # windows a backward pass; activations of all layers are alive at once


class Taylor(Criterion):
    """The sum of |weight × gradient| over all weights that go with a unit.

    The gradient is that of the language-modelling loss, summed over the calibration text.
    """

    name = "taylor"
    source = "Ma et al. 2023, arXiv 2305.11627, eq. 3 (param_first)"

    def score(
        self,
        program: Program,
        coupling: Coupling,
        structures: Sequence[Structure],
        context: Context,
    ) -> dict[str, torch.Tensor]:
        """See `Criterion.score`."""
        windows = context.require_calibration("criterion=taylor")
        names = sorted({member.weight for s in structures for member in s.members})
        leaves = {n: program.weights[n].detach().clone().requires_grad_(True) for n in names}
        learning = program.with_weights(leaves)
        (logits,) = program.main.ports(Role.LOGITS)[1]
        batches = windows.split(_BATCH)
        for batch in context.progress(batches, "Gradients", len(batches)):
            outputs = execute(learning, language_feeds(program.main, batch))
            predicted = outputs[logits.name][:, :-1].flatten(0, 1).float()
            F.cross_entropy(predicted, batch[:, 1:].flatten(), reduction="sum").backward()
        products = {}
        for name, leaf in leaves.items():
            if leaf.grad is None or not torch.isfinite(leaf.grad).all():
                raise PassError(f"the loss has no finite gradient for {name}")
            products[name] = (leaf.detach() * leaf.grad).abs()
        return sum_of_weight_scores(products, coupling, structures)
