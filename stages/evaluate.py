"""Evaluation: how often a policy succeeds, with an interval, over initial states that it was not trained on.

Runs one episode for each chosen (task, initial state), spread evenly, through the same pool and store as `collect`. The
store is kept if a place is given for it, and an interrupted evaluation then goes on.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.checkpoint import read_record
from data.errors import UserError
from data.rates import store_rates
from data.store import DONE, Plan, RolloutStore
from data.watching import Tick
from stages.policies.acting import episode_seeds
from stages.policies.base import Policy
from stages.policies.loading import load_policy
from stages.policies.source import policy_folder
from stages.policies.trained import repeats, suites
from stages.rolling import roll_out
from stages.sim.settings import RolloutSettings
from stages.sim.tasks import Task, select_inits, select_tasks
from stages.sim.workers.pool import Pool


@dataclass(frozen=True)
class EvalSettings(RolloutSettings):
    """What to evaluate on."""

    temperature: float = 0.0
    """0 takes the likeliest actions"""
    inits: str = "heldout"
    episodes: int | None = None
    """in all, spread evenly over tasks and initial states; none: one each"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes is not None and self.episodes < 1:
            raise UserError(f"episodes must be 1 or more, not {self.episodes}")


def plan_evaluation(tasks: Sequence[Task], inits: Sequence[int], episodes: int, seed: int) -> Plan:
    """`episodes` episodes, as equal a number for every task as can be, each task's evenly over `inits`.

    A group is one (task, initial state); only where there are more episodes than those does one come up again.
    """
    counts = [episodes // len(tasks) + (i < episodes % len(tasks)) for i in range(len(tasks))]
    rows = [_even(len(inits), count) for count in counts]
    places = np.concatenate([i * len(inits) + row for i, row in enumerate(rows)])
    return Plan(
        task=np.repeat([task.index for task in tasks], counts),
        init_state=np.asarray(inits)[np.concatenate(rows)],
        group=np.unique(places, return_inverse=True)[1],
        seed=episode_seeds(seed, episodes),
    )


@dataclass(frozen=True)
class Outcomes:
    """What became of N episodes."""

    task: np.ndarray
    """(N,) int64: number of the task"""
    done: np.ndarray
    """(N,) bool: false where an episode failed three times and was done without"""
    success: np.ndarray
    """(N,) bool; false where not done"""

    @classmethod
    def of(cls, store: RolloutStore) -> "Outcomes":
        """Those of a store."""
        return cls(store.plan.task, store.status() == DONE, store.success())


def evaluate(
    policy: str | Path,
    settings: EvalSettings,
    out: str | Path | None = None,
    pool: Pool | None = None,
    progress: Tick | None = None,
    acting: Policy | None = None,
) -> tuple[dict[str, Any], Outcomes]:
    """Evaluate a policy.

    Args:
        policy: folder or Hub id of the policy.
        settings: on what.
        out: a rollout store for the episodes, made or gone on with; none keeps nothing.
        pool: one that lives across calls; none makes one and ends it.
        progress: `progress(done, total, note)` after every episode.
        acting: the policy, already loaded.

    Returns:
        Figures: the rates of `data.rates.store_rates`, with trained_on (episodes that start where training did; none:
        not known), trained_suites (where it trained; likewise), inits, temperature, horizon, look, policy, versions,
        what `PoolReport.summary` gives, and what `Policy.first_look` told. And what became of every episode: the same
        settings ask the same episodes in the same order.

    Raises:
        UserError: settings that fit nothing, a policy that does not load, an `out` that holds other rollouts.
        Exception: as `Pool.run`.
    """
    policy = policy_folder(policy)
    acting = acting or load_policy(policy, "auto")
    tasks, plan = planned(settings)
    with tempfile.TemporaryDirectory(prefix="srpo-eval-") as temporary:
        path = out or Path(temporary) / "eval.zarr"
        store, figures = roll_out(path, policy, acting, settings, (tasks, plan), pool, progress)
        rates, outcomes = store_rates(store), Outcomes.of(store)
    told = {key: store.attrs[key] for key in ("suite", "inits", "temperature", "horizon", "look", "policy", "versions")}
    record = read_record(policy)
    training = {
        "trained_on": repeats(record, settings.suite, plan.task, plan.init_state),
        "trained_suites": suites(record),
    }
    return {**rates, **told, **training, **figures}, outcomes


def planned(settings: EvalSettings) -> tuple[list[Task], Plan]:
    """The tasks and episodes that settings ask for; no policy has a part in them.

    Raises:
        UserError: settings that fit nothing.
    """
    tasks, inits = select_tasks(settings.suite, settings.tasks), select_inits(settings.inits)
    return tasks, plan_evaluation(tasks, inits, _count(settings, len(tasks) * len(inits)), settings.seed)


def _count(settings: EvalSettings, places: int) -> int:
    """How many episodes.

    Raises:
        UserError: greedy ones would repeat each other.
    """
    episodes = settings.episodes or places
    if settings.temperature == 0 and episodes > places:
        raise UserError(
            f"only {places} greedy episodes differ (tasks x initial states), {episodes} were asked; "
            "ask for fewer, more tasks or initial states, or a temperature above 0"
        )
    return episodes


def _even(size: int, count: int) -> np.ndarray:
    """(count,) places in 0 .. size-1: all of them as often as `count` allows, the rest evenly spread."""
    whole, rest = divmod(count, size)
    return np.concatenate([np.tile(np.arange(size), whole), np.arange(rest) * size // max(rest, 1)]).astype(np.int64)
