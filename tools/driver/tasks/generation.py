"""Models that write text, token by token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, final

import torch

from prunec.backends.tensorrt import Profile, language_profiles
from prunec.backends.torch import open_runner
from prunec.driver.answers import answer
from prunec.driver.formats import format_rate
from prunec.driver.generation_checks import compare_genai, compare_greedy, has_genai
from prunec.driver.quality import compare_quality
from prunec.driver.recipe import EngineSection, EvaluateSection, Recipe, text_specs
from prunec.driver.step_laws import cache_law, decode_law, lowering_law
from prunec.driver.tasks.task import Check, Figure, Task
from prunec.driver.whole_laws import padding_law
from prunec.frontend.calibration import Author, CalibrationSpec
from prunec.passes.ir import Program, Role
from prunec.passes.ir.chosen import has_choice


@final
class Generation(Task):
    """See the module."""

    name: ClassVar[str] = "generation"
    onnx: ClassVar[str] = "ONNX with its KV cache, tokenizer, and what loads it"

    def text_specs(self, recipe: Recipe) -> tuple[CalibrationSpec, CalibrationSpec]:
        """See `Task.text_specs`."""
        return text_specs(recipe)

    def require_windows(self, recipe: Recipe, config: Any, tokenizer: Any) -> None:
        """Positions of decoders are computed: any number of them can be."""

    def author(self, dense: Program) -> Author | None:
        """See `Task.author`."""
        return Author(open_runner(dense).step, dense)

    def profiles(self, section: EngineSection, program: Program) -> tuple[Profile, ...]:
        """See `Task.profiles`."""
        return language_profiles(
            batch_size=section.max_batch,
            new_tokens=section.max_tokens // 2,
            max_length=section.max_tokens,
        )

    def compare(
        self, dense: Program, pruned: Program, windows: torch.Tensor, **options: Any
    ) -> dict[str, Any]:
        """See `Task.compare`."""
        runners = open_runner(dense), open_runner(pruned)
        found = compare_quality(*runners, windows, after_prompt=has_choice(pruned), **options)
        return found.to_json()

    def answers(
        self, dense: Program, pruned: Program, tokenizer: Any, section: EvaluateSection
    ) -> list[dict[str, str]]:
        """See `Task.answers`."""
        runners = {"before": open_runner(dense), "after": open_runner(pruned)}
        return [
            {
                "prompt": prompt,
                **{
                    name: answer(runner, tokenizer, prompt, section.answer_tokens)
                    for name, runner in runners.items()
                },
            }
            for prompt in section.prompts
        ]

    def figures(self, quality: Mapping[str, Any]) -> Sequence[Figure]:
        """See `Task.figures`."""
        dense, pruned = quality["dense_perplexity"], quality["other_perplexity"]
        kl, same = quality["kl_nats"], quality["top1_agreement"]
        times = f"{pruned / dense:.2f}"
        note = f"from {dense:.2f}, {times} times"
        return (
            Figure("Perplexity", f"{dense:.2f}", f"{pruned:.2f}", f"x {times}", note),
            Figure("KL divergence to dense", "", f"{kl:.3f}", "nats", "nats per token, to dense"),
            Figure(
                "Top-1 agreement with dense",
                "",
                format_rate(same),
                "",
                "same likeliest token as dense",
                same,
            ),
        )

    def tell(self, quality: Mapping[str, Any]) -> str:
        """See `Task.tell`."""
        return (
            f"Perplexity went from {quality['dense_perplexity']:.2f} to "
            f"{quality['other_perplexity']:.2f}, and both models find the same next token "
            f"likeliest {format_rate(quality['top1_agreement'])} of the time."
        )

    def method(self, quality: Mapping[str, Any]) -> str:
        """See `Task.method`."""
        prompt = quality["prompt_tokens"]
        first = f"the first {prompt}, which are the prompt," if prompt > 1 else "the first"
        return (
            "Perplexity is the exponential of the mean negative log-likelihood of each token after "
            f"{first} of its window."
        )

    def next_steps(self, folder: Path, reference: str) -> Iterator[dict[str, str]]:
        """See `Task.next_steps`."""
        yield {
            "what": "Measure perplexity on a text of yours",
            "command": f"prunec eval {folder} --text FILE --against {reference}",
        }
        yield {
            "what": "Measure speed against the uncut model, both in ONNX Runtime",
            "command": f"prunec run dense --model {reference} && "
            f"prunec bench {folder}/onnx --against prunec-out/dense/onnx",
        }

    def checks(self, program: Program, onnx: Path | None) -> Iterator[Check]:
        """See `Task.checks`."""
        law, name = (decode_law, "decode") if has_choice(program) else (cache_law, "cache")
        yield f"{name} law in torch", partial(law, program)
        if onnx is None:
            return
        if not has_choice(program) and not program.main.ports(Role.CACHE)[0]:
            yield "ONNX computes what torch computes", partial(padding_law, program, onnx)
            return
        yield "ONNX computes what torch computes", partial(lowering_law, program, onnx)
        yield "ONNX writes what torch writes", partial(compare_greedy, program, onnx)
        if has_genai() and (onnx.parent / "genai_config.json").is_file():
            name = "onnxruntime-genai writes what torch writes"
            yield name, partial(compare_genai, program, onnx.parent)
