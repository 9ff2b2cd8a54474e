"""Build a job's folder beside its final place, so that an interrupt costs little."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prunec.backends.tensorrt.manifest import file_sha256
from prunec.passes.ir import replaced_file, replaced_folder
from prunec.passes.ir.digest import digest

_STATE = "job.json"
REUSABLE = ("passes", "onnx", "engine", "evaluate")
"""Stages whose results are in the folder, in order; the others are repeated by every run."""


@dataclass
class Staging:
    """The unfinished result of a job.

    Attributes:
        output: Where the folder goes in the end.
        key: A digest of everything that the result depends on; None before it is known.
        results: What each finished stage reports, in order; JSON values, ``seconds`` among them.
        files: By finished stage, the SHA-256 of each file that it wrote, by path in the folder.
    """

    output: Path
    key: str | None = None
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where stages write, once the key is known."""
        return self.output.parent / f".{self.output.name}.unfinished"

    def take_over(self, key: str, notice: Callable[[str], None]) -> None:
        """Continue an interrupted job with this key, or begin anew.

        A stage whose files are not as it left them is run again, and so are those after it.

        Args:
            key: A digest of everything that the result depends on.
            notice: Is told of what is damaged.

        Raises:
            OSError: the folder cannot be written.
        """
        self.key = key
        state = _read_state(self.folder / _STATE, notice)
        if state is not None and state["key"] == key:
            for stage in [stage for stage in REUSABLE if stage in state["results"]]:
                if damaged := _changed(self.folder, state["files"][stage]):
                    notice(f"{damaged} is damaged: the stages from {stage} on are run again")
                    break
                self.results[stage] = state["results"][stage]
                self.files[stage] = state["files"][stage]
        if not any(map(self.is_done, REUSABLE)):
            shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in self._new_files():  # of a stage that was not finished
            file.unlink()

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
        if self.key is not None:
            written = {str(f.relative_to(self.folder)): file_sha256(f) for f in self._new_files()}
            self.files[name] = written
            self._write_state()

    def _new_files(self) -> list[Path]:
        """The files in the folder that no finished stage wrote."""
        known = {self.folder / path for files in self.files.values() for path in files}
        known.add(self.folder / _STATE)
        return [f for f in sorted(self.folder.rglob("*")) if f.is_file() and f not in known]

    def _write_state(self) -> None:
        state = {"key": self.key, "results": self.results, "files": self.files}
        state = json.loads(json.dumps(state))  # as it will be read
        with replaced_file(self.folder / _STATE) as partial:
            partial.write_text(json.dumps({"state": state, "digest": digest(state).hex()}) + "\n")

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
        if self.key is None:  # what an earlier run left there is not ours to judge
            return before
        done = [stage for stage in self.results if self.is_done(stage)]
        if not done:
            shutil.rmtree(self.folder, ignore_errors=True)
            return before
        return (
            f"{before} Finished stages ({', '.join(done)}) wait in {self.folder}: the same "
            "command goes on from there."
        )


def _read_state(file: Path, notice: Callable[[str], None]) -> dict[str, Any] | None:
    """What an interrupted job left; None where there is none, or where it is damaged."""
    if not file.is_file():
        return None
    try:
        document = json.loads(file.read_text())
        state: dict[str, Any] = document["state"]
        if digest(state).hex() == document["digest"]:
            return state
    except (ValueError, KeyError, TypeError):
        pass
    notice(f"{file} is damaged: the job begins anew")
    return None


def _changed(folder: Path, files: Mapping[str, str]) -> Path | None:
    """The first of these files that is not as it was written."""
    for path, expected in files.items():
        file = folder / path
        if not file.is_file() or file_sha256(file) != expected:
            return file
    return None
