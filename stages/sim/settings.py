"""Settings that every command that runs episodes shares: which, how, and with how many processes."""

from dataclasses import dataclass

from data.cores import cores
from data.errors import UserError, unknown
from stages.sim.engines import ENGINES
from stages.sim.looks.render import LOOKS
from stages.sim.workers.pool import Pool


@dataclass(frozen=True)
class PoolSettings:
    """The processes that run episodes; they do not change what comes out."""

    workers: int | None = None
    """simulator processes; none: one a CPU core"""
    slots: int = 3
    """episodes under way in each"""
    watchdog: float = 60.0
    """seconds after which a silent worker counts as hung"""

    def __post_init__(self) -> None:
        for name in ("workers", "slots", "watchdog"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name} must be above 0, not {value}")


@dataclass(frozen=True)
class RolloutSettings(PoolSettings):
    """What a policy is rolled out on."""

    suite: str = "libero_object"
    """a LIBERO suite"""
    tasks: str = "all"
    """task numbers: 0,1 or 0-4 or all"""
    horizon: int | None = None
    """control steps at most; none: the suite's own limit"""
    temperature: float = 1.0
    """of the sampled tokens; 0 takes the likeliest"""
    inits: str = "train"
    """initial states: train, heldout, paper or 0-9,12"""
    seed: int = 0
    """every random choice follows from it"""
    look: str = "lite"
    """lite or full"""
    engine: str = "fast"
    """fast, or libero: LIBERO's own environment, slow"""
    skip_errors: int = 0
    """episodes to do without, marked as such, if they fail three times; one more ends the command"""
    preflight: bool = True
    """refuse a policy whose first query shows that it does not fit; only large pretrained ones are looked at"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon is not None and self.horizon < 1:
            raise UserError(f"horizon must be 1 or more, not {self.horizon}")
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature must be 0 or above, not {self.temperature}")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or above, not {self.seed}")
        if self.skip_errors < 0:
            raise UserError(f"skip_errors must be 0 or above, not {self.skip_errors}")
        if self.look not in LOOKS:
            raise unknown("look", self.look, LOOKS)
        if self.engine not in ENGINES:
            raise unknown("engine", self.engine, ENGINES)
        if self.engine == "libero" and self.look != "full":
            raise UserError(f"the libero engine draws LIBERO's own pixels only; use look full, not {self.look}")


def make_pool(settings: PoolSettings, episodes: int | None = None) -> Pool:
    """The pool that `settings` ask for; of no more workers than `episodes`, where that is known."""
    workers = settings.workers or cores()
    return Pool(workers if episodes is None else min(workers, episodes), settings.slots, settings.watchdog)
