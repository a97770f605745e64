"""What a pool and its worker processes tell each other, besides `data.query.Query`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.query import Answer
from stages.sim.tasks import Task


@dataclass(frozen=True)
class Job:
    """What a run of episodes has in common."""

    store: str
    """path or URL of the rollout store to write to"""
    tasks: Mapping[int, Task]
    """task index -> task"""
    horizon: int
    """T, control steps at most"""
    cameras: Mapping[str, int] = field(default_factory=dict)
    """camera -> side length in pixels: what every query shows"""
    look: str = "lite"
    engine: str = "fast"
    keep_images: bool = True
    """write the pictures to the store"""


@dataclass(frozen=True)
class Start:
    """Run one episode from its initial state."""

    episode: int
    task: int
    init: int


@dataclass(frozen=True)
class Reply:
    """The answer to the last query of an episode."""

    episode: int
    answer: Answer


@dataclass(frozen=True)
class Ready:
    """The worker has imported what it needs."""


@dataclass(frozen=True)
class Loading:
    """The worker makes a simulator for an episode: building or loading a task's model may take long."""


@dataclass(frozen=True)
class Spent:
    """Seconds of a processor that a worker has used."""

    stepping: float = 0.0
    rendering: float = 0.0
    """of the pictures that queries show"""
    other: float = 0.0
    """recording, writing, messages, and imports and models where they are not there yet"""

    def __add__(self, more: "Spent") -> "Spent":
        return Spent(self.stepping + more.stepping, self.rendering + more.rendering, self.other + more.other)


@dataclass(frozen=True)
class Finished:
    """An episode is in the store, its status written."""

    episode: int
    success: bool
    steps: int
    spent: Spent
    """by this worker since it finished the one before"""


@dataclass(frozen=True)
class Failed:
    """An exception ended an episode (or, with episode -1, the worker itself)."""

    episode: int
    error: bytes
    """the pickled exception; empty if it cannot be pickled"""
    traceback: str
