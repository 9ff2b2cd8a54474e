"""What a job is told to do: a TOML file, checked before anything runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from prunec.driver.recipe_errors import RecipeError, describe_problems, nearest
from prunec.frontend.calibration import CalibrationSpec
from prunec.frontend.calibration.spec import SELF
from prunec.passes.contract import Pass
from prunec.passes.spec import SpecError, build_pass, parse_pipeline

SHIPPED = Path(__file__).parents[1] / "recipes"

Dtype = Literal["float32", "bfloat16", "float16"]

PROMPTS = [
    "What is the capital of France?",
    "Why do leaves change colour in autumn?",
    "Write two sentences about the sea.",
]
"""A fact, an explanation, and free writing."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSection(_Section):
    """Which model to prune."""

    source: str
    """A Hugging Face folder, a GGUF file, a hub id, or ``pip:PACKAGE``."""
    dtype: Dtype = "float32"
    """What passes compute in."""
    cache: bool = True
    """Whether a model that generates text keeps its KV cache; without one it reads each text from
    its start."""
    part: Literal["text"] | None = None
    """The text part of a model that takes more than text; the rest is left out."""


class CalibrationSection(_Section):
    """Which text to measure on."""

    source: str = "self"
    """``self`` (the dense model writes it), a text or jsonl file, or ``datasets:NAME``."""
    windows: int = Field(default=32, ge=1)
    window_tokens: int = Field(default=512, ge=8)
    every: int = Field(default=1, ge=1)
    """Of so many windows of a file the first is taken, so that they come from more documents."""
    seed: int = Field(default=0, ge=0)


def _require_pipeline(value: Any) -> Any:
    tables = isinstance(value, list) and all(isinstance(v, dict) and "name" in v for v in value)
    if not (isinstance(value, str) or tables):
        raise ValueError("must be text such as 'score,refit', or tables that each have a name")
    return value


class PipelineSection(_Section):
    """Which passes to run, as text or as a list of tables with a ``name`` and options."""

    passes: Annotated[str | list[dict[str, Any]], BeforeValidator(_require_pipeline)]


class EvaluateSection(_Section):
    """How to measure what pruning cost."""

    text: Path | None = None
    """A file to measure on. Where not given, held-out text that the dense model writes; of the
    calibration's file where it writes none."""
    windows: int = Field(default=8, ge=1)
    window_tokens: int = Field(default=512, ge=8)
    prompts: list[Annotated[str, Field(min_length=1)]] = Field(default=PROMPTS, min_length=1)
    """The dense and the pruned model both answer each, greedily, where they write."""
    answer_tokens: int = Field(default=40, ge=1)


class EngineSection(_Section):
    """Which TensorRT engine to build."""

    library: Literal["tensorrt_rtx", "tensorrt"] = "tensorrt_rtx"
    dtype: Literal["bfloat16", "float16"] = "bfloat16"
    targets: list[str] = []
    """Compute capabilities such as ``8.9``; the library's default where empty."""
    max_batch: int = Field(default=4, ge=1)
    max_tokens: int = Field(default=2048, ge=2)
    """Prompt and answer together; of an encoder the longest text, if it has so many positions."""


def _switch(value: Any) -> Any:
    """``engine = true`` builds one with the defaults, ``false`` builds none."""
    if isinstance(value, bool):
        return EngineSection() if value else None
    return value


class OutputSection(_Section):
    """Where results go and which there are."""

    folder: Path
    onnx_dtype: Dtype = "float32"
    genai: bool = True
    """Whether onnxruntime-genai can load the ONNX folder."""
    engine: Annotated[EngineSection | None, BeforeValidator(_switch)] = EngineSection()


class Recipe(_Section):
    """A whole job, valid in itself; whether it fits the model is known once that is traced."""

    model: ModelSection
    calibration: CalibrationSection = CalibrationSection()
    pipeline: PipelineSection
    evaluate: EvaluateSection = EvaluateSection()
    output: OutputSection

    @model_validator(mode="after")
    def _require_cache(self) -> Self:
        if not self.model.cache and (self.output.genai or self.output.engine is not None):
            raise ValueError(
                "model.cache = false leaves engines and onnxruntime-genai without the cache that "
                "they need: set output.engine = false and output.genai = false as well"
            )
        return self

    def passes(self) -> tuple[Pass, ...]:
        """The pipeline.

        Raises:
            SpecError: a pass or option is unknown, or a value is impossible.
        """
        given = self.pipeline.passes
        if isinstance(given, str):
            return parse_pipeline(given)
        return tuple(step for table in given for step in _read_table(table))


def text_specs(recipe: Recipe) -> tuple[CalibrationSpec, CalibrationSpec]:
    """What to calibrate on, and what to measure on: never the same windows."""
    section, measured = recipe.calibration, recipe.evaluate
    calibration = CalibrationSpec(
        section.source,
        section.windows,
        section.window_tokens,
        every=section.every,
        seed=section.seed,
    )
    wanted = measured.windows, measured.window_tokens
    if measured.text is not None:
        return calibration, CalibrationSpec(str(measured.text), *wanted)
    if calibration.source == SELF:
        return calibration, calibration.held_out(*wanted)
    return calibration, CalibrationSpec(SELF, *wanted)


def _read_table(table: Mapping[str, Any]) -> tuple[Pass, ...]:
    options = {key: value for key, value in table.items() if key != "name"}
    # A table without options may also name a whole pipeline.
    return (build_pass(table["name"], options),) if options else parse_pipeline(table["name"])


def shipped_recipes() -> dict[str, Path]:
    """The recipes that travel with prunec, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def find_recipe(reference: str) -> Path:
    """The file of a recipe given by path or by the name of a shipped one.

    Raises:
        RecipeError: there is neither.
    """
    shipped = shipped_recipes()
    path = Path(reference).expanduser()
    if path.is_file():
        return path
    if reference in shipped:
        return shipped[reference]
    raise RecipeError(
        f"no recipe {reference}: it is neither a file nor a recipe that comes with prunec "
        f"({', '.join(shipped)}){nearest(reference, shipped)}"
    )


def load_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe and check all of it, its pipeline included.

    Args:
        path: The TOML file.
        overrides: Values from the command line by dotted key, such as ``output.folder``.

    Raises:
        RecipeError: names the file, every key that is wrong and what is allowed there.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error
    for key, value in (overrides or {}).items():
        section, _, name = key.partition(".")
        document.setdefault(section, {})[name] = value
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(describe_problems(path, Recipe, error)) from error
    try:
        recipe.passes()
    except SpecError as error:
        raise RecipeError(f"{path}: pipeline.passes: {error}") from error
    return recipe
