"""Filmstrips of what a reward ranks: of each task a typical reference, the best and the worst failures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.report.pictures import EpisodeView, band, check_target, write_png
from srpo_cli.report.reward_facts import extremes, typical_reference
from srpo_cli.report.words import figures

FILM_SIZE = 160
"""pixels a side of each moment"""
GAP = 10
"""pixels between the strips of one picture"""


@dataclass(frozen=True)
class Film:
    """An episode to show, and why."""

    episode: int
    words: str


def films(task: Mapping[str, Any], count: int) -> list[Film]:
    """The reference nearest to its centre, then at most `count` best and `count` worst failures.

    Args:
        task: as in `reward_facts`.
    """
    reference = typical_reference(task)
    chosen = [Film(reference["episode"], _reference_words(reference))] if reference else []
    failures = [Film(row["episode"], _failure_words(kind, row)) for kind, row in extremes(task["ranked"], count)]
    return chosen + failures


def task_words(task: Mapping[str, Any]) -> str:
    """`Task 2: pick up ..., 10 successes, 22 failures`."""
    return f"Task {task['task']}: {task['instruction']}, {task['successes']} successes, {task['failures']} failures"


def save_films(store: RolloutStore, tasks: Sequence[Mapping[str, Any]], count: int, out: Path) -> int:
    """All tasks' filmstrips below each other in one PNG; returns how many strips it has.

    Args:
        tasks: as in `reward_facts`. count: best failures, and as many worst ones, of each.

    Raises:
        UserError: nothing to show, or the file cannot be written.
    """
    check_target(out, ".png")
    chosen = [(task, films(task, count)) for task in tasks]
    if not any(some for _, some in chosen):
        raise UserError(f"the reward of {store.path} has neither references nor failures to show")
    view = EpisodeView(store)
    rows = [row for task, some in chosen for row in _rows(view, task, some)]
    write_png(out, stacked(rows))
    return len(rows)


def stacked(rows: Sequence[np.ndarray], gap: int = GAP) -> np.ndarray:
    """Pictures (h, w, 3) of one width below each other on white, with a white margin of `gap` pixels."""
    spacer = np.full((gap, rows[0].shape[1], 3), 255, np.uint8)
    parts = [part for row in rows for part in (spacer, row)]
    return np.pad(np.concatenate([*parts, spacer]), ((0, 0), (gap, gap), (0, 0)), constant_values=255)


def _rows(view: EpisodeView, task: Mapping[str, Any], some: Sequence[Film]) -> Iterator[np.ndarray]:
    """A task's title and its strips, each below its words."""
    for i, film in enumerate(some):
        strip = view.strip(film.episode, size=FILM_SIZE).captioned().row()
        title = [band(strip.shape[1], task_words(task), bold=True)] if i == 0 else []
        yield np.concatenate([*title, band(strip.shape[1], film.words), strip])


def _reference_words(row: Mapping[str, Any]) -> str:
    where = f"initial state {row['init_state']}, distance {figures(row['distance'])} to its centre"
    return f"Episode {row['episode']}, typical success: {where}"


def _failure_words(kind: str, row: Mapping[str, Any]) -> str:
    parts = [f"initial state {row['init_state']}, reward {row['reward']:.3f}"]
    if row["distance"] is not None:
        parts.append(f"distance {figures(row['distance'])}")
    if row["nearest_reference"] is not None:
        parts.append(f"nearest reference {row['nearest_reference']}")
    return f"Episode {row['episode']}, {kind}: {', '.join(parts)}"
