"""The largest sizes that a trace holds for.

Where a model's code asks whether a text is longer than some number, the tracer takes the answer of
the example, and narrows the range of that size without a word. A table of so many positions narrows
it too.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch.export import ExportedProgram
from torch.utils._sympy.numbers import int_oo

from prunec.frontend.tracing.exported import fed_nodes
from prunec.passes.ir import Port


def size_limits(exported: ExportedProgram, ports: Sequence[Port]) -> dict[str, int]:
    """The labels of sizes that the trace bounded from above, with the largest size of each.

    Args:
        exported: What was traced.
        ports: Its inputs.
    """
    ranges = {str(symbol): bound for symbol, bound in exported.range_constraints.items()}
    limits: dict[str, int] = {}
    for node, port in zip(fed_nodes(exported), ports, strict=True):
        for size, label in zip(node.meta["val"].shape, port.shape, strict=True):
            bound = ranges.get(str(size))
            if isinstance(label, str) and bound is not None and bound.upper is not int_oo:
                limits[label] = int(bound.upper)
    return limits
