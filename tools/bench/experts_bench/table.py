"""From the JSON of `experts.py` to a Markdown table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from shared.words import calibration_words


def to_markdown(document: Mapping[str, Any]) -> str:
    """The tables for people."""
    protocol, rows = document["protocol"], document["rows"]
    prompt = protocol["prompt_tokens"]
    lines = [
        "# Quality where the prompt chooses what decode reads",
        "",
        f"{protocol['model']}, seed {protocol['seed']}. Perplexity on the tokens after the first "
        f"{prompt} of each window of {protocol['text']['window_tokens']}, which are the prompt and "
        f"choose, {protocol['batch']} at a time; behind it the number of windows. Calibration on "
        f"{calibration_words(protocol['calibration'])}. Bytes are those of the weights that one "
        "decoded token reads; the prompt itself runs through the whole model.",
        "",
        "| row | perplexity | by quarters of these | windows | bytes per token | of dense | s | "
        "pipeline |",
        "|---" * 8 + "|",
        *(_quality(key, row, protocol["dense_decode_bytes"]) for key, row in rows.items()),
        "",
    ]
    return "\n".join([*lines, *_generation(rows, protocol)]) + "\n"


def _quality(key: str, row: Mapping[str, Any], dense_bytes: int) -> str:
    share = row["decode_bytes"] / dense_bytes
    quarters = ", ".join(f"{math.exp(nll):.1f}" for nll in row["quarter_nll"])
    return (
        f"| {key} | {row['perplexity']:.2f} | {quarters} | {row['windows']} | "
        f"{row['decode_bytes']:,} | "
        f"{100 * share:.1f} % | {row['seconds']:.0f} | `{row['pipeline']}` |"
    )


def _generation(rows: Mapping[str, Any], protocol: Mapping[str, Any]) -> Iterator[str]:
    """Answers beside the dense model's own, where they were measured."""
    answered = {key: row["generation"] for key, row in rows.items() if row.get("generation")}
    if not answered:
        return
    yield "Greedy answers beside the dense model's own, one prompt at a time; 100 is the same text."
    yield "Of prompts longer than the limit the start is cut." + _checks(protocol)
    yield ""
    yield (
        "| row | task | prompts | cut to limit | new tokens | ROUGE-L | F1 | equal tokens, % | "
        "same answers, % | tokens before the first other |"
    )
    yield "|---" * 10 + "|"
    for key, tasks in answered.items():
        for task, found in tasks.items():
            yield (
                f"| {key} | {task} | {found['samples']} | {found['cut_prompts']} to "
                f"{found['max_prompt_tokens']} | {found['new_tokens']} | "
                f"{_percent(found, 'rouge_l')} | {_percent(found, 'f1')} | "
                f"{_percent(found, 'token_agreement')} | {100 * found['same_answers']:.0f} | "
                f"{found['median_same_tokens']:g} |"
            )


def _checks(protocol: Mapping[str, Any]) -> str:
    """What the whole model does while an answer is written."""
    done = {"verify_every": "corrects them", "refresh_every": "chooses the units anew"}
    asked = {key: protocol.get(key) for key in done}
    return "".join(
        f" After every {count} tokens the whole model runs over them and {done[key]}."
        for key, count in asked.items()
        if count
    )


def _percent(found: Mapping[str, Any], key: str) -> str:
    error = found[f"{key}_stderr"]
    return f"{100 * found[key]:.1f}" + (f" ± {100 * error:.1f}" if error is not None else "")
