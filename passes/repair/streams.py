"""Whether two programs have the same residual stream at the same places."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Node

from prunec.passes.contract import PassError
from prunec.passes.ir import Entry, Program
from prunec.passes.ir.shapes import static_shape
from prunec.passes.repair.windows import Window


def require_same_streams(windows: Sequence[Window], teacher: Program) -> None:
    """Check that the dense program has what every window ends with, under the same name.

    It is the same where all weights behind a window's end, of those that both programs have, are
    behind the dense program's, and those of no later window are.

    Args:
        windows: Of the program that is repaired, in graph order.
        teacher: The dense program.

    Raises:
        PassError: a window ends with something else, or with a stream of another width.
    """
    nodes = {node.name: node for node in teacher.main.graph.nodes}
    known = set(teacher.main.reads.values())
    own = [known.intersection(window.own_weights()) for window in windows]
    for place, window in enumerate(windows):
        ours, theirs = window.result, nodes.get(window.result.name)
        expected = known & _weights_behind(ours, window.entry)
        found = set() if theirs is None else _weights_behind(theirs, teacher.main)
        is_later = any(later and later <= found for later in own[place + 1 :])
        if theirs is None or not expected or not expected <= found or is_later:
            raise PassError(
                f"the dense program has no stream like that at {ours.name} to train towards: a "
                "pass rewrote the graph since. Use refit or match-logits instead"
            )
        widths = [static_shape(node)[-1] for node in (ours, theirs)]
        if widths[0] != widths[1]:
            raise PassError(
                f"the stream at {ours.name} is {widths[0]} wide and the dense one {widths[1]}, so "
                "one cannot be trained towards the other. Use refit or match-logits instead"
            )


def _weights_behind(node: Node, entry: Entry) -> set[str]:
    """The names of the weights that a value depends on."""
    seen, queue = {node}, [node]
    while queue:
        new = [n for n in queue.pop().all_input_nodes if n not in seen]
        seen.update(new)
        queue += new
    return {entry.reads[n.name] for n in seen if n.name in entry.reads}
