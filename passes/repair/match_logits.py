"""Train what is left of the last layers so that the next token's distribution is the dense one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.fx import Node
from torch.nn import functional as F

from prunec.passes.analysis.coupling import find_structures
from prunec.passes.contract import Context, Pass, PassError
from prunec.passes.ir import Entry, Program, Role, language_feeds
from prunec.passes.ir.staged import StagedRun
from prunec.passes.repair.training import Loss, Training, require_options
from prunec.passes.repair.windows import Window, last_window, window_between


@dataclass(frozen=True)
class MatchLogits(Pass):
    """Train the last residual branches towards the logits of the dense program.

    The window of the last `span` branches (attention and feed-forward of a layer are two) is
    given what the layers before it make of the calibration text. The loss is KL(dense ‖ cut) of
    the next token's distribution, averaged over the tokens; it comes back through the final norm
    and the head, which stay as they are. An error of the stream that the head does not see costs
    nothing here, and one that turns the prediction costs most: that is what `reconstruct`, which
    aims at the stream, cannot tell apart. Put it after that.

    In memory are one window's activations, the streams of the text, and logits of one step.

    Changes: the values of the weights that these branches alone read.
    Keeps: every shape; every other weight.

    Raises:
        PassError: nothing was cut before, no calibration text, no residual stream, no logits, or
            a loss that is not finite.
    """

    name = "match-logits"
    source = "Hinton et al. 2015, arXiv 1503.02531, at temperature 1, on a window as reconstruct's"

    epochs: int = 3
    learning_rate: float = 0.0005
    batch: int = 1
    """Texts a step."""
    span: int = 8
    """Residual branches that are trained."""
    minutes: float = 10.0
    """After so many no further epoch begins."""
    precision: str = "auto"
    """Of products while training, as for ``reconstruct``."""

    def __post_init__(self) -> None:
        require_options(
            at_least_one={"epochs": self.epochs, "batch": self.batch, "span": self.span},
            above_zero={"learning_rate": self.learning_rate, "minutes": self.minutes},
            precision=self.precision,
        )

    def apply(self, program: Program, context: Context) -> Program:
        """See the class."""
        teacher = context.require_teacher(program, self.name)
        texts = context.require_calibration(self.name).split(self.batch)
        branches = last_window(program, context.analyse(find_structures, program), self.span)
        ends = last_window(teacher, context.analyse(find_structures, teacher), 1)
        if branches is None or ends is None:
            raise PassError("the program has no residual stream, so no last layers; use refit")
        window = window_between(program.main, branches.stream, _logits(program.main))
        head = window_between(teacher.main, ends.result, _logits(teacher.main))
        given = _streams(program, window, texts, context, "Cut streams")
        aims = _streams(teacher, head, texts, context, "Dense streams")
        training = Training(self.epochs, self.learning_rate, context.seed, self.precision)

        def watch(order: Sequence[int]) -> Iterable[int]:
            return context.progress(order, "Match logits", len(order))

        trained, is_whole = training.train(
            window,
            program.weights,
            [name for name in branches.own_weights() if name not in program.buffers],
            list(zip(given, aims, strict=True)),
            _cross_entropy(head, teacher),
            60 * self.minutes,
            watch,
        )
        if not is_whole:
            context.notice(
                f"match-logits: {self.minutes:g} minutes were over before {self.epochs} epochs, "
                "how many there were depends on this machine"
            )
        return context.repaired(program, program.with_weights(trained))


def _logits(entry: Entry) -> Node:
    """The node that computes the logits."""
    found = [
        node
        for node, port in zip(entry.output_nodes(), entry.outputs, strict=True)
        if port.role is Role.LOGITS
    ]
    if len(found) != 1:
        raise PassError(f"match-logits needs one output of logits, and there are {len(found)}")
    return found[0]


@torch.no_grad()
def _streams(
    program: Program,
    window: Window,
    texts: Sequence[torch.Tensor],
    context: Context,
    title: str,
) -> list[dict[Node, torch.Tensor]]:
    """What a window is given for each text."""
    feeds = [language_feeds(program.main, text) for text in texts]
    start = window.nodes[0].name
    run = StagedRun(program, program.main, feeds, [start, window.result.name])
    result = []
    for place in context.progress(range(len(feeds)), title, len(feeds)):
        run.advance(start, place)
        result.append({node: run.read(node, place) for node in window.given})
    return result


def _cross_entropy(head: Window, teacher: Program) -> Loss:
    """The cross entropy of a token on average, the aim being what the dense head is given.

    It is KL(dense ‖ cut) plus the entropy of the dense distribution, which no weight moves.
    """

    def loss(found: torch.Tensor, aim: dict[Node, torch.Tensor]) -> torch.Tensor:
        with torch.no_grad():
            wanted = head.run(aim, teacher.weights)
        wide = torch.promote_types(wanted.dtype, torch.float32)
        ours, theirs = (x.to(wide).flatten(0, -2) for x in (found, wanted))
        return F.cross_entropy(ours, theirs.softmax(-1))

    return loss
