"""What `srpo bench` measures, and how much of it: more takes longer and is surer."""

import math
from dataclasses import dataclass

from data.cores import cores
from data.errors import UserError, unknown
from stages.bench.stub import LOOKS
from stages.sim.tasks import select_tasks

BOTH = "both"


@dataclass(frozen=True)
class BenchSettings:
    """What all benches of the simulator share."""

    suite: str = "libero_object"
    """a LIBERO suite"""
    tasks: str = "all"
    """task numbers: 0,1 or 0-4 or all"""
    look: str = BOTH
    """ours: lite, full or both"""
    libero_tasks: int = 2
    """on how many of these tasks LIBERO itself steps, or draws, for comparison"""

    def __post_init__(self) -> None:
        if self.look not in (*LOOKS, BOTH):
            raise unknown("look", self.look, (*LOOKS, BOTH))
        select_tasks(self.suite, self.tasks)
        self.at_least_one("libero_tasks")

    def at_least_one(self, *names: str) -> None:
        """Raises UserError: a value that is given and below 1."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} must be 1 or more, not {value}")

    @property
    def looks(self) -> tuple[str, ...]:
        """The looks that are measured, `full` first."""
        return tuple(LOOKS) if self.look == BOTH else (self.look,)


@dataclass(frozen=True)
class SimSettings(BenchSettings):
    """Of `srpo bench sim`; ours and bare physics step every task."""

    episode_tasks: int = 1
    """on how many of the tasks whole episodes are run"""
    steps: int = 100
    """control steps a task"""
    episodes: int = 3
    """ours, a worker"""
    horizon: int | None = None
    """control steps an episode; none: the suite's own limit"""
    workers: int | None = None
    """the most processes; none: one a CPU core"""
    seconds: float = 15.0
    """after which LIBERO's loop is stopped in its episode; 0: never, it is run whole"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least_one("episode_tasks", "steps", "episodes", "horizon", "workers")
        if not 0 <= self.seconds < math.inf:
            raise UserError(f"seconds must be 0 (LIBERO's episodes are run whole) or more, not {self.seconds}")

    def counts(self) -> list[int]:
        """Numbers of workers: 1, 2, 4, ... and the most."""
        most = self.workers or cores()
        return sorted({most, *(2**i for i in range(most.bit_length()) if 2**i < most)})


@dataclass(frozen=True)
class RenderSettings(BenchSettings):
    """Of `srpo bench render`; the tasks that LIBERO draws are the ones that are drawn."""

    frames: int = 10
    """moments drawn a task"""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least_one("frames")
