"""Models that read a text whole: classifiers of texts and tokens, masked models, encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, final

import torch

from prunec.backends.measure import likeness
from prunec.backends.tensorrt import Profile, program_profiles
from prunec.backends.torch import TorchWholeRunner
from prunec.driver.formats import format_rate
from prunec.driver.recipe import EngineSection, EvaluateSection, Recipe
from prunec.driver.tasks.task import Check, Figure, Task, TaskError
from prunec.driver.whole_laws import padding_law
from prunec.frontend.calibration import Author, CalibrationSpec
from prunec.frontend.calibration.spec import SELF
from prunec.passes.ir import Program

_UNLIMITED = 10**9
_PER = {"text": "texts", "token": "tokens"}


@final
class WholeText(Task):
    """See the module."""

    name: ClassVar[str] = "whole-text"
    onnx: ClassVar[str] = "ONNX and the tokenizer"

    def text_specs(self, recipe: Recipe) -> tuple[CalibrationSpec, CalibrationSpec]:
        """See `Task.text_specs`; windows begin and end as the tokenizer marks a text."""
        section, measured = recipe.calibration, recipe.evaluate
        if section.source == SELF:
            raise TaskError(
                "calibration.source is self, and this model writes no text: set [calibration] "
                'source = "FILE", a text or .jsonl file of texts like those that it will read, or '
                "datasets:ID"
            )
        calibration = CalibrationSpec(
            section.source,
            section.windows,
            section.window_tokens,
            every=section.every,
            seed=section.seed,
            with_special_tokens=True,
        )
        if measured.text is None:
            return calibration, calibration.held_out(measured.windows, measured.window_tokens)
        held_out = replace(
            calibration,
            source=str(measured.text),
            window_count=measured.windows,
            window_tokens=measured.window_tokens,
            every=1,
        )
        return calibration, held_out

    def require_windows(self, recipe: Recipe, config: Any, tokenizer: Any) -> None:
        """See `Task.require_windows`."""
        positions = getattr(config.get_text_config(), "max_position_embeddings", None)
        limit = longest_text([positions], tokenizer)
        for name in ("calibration", "evaluate"):
            wanted = getattr(recipe, name).window_tokens
            if limit is not None and wanted > limit:
                raise TaskError(
                    f"{name}.window_tokens is {wanted} and the model reads {limit} tokens: set it "
                    f"to {limit} at most, best to the length of the texts that it will read"
                )

    def author(self, dense: Program) -> Author | None:
        """None: it writes nothing."""
        return None

    def profiles(self, section: EngineSection, program: Program) -> tuple[Profile, ...]:
        """See `Task.profiles`; never longer texts than the model has positions for."""
        positions = program.origin.get("max_position_embeddings")
        longest = min(section.max_tokens, positions or section.max_tokens)
        return program_profiles(
            program.main.inputs, batch_size=section.max_batch, new_tokens=longest
        )

    def compare(
        self, dense: Program, pruned: Program, windows: torch.Tensor, **options: Any
    ) -> dict[str, Any]:
        """See `Task.compare`."""
        runners = TorchWholeRunner(dense), TorchWholeRunner(pruned)
        return likeness(*runners, windows, **options).to_json()

    def answers(
        self, dense: Program, pruned: Program, tokenizer: Any, section: EvaluateSection
    ) -> list[dict[str, str]]:
        """None: it writes nothing."""
        return []

    def figures(self, quality: Mapping[str, Any]) -> Sequence[Figure]:
        """See `Task.figures`."""
        several = len(quality["outputs"]) > 1
        return [
            figure
            for output in quality["outputs"]
            for figure in _figures(output, f" ({output['name']})" if several else "")
        ]

    def tell(self, quality: Mapping[str, Any]) -> str:
        """See `Task.tell`."""
        return " ".join(map(_sentence, quality["outputs"]))

    def method(self, quality: Mapping[str, Any]) -> str:
        """See `Task.method`."""
        return (
            "Each window is one text, with the tokenizer's special tokens and without padding; "
            "distributions are compared as the dense and the pruned model give them, without "
            "labels."
        )

    def next_steps(self, folder: Path, reference: str) -> Iterator[dict[str, str]]:
        """See `Task.next_steps`."""
        yield {
            "what": "Measure agreement on a text of yours",
            "command": f"prunec eval {folder} --text FILE --against {reference}",
        }
        yield {
            "what": "Measure speed beside the uncut model in PyTorch",
            "command": f"prunec bench {folder} --against {reference}",
        }

    def checks(self, program: Program, onnx: Path | None) -> Iterator[Check]:
        """See `Task.checks`."""
        if onnx is not None:
            yield "ONNX computes what torch computes", partial(padding_law, program, onnx)


def longest_text(positions: Sequence[int | None], tokenizer: Any) -> int | None:
    """How many tokens models can read, special ones among them; None if nothing tells.

    Args:
        positions: Of their configurations; some of them may be for other ends.
        tokenizer: Of transformers; its limit is a huge number where it knows none.
    """
    given = [*positions, getattr(tokenizer, "model_max_length", None)]
    known = [n for n in given if n is not None]
    limit = min(known, default=_UNLIMITED)
    return limit if limit < _UNLIMITED else None


def _figures(output: Mapping[str, Any], which: str) -> Iterator[Figure]:
    per = output["per"]
    if output["kl_nats"] is not None:
        kl, same = output["kl_nats"], output["top1_agreement"]
        yield Figure(
            f"KL divergence to dense{which}", "", f"{kl:.3f}", "nats", f"nats per {per}, to dense"
        )
        yield Figure(
            f"Top-1 agreement with dense{which}",
            "",
            format_rate(same),
            f"of {_PER[per]}",
            f"of {_PER[per]} have the same likeliest class",
            same,
        )
        return
    for label, key, note in (
        ("Relative error", "relative_error", "norm of the difference over that of dense"),
        ("Cosine to dense", "cosine", f"mean over {_PER[per]}"),
        ("Correlation with dense", "correlation", f"over {_PER[per]}"),
    ):
        if output[key] is not None:
            yield Figure(f"{label}{which}", "", f"{output[key]:.3f}", "", note)


def _sentence(output: Mapping[str, Any]) -> str:
    name, texts = output["name"], _PER[output["per"]]
    if output["kl_nats"] is not None:
        same = format_rate(output["top1_agreement"])
        return f"By {name}, both models find the same class likeliest for {same} of {texts}."
    if output["relative_error"] is None:
        return f"The dense model's {name} is all zero."
    error = format_rate(output["relative_error"])
    return f"The error of {name} is {error} of its norm."
