"""What the user sees: results on stdout, progress and prose on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from prunec.driver.formats import format_json

Item = TypeVar("Item")


class Terminal:
    """Deliver one result to stdout, as tables or as JSON; show progress on stderr.

    Args:
        stdout: Where results go.
        as_json: Whether the result is one JSON document.
    """

    def __init__(self, stdout: TextIO, as_json: bool) -> None:
        self._stdout = stdout
        self._as_json = as_json
        # This very stream, so that progress goes on while a library's stderr is redirected.
        self._prose = Console(file=sys.stderr, highlight=False)
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._prose,
            transient=True,
            disable=not self._prose.is_terminal,
        )

    def deliver(self, document: Mapping[str, Any], *tables: RenderableType) -> None:
        """Write the command's result: the document where JSON is wanted, else the tables."""
        if self._as_json:
            self._stdout.write(format_json(document))
        else:
            Console(file=self._stdout, highlight=False).print(*tables, sep="\n", soft_wrap=True)
        self._stdout.flush()

    def write(self, text: str) -> None:
        """Write a piece of the result as it comes; nothing where one document is wanted."""
        if not self._as_json:
            self._stdout.write(text)
            self._stdout.flush()

    def say(self, text: str) -> None:
        """Write a line of prose."""
        self._prose.print(text, markup=False)

    def progress(self, items: Iterable[Item], title: str, total: int) -> Iterator[Item]:
        """Show how much of `items` has been consumed (`prunec.passes.contract.Progress`)."""
        task = self._bars.add_task(title, total=total)
        self._bars.start()
        try:
            for item in items:
                yield item
                self._bars.advance(task)
        finally:
            self._end(task)

    @contextmanager
    def fraction(self) -> Iterator[Callable[[str, float], None]]:
        """Yield a callback that shows what is being done and which fraction is done, 0 to 1."""
        task = self._bars.add_task("", total=100)
        self._bars.start()

        def show(phase: str, done: float) -> None:
            self._bars.update(task, description=phase[:40], completed=int(100 * done))

        try:
            yield show
        finally:
            self._end(task)

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Show that something runs, and how long it took."""
        if not self._prose.is_terminal:
            self.say(f"{title} ...")
        started = time.perf_counter()
        task = self._bars.add_task(title, total=None)
        self._bars.start()
        try:
            yield
        finally:
            self._end(task)
        self.say(f"  {title:<52} {time.perf_counter() - started:6.1f} s")

    def _end(self, task: Any) -> None:
        self._bars.remove_task(task)
        if not self._bars.tasks:
            self._bars.stop()


@contextmanager
def open_terminal(as_json: bool) -> Iterator[Terminal]:
    """Yield a terminal; what libraries print to stdout meanwhile goes to stderr."""
    stdout = sys.stdout
    with redirect_stdout(sys.stderr):
        yield Terminal(stdout, as_json)


def new_table(title: str, *columns: str) -> Table:
    """An empty table in the one style; a column whose name begins with ``>`` is of numbers."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for column in columns:
        table.add_column(column.removeprefix(">"), justify="right" if column[:1] == ">" else "left")
    return table
