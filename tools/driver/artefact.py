"""Open whatever a user points at as a model that can be run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunec.backends.experts import has_experts, read_experts
from prunec.backends.ort import ExpertsOrtRunner, OrtRunner, OrtWholeRunner, keeps_cache
from prunec.backends.runner import Runner
from prunec.backends.tensorrt import ExpertsTensorRTRunner, TensorRTRunner
from prunec.backends.torch import TorchWholeRunner, open_runner
from prunec.driver.find_model import find_model
from prunec.driver.left_out import describe_left_out
from prunec.driver.program_folder import find_program
from prunec.driver.terminal import Terminal
from prunec.frontend.checkpoints.adapters import has_adapter
from prunec.frontend.checkpoints.findings import refuse
from prunec.frontend.checkpoints.tokenizer import load_tokenizer, tokens_without_rows
from prunec.frontend.export import trace_model
from prunec.frontend.sources import SourceError, find_checkpoint
from prunec.passes.ir import PREFILL, Program, load_program
from prunec.passes.ir.chosen import has_choice

Reader = TorchWholeRunner | OrtWholeRunner
"""Runs a model that reads texts whole and writes none."""

_RUNNERS: dict[str, Callable[[Path], Runner | Reader]] = {
    ".onnx": lambda file: OrtRunner(file) if keeps_cache(file) else OrtWholeRunner(file),
    ".engine": TensorRTRunner,
}
_EXPERTS_RUNNERS: dict[str, Callable[[Path], Runner]] = {
    ".onnx": ExpertsOrtRunner,
    ".engine": ExpertsTensorRTRunner,
}


class ArtefactError(Exception):
    """A path leads to nothing that can be run; says what can."""


@dataclass(frozen=True)
class Artefact:
    """A model that can be run.

    Attributes:
        reference: What the user wrote.
        model: Steps it where it writes text, else reads texts whole.
        program: Its graph, where it is a program; None for a file of a backend.
        size_bytes: Of its weights.
        tokenizer_source: A folder or model reference that has its tokenizer; None if unknown.
        has_choice: Whether a prompt chooses what it decodes with, so that its own tokens are
            predicted by the whole model.
    """

    reference: str
    model: Runner | Reader
    program: Program | None
    size_bytes: int
    tokenizer_source: str | None
    has_choice: bool = False

    @property
    def reads_whole(self) -> bool:
        """Whether it is an encoder or a classifier, which writes no text."""
        return isinstance(self.model, Reader)

    @property
    def runner(self) -> Runner:
        """Steps a model that writes text.

        Raises:
            ArtefactError: it writes none.
        """
        if isinstance(self.model, Reader):
            raise ArtefactError(
                f"{self.reference} reads a text whole and returns "
                f"{[output.name for output in self.model.outputs]}: it writes no text and does "
                "not tell how likely one is. Compare it with another by prunec eval --text FILE "
                "--against MODEL, and time it by prunec bench"
            )
        return self.model

    @property
    def reader(self) -> Reader:
        """Runs a model that reads texts whole.

        Raises:
            ArtefactError: it writes text.
        """
        if not isinstance(self.model, Reader):
            raise ArtefactError(
                f"{self.reference} writes text and the model beside it does not: only models of "
                "one use can be compared"
            )
        return self.model

    def load_tokenizer(self) -> Any:
        """The tokenizer (transformers).

        Raises:
            ArtefactError: there is none beside the model.
            SourceError: it cannot be loaded, or has tokens that the model does not know.
        """
        if self.tokenizer_source is None:
            raise ArtefactError(
                f"{self.reference} has no tokenizer beside it: put tokenizer.json and "
                "tokenizer_config.json into its folder"
            )
        folder = Path(self.tokenizer_source)
        if not (folder / "tokenizer_config.json").is_file():
            checkpoint = find_checkpoint(self.tokenizer_source, needs_tokenizer=True)
            return checkpoint.load_tokenizer()
        tokenizer = _load_local_tokenizer(folder)
        if self.model.vocabulary is not None:
            wrong, _ = tokens_without_rows(tokenizer, self.model.vocabulary)
            refuse(f"{self.reference} with the tokenizer in {folder}", wrong)
        return tokenizer


def open_artefact(reference: str, terminal: Terminal, *, needs_tokenizer: bool = False) -> Artefact:
    """Open a result, program, ONNX or engine folder or file, or a model reference.

    Args:
        reference: What the user wrote.
        terminal: Shows what is done.
        needs_tokenizer: Whether a model without a tokenizer is of no use.

    Raises:
        ArtefactError: there is nothing to open.
        SourceError: a model reference leads nowhere.
        TaskError: the model reads more than text.
    """
    folder = find_program(reference)
    if folder is not None:
        with terminal.stage(f"Load {folder}"):
            return _open_program(reference, folder)
    path = Path(reference).expanduser()
    if has_experts(path):
        with terminal.stage(f"Open {path}"):
            return _open_experts(reference, path)
    for suffix, runner in _RUNNERS.items():
        file = find_file(path, suffix)
        if file is not None:
            with terminal.stage(f"Open {file}"):
                size = sum(f.stat().st_size for f in file.parent.glob(f"{file.name}*"))
                return Artefact(reference, runner(file), None, size, _nearest_tokenizer(file))
    if path.is_dir() and not (path / "config.json").is_file() and not has_adapter(path):
        there = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
        raise ArtefactError(
            f"{path} is not a result, program, ONNX or model folder: there is {there}. Expected "
            "program.json, one .onnx or .engine file, or config.json with *.safetensors"
        )
    return _open_model(reference, terminal, needs_tokenizer)


def find_file(path: Path, suffix: str) -> Path | None:
    """The file of this suffix at a path: itself, or the only one in this folder.

    Raises:
        ArtefactError: the folder has several.
    """
    if path.suffix == suffix and path.is_file():
        return path
    files = sorted(path.glob(f"*{suffix}")) if path.is_dir() else []
    if len(files) > 1:
        names = ", ".join(f.name for f in files)
        raise ArtefactError(f"{path} has several {suffix} files ({names}): name one of them")
    return files[0] if files else None


def _open_program(reference: str, folder: Path) -> Artefact:
    program = load_program(folder)
    source = _nearest_tokenizer(folder) or program.origin.get("model")
    size, chooses = _weight_bytes(program), has_choice(program)
    return Artefact(reference, _open_torch(program), program, size, source, chooses)


def _open_experts(reference: str, folder: Path) -> Artefact:
    """A folder with both models of a prompt's choice."""
    first = folder / read_experts(folder).entries[PREFILL].file
    size = sum(f.stat().st_size for f in folder.iterdir() if f.suffix in (".data", first.suffix))
    runner = _EXPERTS_RUNNERS[first.suffix](folder)
    return Artefact(reference, runner, None, size, _nearest_tokenizer(first), True)


