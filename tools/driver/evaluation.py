"""Measure the quality of one model, or of two on the same text and questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from prunec.backends.measure import (
    Agreement,
    Perplexity,
    Question,
    accuracy,
    compare_accuracy,
    perplexity,
    split_perplexity,
)
from prunec.driver.artefact import Artefact, ArtefactError
from prunec.driver.formats import format_rate
from prunec.driver.quality import compare_quality, half_of
from prunec.driver.terminal import Terminal, new_table
from prunec.driver.whole_evaluation import require_alike
from prunec.frontend.calibration import CalibrationSpec, calibration_tokens


def require_same_vocabulary(model: Artefact, against: Artefact) -> None:
    """Check that two models can be compared token by token, or output by output.

    Raises:
        ArtefactError: their vocabularies differ in size, or what they return does.
    """
    if model.reads_whole:
        require_alike(model, against)
        return
    sizes = model.runner.vocabulary, against.runner.vocabulary
    if sizes[0] != sizes[1]:
        raise ArtefactError(
            f"{model.reference} has {sizes[0]} tokens in its vocabulary and {against.reference} "
            f"has {sizes[1]}: only models of one tokenizer can be compared"
        )


def measure_text(
    model: Artefact, against: Artefact | None, spec: CalibrationSpec, terminal: Terminal
) -> Perplexity | Agreement:
    """Perplexity on a text; with another model, both perplexities and how far they agree.

    For models that write; see `prunec.driver.whole_evaluation` for others.

    Where a prompt chooses in either, the first half of each window is one and does not count.

    Raises:
        CalibrationError: the text is missing or too short.
    """
    found = calibration_tokens(spec, model.load_tokenizer(), progress=terminal.progress)
    options: dict[str, Any] = {"text": found.description, "progress": terminal.progress}
    with terminal.stage(f"Measure on {spec.source}"):
        if against is not None:
            after_prompt = model.has_choice or against.has_choice
            return compare_quality(
                against.runner, model.runner, found.tokens, after_prompt=after_prompt, **options
            )
        if model.has_choice:
            prompt = half_of(found.tokens)
            return split_perplexity(model.runner, found.tokens, prompt_tokens=prompt, **options)
        return perplexity(model.runner, found.tokens, **options)


def measure_choices(
    model: Artefact,
    against: Artefact | None,
    questions: Mapping[str, Sequence[Question]],
    terminal: Terminal,
) -> dict[str, dict[str, Any]]:
    """Accuracy on each task; with another model, its accuracy and the paired difference.

    A question and its answer are one step, so a model whose prompt chooses answers as a whole.
    """
    for one in (model, against):
        if one is not None and one.has_choice:
            terminal.say(
                f"  {one.reference} reads question and answer as one prompt: this is the accuracy "
                "of the whole model, not of what it decodes with"
            )
    tokenizer = model.load_tokenizer()
    results: dict[str, dict[str, Any]] = {}
    for name, asked in questions.items():
        with terminal.stage(f"Answer {len(asked)} questions of {name}"):
            found = accuracy(model.runner, tokenizer, asked, progress=terminal.progress)
            results[name] = found.to_json()
            if against is None:
                continue
            other = accuracy(against.runner, tokenizer, asked, progress=terminal.progress)
            results[name]["against"] = other.to_json()
            for key, normalised in (("acc", False), ("acc_norm", True)):
                paired = compare_accuracy(found, other, normalised=normalised)
                results[name][f"{key}_difference"] = paired.difference
                results[name][f"{key}_difference_stderr"] = paired.stderr
    return results


def tabulate_text(found: Perplexity | Agreement) -> Table:
    """The result of `measure_text` for people."""
    title = f"{found.windows} windows, {found.tokens} predicted tokens of {found.text['source']}"
    if found.prompt_tokens > 1:
        title += f", after prompts of {found.prompt_tokens}"
    if not isinstance(found, Agreement):
        table = new_table(title, "", f">{found.runner}")
        table.add_row("Perplexity", f"{found.perplexity:.3f}")
        return table
    table = new_table(title, "", ">model", ">against")
    table.add_row("Perplexity", f"{found.other_perplexity:.3f}", f"{found.dense_perplexity:.3f}")
    table.add_row("KL divergence, nats", f"{found.kl_nats:.4f}", "")
    table.add_row("Top-1 agreement", format_rate(found.top1_agreement), "")
    return table


def tabulate_choices(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The results of `measure_choices` for people: percent, with standard errors."""
    is_paired = any("against" in found for found in results.values())
    columns = [">against", ">difference"] if is_paired else []
    table = new_table("Multiple choice", "task", ">questions", "measure", ">model", *columns)
    for name, found in results.items():
        for key in ("acc", "acc_norm"):
            row = [name, str(len(found["answers"])), key, _rate(found, key)]
            if is_paired:
                row += [_rate(found["against"], key), _rate(found, f"{key}_difference")]
            table.add_row(*row)
    return table


def _rate(found: Mapping[str, Any], key: str) -> str:
    """A rate in percent, with its standard error where it has one."""
    error = found[f"{key}_stderr"]
    return f"{100 * found[key]:.1f}" + (f" +- {100 * error:.1f}" if error is not None else "")
