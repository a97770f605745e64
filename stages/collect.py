"""Stage 1: roll a policy out in LIBERO and record every episode.

Writes a rollout store (`data.store`). Episodes come in groups that share task and initial state and differ only in
their seed, as group-normalised policy gradients want them. What an episode does depends on the request and its seed
alone: the same store comes out for any number of workers, of machines that share it (`data.shards`), and after any
interruption.

Legend: N = tasks x groups x samples episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.errors import UserError
from data.joined import Rollouts, open_rollouts
from data.rates import store_rates
from data.shards import WHOLE, Shard
from data.store import DONE, Plan, RolloutStore
from data.watching import Tick
from stages.initial_states import REFILL, REMEMBERED, Draw, share_by_weight, share_out, starts_left
from stages.policies.acting import episode_seeds
from stages.policies.base import Policy
from stages.policies.loading import load_policy
from stages.policies.source import policy_folder
from stages.rolling import roll_out
from stages.sim.settings import RolloutSettings
from stages.sim.tasks import Task, select_inits, select_tasks
from stages.sim.workers.pool import Pool


@dataclass(frozen=True)
class CollectSettings(RolloutSettings):
    """What to collect, and with how many processes."""

    groups: int = 1
    """initial states a task"""
    samples: int = 8
    """episodes a group"""
    draw: Literal["even", "hard"] = "even"
    """groups: as many for every task, or one, and more from initial states that were failed in iterations before"""
    keep_images: bool = True
    """keep what the policy saw, as `update` wants it"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups < 1 or self.samples < 1:
            raise UserError(f"groups and samples must be 1 or more, not {self.groups} and {self.samples}")


ASKED_GROUPS = "asked_groups"
"""what a refill's store says it was begun for; a hard draw may find fewer"""


@dataclass(frozen=True)
class Refill:
    """Groups in place of those of earlier rounds that teach nothing."""

    groups: int
    """how many, of all tasks together; 1 or more"""
    rounds: Sequence[str | Path]
    """the stores of the rounds before, oldest first, collected with the same settings"""


def plan_rollouts(
    tasks: Sequence[Task],
    settings: CollectSettings,
    earlier: Sequence[Rollouts] = (),
    groups: int | None = None,
    rounds: Sequence[RolloutStore] = (),
) -> Plan:
    """Which episodes to run: for every task `groups` initial states (on average, with draw=hard), each `samples` times.

    Which states those are is `stages.initial_states`'s matter. An episode's seed comes from (the settings' seed, its
    index). A refill goes on with states and seeds where the rounds before ended.

    Args:
        earlier: rollouts of the iterations before, oldest first, for draw=hard; without any it is even.
        groups: of a refill, of all tasks together. rounds: its rounds before, see `Refill`.
    """
    draw = Draw([task.index for task in tasks], select_inits(settings.inits), settings.seed)
    begun, rng = [store.plan for store in rounds], np.random.default_rng([settings.seed, len(rounds), REFILL])
    hard = settings.draw == "hard" and len(earlier) > 0
    rate = draw.failure_rates(earlier) if hard else np.ones((len(tasks), len(draw.inits)))
    counts = np.full(len(tasks), settings.groups)
    if groups is not None:
        left = [starts_left(begun, [task], draw.inits) > 0 for task in draw.tasks] if hard else 1
        counts = share_by_weight(groups, rate.mean(1) * left, rng)
    elif hard:
        counts = share_out(settings.groups * len(tasks), rate.mean(1), most=len(draw.inits))
    task, init = draw.hard(counts, rate, begun) if hard else draw.evenly(counts, _groups(begun, draw.tasks))
    before, n = sum(len(store) for store in rounds), len(task) * settings.samples
    return Plan(
        task=np.repeat(task, settings.samples),
        init_state=np.repeat(init, settings.samples),
        group=np.repeat(np.arange(len(task)), settings.samples),
        seed=episode_seeds(settings.seed, before + n)[before:],
    )


def _groups(plans: Sequence[Plan], tasks: Sequence[int]) -> np.ndarray:
    """How many groups each of K tasks has in all of `plans`, (K,) int."""
    return np.array([sum(len(np.unique(plan.group[plan.task == task])) for plan in plans) for task in tasks])


def collect(
    path: str | Path,
    policy: str | Path,
    settings: CollectSettings,
    pool: Pool | None = None,
    progress: Tick | None = None,
    shard: Shard = WHOLE,
    earlier: Sequence[Sequence[str | Path]] = (),
    acting: Policy | None = None,
    refill: Refill | None = None,
) -> dict[str, Any]:
    """Collect the episodes that `settings` ask for and that the store at `path` does not hold yet.

    Args:
        path: the rollout store, made if nothing is there.
        policy: folder or Hub id of the policy.
        settings: what to collect.
        pool: one that lives across calls (its size wins over `settings`); none makes one and ends it.
        progress: `progress(done, total, note)` after every episode, in numbers of the shard's own.
        shard: the share of the episodes to run here, while others run theirs.
        earlier: the stores of each iteration before, oldest first, for draw=hard alone.
        acting: the policy, already loaded.
        refill: collect these groups in place of `settings.groups` of every task.

    Returns:
        The rates of `data.rates.store_rates` over what the store holds by now, episodes (that it is to hold), shard,
        shard_episodes, shard_n (finished ones), what `PoolReport.summary` gives, and what `Policy.first_look` told.

    Raises:
        UserError: settings that fit nothing, a policy that does not load, a store that holds other rollouts.
        Exception: what an episode raised three times, or lost its worker by; the store is consistent.
    """
    policy = policy_folder(policy)
    acting = acting or load_policy(policy, "auto")
    tasks = select_tasks(settings.suite, settings.tasks)
    before = [open_rollouts(rounds) for rounds in earlier[-REMEMBERED:]]
    rounds = [RolloutStore.open(path) for path in refill.rounds] if refill else []
    plan = plan_rollouts(tasks, settings, before, refill.groups if refill else None, rounds)
    asked: dict[str, Any] = {"groups": settings.groups, "samples": settings.samples}
    asked |= {"draw": settings.draw} if settings.draw != "even" else {}
    asked |= {"round": len(rounds), ASKED_GROUPS: refill.groups} if refill else {}
    store, figures = roll_out(
        path, policy, acting, settings, (tasks, plan), pool, progress, shard, settings.keep_images, **asked
    )
    return {**store_rates(store), **_share(store, shard), **figures}


def _share(store: RolloutStore, shard: Shard) -> dict[str, Any]:
    """How far the store is, and this share of it."""
    done, own = store.status() == DONE, shard.episodes(len(store))
    return {"episodes": len(store), "shard": str(shard), "shard_episodes": len(own), "shard_n": int(done[own].sum())}
