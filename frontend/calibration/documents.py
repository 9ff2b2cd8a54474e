"""Read text from a file or from the datasets library, as one string."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prunec.frontend.calibration.spec import CalibrationError

PREFIX = "datasets:"
_BETWEEN = "\n\n"  # between the documents of a source that has several
# Characters of a remote data set to read for each token wanted: ample in every language.
_CHARACTERS_PER_TOKEN = 16


def read_text(source: str, wanted_tokens: int) -> str:
    """The text of a source exactly as it stands.

    Args:
        source: A text file, a ``.jsonl`` file, or ``datasets:ID[:config][:split][:column]``.
        wanted_tokens: Where reading a data set may stop; a file is read whole.

    Raises:
        CalibrationError: there is no such source, or it is not text.
    """
    if source.startswith(PREFIX):
        return _read_data_set(DataSet.parse(source), wanted_tokens)
    path = Path(source).expanduser()
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise CalibrationError(
            f"no text at {source} ({error.strerror}): give a text file, a .jsonl file, "
            f"{PREFIX}ID, or self for text that the model writes"
        ) from error
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{source} is not UTF-8 text: byte {error.start}") from error
    return _BETWEEN.join(_json_texts(source, text)) if path.suffix == ".jsonl" else text


def _json_texts(source: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except json.JSONDecodeError as error:
            raise CalibrationError(f"{source}, line {number}: not JSON: {error}") from error
        if not isinstance(item, dict) or not isinstance(item.get("text"), str):
            there = sorted(item) if isinstance(item, dict) else type(item).__name__
            raise CalibrationError(
                f'{source}, line {number}: {{"text": "..."}} is expected, there is {there}'
            )
        yield item["text"]


@dataclass(frozen=True)
class DataSet:
    """A column of text in a data set of the Hugging Face hub."""

    name: str
    config: str | None = None
    split: str = "train"
    column: str = "text"

    @classmethod
    def parse(cls, source: str) -> DataSet:
        """Read ``datasets:ID[:config][:split][:column]``; an empty part takes its default.

        Raises:
            CalibrationError: the parts are too many, or the id is missing.
        """
        name, *rest = source.removeprefix(PREFIX).split(":")
        if not name or len(rest) > 3:
            raise CalibrationError(
                f"{source} is not of the form {PREFIX}ID[:config][:split][:column], for example "
                f"{PREFIX}Salesforce/wikitext:wikitext-2-raw-v1:validation"
            )
        parts = zip(("config", "split", "column"), rest, strict=False)
        return cls(name, **{key: part for key, part in parts if part})


def _read_data_set(wanted: DataSet, wanted_tokens: int) -> str:
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise CalibrationError(
            f"{PREFIX}{wanted.name} needs the datasets library: pip install 'prunec[datasets]'"
        ) from error
    try:
        rows = load_dataset(wanted.name, wanted.config, split=wanted.split, streaming=True)
        return _BETWEEN.join(_column(rows, wanted, wanted_tokens * _CHARACTERS_PER_TOKEN))
    except CalibrationError:
        raise
    except Exception as error:  # the library raises anything from OSError to its own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CalibrationError(
            f"{wanted.name} ({wanted.config}, {wanted.split}) cannot be read: {reason}"
        ) from error


def _column(rows: Iterable[Any], wanted: DataSet, wanted_characters: int) -> Iterator[str]:
    found = 0
    for row in rows:
        if wanted.column not in row:
            raise CalibrationError(
                f"{wanted.name} has no column {wanted.column!r}; it has {sorted(row)}"
            )
        yield row[wanted.column]
        found += len(row[wanted.column])
        if found >= wanted_characters:
            return
