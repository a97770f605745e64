"""What a person sees: results and tables on stdout, live progress on stderr; with `--json` one object on stdout."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table

from data.watching import Tick

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

IS_FIRST = os.environ.get("RANK", "0") == "0"
"""Not another process of a group (`stages.learning.processes`)"""


def emit(result: Mapping[str, Any], as_json: bool, show: Callable[[Mapping[str, Any]], None]) -> None:
    """End a command: its result as one JSON object, or as `show` prints it; by the first process of a group alone."""
    if not IS_FIRST:
        return
    if as_json:
        print(json.dumps(result, default=_plain))
    else:
        show(result)


def table(title: str, columns: list[str], rows: list[list[Any]], caption: str | None = None) -> Table:
    """A table with numbers to the right and texts to the left."""
    made = Table(title=title, title_justify="left", title_style="bold", caption=caption, caption_justify="left")
    for i, column in enumerate(columns):
        texts = all(isinstance(row[i], str) and not row[i].lstrip("+-< ")[:1].isdigit() for row in rows)
        made.add_column(column, justify="left" if texts else "right", no_wrap=not texts)
    for row in rows:
        made.add_row(*[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row])
    return made


@contextmanager
def progress(title: str, unit: str = "") -> Iterator[Tick]:
    """Progress with rate and time left: a live bar on a terminal, a plain line every ten seconds elsewhere."""
    if not IS_FIRST:
        yield lambda *_: None
    elif err.is_terminal:
        with _bar(title, unit) as tick:
            yield tick
    else:
        yield _lines(title, unit)


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Tick]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        task = bars.add_task(title, total=None, rate="", note="")
        speed = _Rate()

        def tick(done: int, total: int, note: str = "") -> None:
            bars.update(task, completed=done, total=total, rate=f"{speed(done):.1f} {unit}/s", note=note)

        yield tick


def _lines(title: str, unit: str, every: float = 10.0) -> Tick:
    speed, last = _Rate(), time.monotonic()

    def tick(done: int, total: int, note: str = "") -> None:
        nonlocal last
        rate = speed(done)
        if time.monotonic() - last < every:
            return
        last = time.monotonic()
        left = f", {(total - done) / rate:.0f} s left" if rate > 0 else ""
        print(f"{title}: {done}/{total} ({rate:.1f} {unit}/s{left}) {note}".rstrip(), file=sys.stderr, flush=True)

    return tick


class _Rate:
    """Steps a second since the count began; a count that falls back begins anew (a stage in two parts)."""

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, done: int) -> None:
        self._first = self._last = done
        self._start = time.monotonic()

    def __call__(self, done: int) -> float:
        if self._last == 0 or done < self._last:
            self._begin(done)
        self._last = done
        return (done - self._first) / max(time.monotonic() - self._start, 1e-9)


def percent(fraction: float | None) -> str:
    """0.4567 as `45.7 %`, what is not known as `-`."""
    return "-" if fraction is None else f"{100 * fraction:.1f} %"


def interval(bounds: tuple[float, float] | list[float]) -> str:
    """(0.31, 0.58) as `31.0-58.0 %`."""
    return f"{100 * bounds[0]:.1f}-{100 * bounds[1]:.1f} %"


def _plain(value: Any) -> Any:
    """JSON for numpy scalars, arrays, paths and the like."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