def _open_model(reference: str, terminal: Terminal, needs_tokenizer: bool) -> Artefact:
    checkpoint, _ = find_model(reference, needs_tokenizer=needs_tokenizer)
    for note in checkpoint.notes:
        terminal.say(f"  {note}")
    with terminal.stage(f"Load {reference}"):
        model = checkpoint.load_model()
    with terminal.stage(f"Trace {reference}"):
        program = trace_model(model)
    if left_out := describe_left_out(program.origin):
        terminal.say(f"  {left_out}")
    return Artefact(reference, _open_torch(program), program, _weight_bytes(program), reference)


def _open_torch(program: Program) -> Runner | Reader:
    return open_runner(program) if program.predicts_next else TorchWholeRunner(program)


def _weight_bytes(program: Program) -> int:
    return sum(w.numel() * w.element_size() for w in program.weights.values())


def _nearest_tokenizer(path: Path) -> str | None:
    """The folder with a tokenizer that is nearest to a model file of a result."""
    folder = path.absolute().parent
    candidates: Iterator[Path] = iter((path, folder, folder / "onnx"))
    found = next((c for c in candidates if (c / "tokenizer_config.json").is_file()), None)
    return None if found is None else str(found)


def _load_local_tokenizer(folder: Path) -> Any:
    try:
        return load_tokenizer(folder)
    except Exception as error:  # the loader raises anything from KeyError to RuntimeError
        raise SourceError(f"the tokenizer in {folder} could not be loaded: {error}") from error
