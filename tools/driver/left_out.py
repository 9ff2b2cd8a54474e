"""Say in a sentence what a program leaves out of the model that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def describe_left_out(origin: Mapping[str, Any]) -> str | None:
    """What a program leaves out; None where it is the whole model.

    Args:
        origin: Of the program.
    """
    inputs, parts = origin.get("inputs_left_out", ()), origin.get("left_out", ())
    if not (inputs or parts):
        return None
    found = [f"the inputs {', '.join(inputs)}"] if inputs else []
    found += [f"the parts {', '.join(parts)}, which nothing that it is given reaches"] * bool(parts)
    return f"The program leaves out of {origin.get('class')}: {'; '.join(found)}."
