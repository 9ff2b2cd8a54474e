"""From the JSON of `calibration.py` to a Markdown table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def to_markdown(document: Mapping[str, Any]) -> str:
    """The table for people."""
    rows, protocol = document["rows"], document["protocol"]
    texts = protocol["texts"]
    lines = [
        "# What to calibrate on",
        "",
        f"{protocol['model']}, seed {protocol['seed']}, `{protocol['pipeline']}` on "
        f"{protocol['calibration_windows']} windows of 512 tokens of each source, the first ones "
        "or one in so many. Perplexity on windows of 1024 tokens; those of a text that is also "
        "a source come after all that any row calibrates on.",
        "",
        "| calibrated on | " + " | ".join(texts) + " | geometric mean of the ratios to dense |",
        "|---" * (2 + len(texts)) + "|",
    ]
    dense = rows["dense keep=1"]["perplexities"]
    for row in rows.values():
        found = row["perplexities"]
        cells = [f"{found[text]:.2f}" for text in texts]
        ratio = 1.0
        for text in texts:
            ratio *= (found[text] / dense[text]) ** (1 / len(texts))
        lines.append(f"| {row['name']} | " + " | ".join(cells) + f" | {ratio:.3f} |")
    counts = ", ".join(f"{name}: {text['windows']}" for name, text in texts.items())
    return "\n".join([*lines, "", f"Windows measured: {counts}."]) + "\n"
