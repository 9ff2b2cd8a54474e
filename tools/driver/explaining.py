"""End every command with one clear message and the right exit code."""

from __future__ import annotations

import errno
import sys
import warnings
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

MISTAKE = 2
"""Exit code when the user can mend it: the message says how."""
DEFECT = 70
"""Exit code when prunec or a library failed in a way that nobody foresaw."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class ExplainingGroup(TyperGroup):
    """A group of commands whose errors are sentences; ``--debug`` adds the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept ``--debug`` anywhere on the command line."""
        if "--debug" in args:
            args = ["--debug", *(a for a in args if a != "--debug")]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command."""
        is_debug = bool(ctx.params.get("debug"))
        try:
            with warnings.catch_warnings():
                if not is_debug:
                    warnings.simplefilter("ignore")  # of libraries, about their own future
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
            _say("Interrupted. " + (" ".join(notes) or "Nothing was written."))
            raise typer.Exit(INTERRUPTED) from interrupt
        except Exception as error:  # whatever it is, the user gets a sentence
            if type(error).__module__.partition(".")[0] in ("click", "typer"):
                raise
            if is_debug:
                Console(stderr=True).print_exception()
                _say_tried(error)
            _say(f"Error: {explain(error)}")
            raise typer.Exit(MISTAKE if is_explained(error) else DEFECT) from error


def is_explained(error: BaseException) -> bool:
    """Whether the message is meant for users: errors of ours, and of the operating system."""
    return isinstance(error, OSError) or any(
        kind.__module__.partition(".")[0] == "prunec" for kind in type(error).__mro__
    )


def explain(error: BaseException) -> str:
    """What happened, where, and what to do about it."""
    notes = "".join(f"\n{note}" for note in getattr(error, "__notes__", []))
    if isinstance(error, OSError) and not type(error).__module__.startswith("prunec"):
        return _explain_system(error) + notes
    if is_explained(error):
        return f"{_reason(error)}{notes}"
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return (
        f"{type(error).__name__}: {first}{notes}\nThis was not foreseen. Run the same command "
        "with --debug for the traceback and report it."
    )


def _reason(error: BaseException) -> str:
    """The message, without what only a user of Python can do."""
    if not getattr(error, "tried", ()):
        return str(getattr(error, "reason", error))
    return f"{error.reason}. --debug shows every way that was tried"  # type: ignore[attr-defined]


def _say_tried(error: BaseException) -> None:
    for way, reason in getattr(error, "tried", ()):
        _say(f"Tried {way}: {reason}")


_ADVICE = {
    errno.ENOSPC: "the disk is full. Free some space or choose another output folder",
    errno.EDQUOT: "the disk quota is used up. Free some space or choose another output folder",
    errno.EACCES: "permission denied. Choose a place that you can write to",
    errno.EROFS: "the file system is read-only. Choose a place that you can write to",
    errno.ENOENT: "there is no such file or folder. Check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder. Check the path",
    errno.EISDIR: "this is a folder where a file is needed. Check the path",
}


def _explain_system(error: OSError) -> str:
    advice = _ADVICE.get(error.errno or 0, error.strerror or str(error))
    return f"{error.filename}: {advice}." if error.filename else f"{advice}."


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)
    sys.stderr.flush()
