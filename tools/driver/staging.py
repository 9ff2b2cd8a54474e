"""Build a job's folder beside its final place, so that an interrupt costs little."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunec.passes.ir import replaced_file, replaced_folder

_STATE = "job.json"
REUSABLE = ("passes", "onnx", "engine", "evaluate")
"""Stages whose results are in the folder; the others are repeated by every run."""


@dataclass
class Staging:
    """The unfinished result of a job.

    Attributes:
        folder: Where stages write.
        output: Where the folder goes in the end.
        key: A digest of everything that the result depends on.
        results: What each finished stage reports, in order; JSON values, ``seconds`` among them.
    """

    folder: Path
    output: Path
    key: str
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_done(self, stage: str) -> bool:
        """Whether this run, or an interrupted one with the same key, finished this stage."""
        return stage in REUSABLE and stage in self.results

    @contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        """Time a stage and remember that it was finished, with what the block leaves in here."""
        result: dict[str, Any] = {}
        started = time.perf_counter()
        yield result
        result["seconds"] = round(time.perf_counter() - started, 2)
        self.results[name] = result
        with replaced_file(self.folder / _STATE) as partial:
            partial.write_text(json.dumps({"key": self.key, "results": self.results}) + "\n")

    def publish(self) -> None:
        """Put the finished folder in its place; what was there stays until that moment."""
        (self.folder / _STATE).unlink()
        with replaced_folder(self.output) as complete:
            for item in sorted(self.folder.iterdir()):
                item.replace(complete / item.name)
        self.folder.rmdir()

    def leave(self) -> str:
        """Keep what is worth keeping of a job that did not finish, and say what that is."""
        before = (
            f"{self.output} is as it was." if self.output.exists() else "No result was written."
        )
        done = [stage for stage in self.results if self.is_done(stage)]
        if not done:
            shutil.rmtree(self.folder)
            return before
        return (
            f"{before} Finished stages ({', '.join(done)}) wait in {self.folder}: the same "
            "command goes on from there."
        )


def open_staging(output: Path, key: str) -> Staging:
    """Continue an interrupted job with this key, or begin anew.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = output.parent / f".{output.name}.unfinished"
    state = folder / _STATE
    if state.is_file():
        document = json.loads(state.read_text())
        if document["key"] == key:
            return Staging(folder, output, key, document["results"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Staging(folder, output, key)
