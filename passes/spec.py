"""Pipelines as text: ``score{criterion=taylor},allocate{keep=0.75},remove-structures,refit``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from prunec.passes.catalogue import known_passes
from prunec.passes.contract import Pass
from prunec.passes.pipelines import PIPELINES

_ITEM = re.compile(r"\s*(?P<name>[a-z][a-z0-9-]*)\s*(?:\{(?P<options>[^{}]*)\})?\s*(?:,|$)")
_OPTION = re.compile(r'\s*(?P<key>[a-z_][a-z0-9_]*)=(?P<value>"[^"]*"|[^\s",{}]+)\s*,?')


class SpecError(Exception):
    """A pipeline's text or an option in it is not valid; names what is allowed."""


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """Read a pipeline. A named pipeline (``clean``) stands for its passes.

    Raises:
        SpecError: a pass or option does not exist, or a value does not fit.
    """
    passes: list[Pass] = []
    for name, options in _items(text):
        if name in PIPELINES and not options:
            passes.extend(PIPELINES[name])
        else:
            passes.append(build_pass(name, options))
    return tuple(passes)


def format_pipeline(passes: Sequence[Pass]) -> str:
    """Write a pipeline; `parse_pipeline` reads it back to equal passes."""
    return ",".join(format_pass(p) for p in passes)


def format_pass(given: Pass) -> str:
    """One pass with the options that differ from its defaults."""
    written = " ".join(f"{key}={_write(value)}" for key, value in changed_options(given).items())
    return f"{given.name}{{{written}}}" if written else given.name


def changed_options(given: Pass) -> dict[str, Any]:
    """The options of a pass that differ from their defaults."""
    found = {}
    for field in fields(given):  # type: ignore[arg-type]  # every pass is a dataclass
        value = getattr(given, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if default is MISSING or value != default:
            found[field.name] = value
    return found


def build_pass(name: str, options: Mapping[str, Any]) -> Pass:
    """Construct a pass from its name and options, as text or as values.

    Raises:
        SpecError: see `parse_pipeline`.
    """
    catalogue = known_passes()
    if name not in catalogue:
        known = [*PIPELINES, *catalogue]
        raise SpecError(f"no pass {name!r}{_hint(name, known)}; known: {', '.join(known)}")
    pass_class = catalogue[name].pass_class
    types = {f.name: get_type_hints(pass_class)[f.name] for f in fields(pass_class)}  # type: ignore[arg-type]
    values = {}
    for key, value in options.items():
        if key not in types:
            allowed = ", ".join(types) or "none"
            raise SpecError(
                f"pass {name!r} has no option {key!r}{_hint(key, list(types))}; allowed: {allowed}"
            )
        values[key] = _convert(name, key, value, types[key])
    try:
        return pass_class(**values)
    except (ValueError, TypeError) as error:
        raise SpecError(f"pass {name!r}: {error}") from error


def _items(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    position = 0
    while position < len(text.rstrip()):
        match = _ITEM.match(text, position)
        if match is None:
            raise SpecError(
                f"cannot read the pipeline at {text[position : position + 30]!r}: "
                "write name or name{key=value other=value}, separated by commas"
            )
        yield match["name"], dict(_options(match["name"], match["options"] or ""))
        position = match.end()


def _options(name: str, text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while position < len(text.rstrip()):
        match = _OPTION.match(text, position)
        if match is None:
            raise SpecError(f"pass {name!r}: cannot read {text[position:]!r}: write key=value")
        yield match["key"], match["value"].strip('"')
        position = match.end()


def _convert(name: str, key: str, value: Any, wanted: Any) -> Any:
    if isinstance(value, str) and "tuple" in str(wanted):
        value = tuple(v for v in value.split("+") if v)
    try:
        return TypeAdapter(wanted).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise SpecError(f"pass {name!r}, option {key}={value!r}: {reason}") from error


def _write(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return "+".join(map(str, value))
    text = str(value)
    return text if _OPTION.fullmatch(f"k={text}") else f'"{text}"'


def _hint(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
