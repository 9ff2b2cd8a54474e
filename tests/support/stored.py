"""Everything that prunec stores, each with a function from what it is made of to its key."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from transformers import AutoTokenizer

from prunec.driver.job_key import job_key
from prunec.driver.recipe import load_recipe
from prunec.driver.stages import Job, Text
from prunec.frontend.calibration import Author, CalibrationSet, CalibrationSpec, calibration_tokens
from prunec.passes.analysis.importance import Scores
from prunec.passes.analysis.importance.stored import scored_once
from prunec.passes.contract import Context
from prunec.passes.ir import Program
from prunec.passes.repair.finished import FinishedWindows
from prunec.passes.repair.training import Training
from support.checkpoints import write_tokenizer
from support.models import random_tokens, small_model, small_program
from support.runners import BigramRunner, random_table

PROGRAM, TEXT = small_program(), random_tokens(2, 16)

RECIPE = """
[model]
source = "somewhere"
[calibration]
seed = {seed}
[pipeline]
passes = "{pipeline}"
[output]
folder = "out"
"""


@dataclass(frozen=True)
class Made:
    """What something stored is made of."""

    folder: Path
    program: Program = PROGRAM
    teacher: Program = PROGRAM
    text: torch.Tensor = TEXT
    option: float = 0.5
    seed: int = 0
    special: str = "<end>"
    pipeline: str = "score,allocate{{keep={option}}},remove-structures"

    @property
    def tokenizer(self) -> Any:
        """A real one; `special` is the token that it puts in front of a text."""
        folder = self.folder / "tokenizer"
        if not folder.exists():
            write_tokenizer(folder)
        found = AutoTokenizer.from_pretrained(folder)
        found.chat_template = f"{self.special}{{{{ messages }}}}"
        return found

    @property
    def context(self) -> Context:
        """A run with a cache of its own."""
        cache, number = self.folder, 0
        while cache.exists():
            cache, number = self.folder / str(number), number + 1
        return Context(self.text, self.seed, cache=cache, teacher=self.teacher)


def stored(folder: Path | None) -> str:
    """The one file's path in a cache, which is its key."""
    assert folder is not None
    (file,) = [path for path in folder.rglob("*") if path.is_file()]
    return str(file.relative_to(folder))


def written_text(made: Made) -> str:
    cache = made.context.cache
    spec = CalibrationSpec(window_count=1, window_tokens=int(40 * made.option), seed=made.seed)
    author = Author(BigramRunner(random_table()).step, made.program)

    def tokenizer(text: str) -> dict[str, Any]:
        return {"input_ids": [len(made.special), *map(ord, text)]}

    calibration_tokens(spec, tokenizer, author, cache=cache)
    return stored(cache)


def scores(made: Made) -> str:
    context = made.context
    scored_once(made.program, ("wanda", str(made.option)), context, lambda: Scores("wanda", {}))
    return stored(context.cache)


def trained_windows(made: Made) -> str:
    context = made.context
    training = Training(2, made.option, made.seed, "float32")
    FinishedWindows(context, training, (1, 2), made.program).write(0, {"w": torch.ones(1)})
    return stored(context.cache)


def job(made: Made) -> str:
    file = made.folder / "recipe.toml"
    made.folder.mkdir(parents=True, exist_ok=True)
    pipeline = made.pipeline.format(option=made.option)
    file.write_text(RECIPE.format(seed=made.seed, pipeline=pipeline))
    recipe = load_recipe(file)
    there = SimpleNamespace(
        recipe=recipe,
        passes=recipe.passes(),
        checkpoint=SimpleNamespace(config=small_model().config),
        tokenizer=made.tokenizer,
    )
    text = Text(CalibrationSet(made.text, {}), CalibrationSet(random_tokens(1, 8), {}))
    return job_key(cast(Job, there), made.program, text)


def bench_model(made: Made) -> str:
    subject = importlib.import_module("shared.subject")
    row = importlib.import_module("shared.row").Row("best", made.option, "score")
    folder = made.context.cache
    there = object.__new__(subject.Subject)
    there.dense = made.program
    there._options = argparse.Namespace(models=folder, fresh=False, seed=made.seed)
    there._prune = lambda *_: (made.program, {})
    there.prune(row, CalibrationSet(made.text, {}))
    assert folder is not None
    return str(sorted(folder.glob("*.json"))[0].name)


def bench_answers(made: Made) -> str:
    experts = importlib.import_module("experts")
    options = argparse.Namespace(cache=Path(), generation=None)
    subject = SimpleNamespace(dense=made.program, tokenizer=made.tokenizer)
    return str(experts._Bench(options, subject)._answers)


STORES: dict[Callable[[Made], str], tuple[str, ...]] = {
    written_text: ("tokenizer", "option", "seed"),
    scores: ("text", "option", "seed"),
    trained_windows: ("teacher", "text", "option", "seed"),
    job: ("tokenizer", "text", "option", "seed"),
    bench_model: ("text", "option", "seed"),
    bench_answers: ("tokenizer",),
}
"""By store, what it is made of besides a program, its own source and the versions."""

CODE = {written_text: "frontend/calibration/written.py", bench_answers: "backends/runner.py"}
