"""Rolling a policy out on a plan of episodes: what collection and evaluation have in common."""

from functools import partial
from pathlib import Path
from typing import Any

from data.shards import WHOLE, Shard
from data.store import Plan, RolloutStore
from data.watching import Tick
from stages.learning.threads import torch_threads
from stages.policies.acting import make_actor
from stages.policies.base import Policy
from stages.policies.loading import identity
from stages.sim.settings import RolloutSettings, make_pool
from stages.sim.tasks import Task
from stages.sim.workers.filling import fill, rollout_request
from stages.sim.workers.pool import Pool


def roll_out(
    path: str | Path,
    policy: Path,
    acting: Policy,
    settings: RolloutSettings,
    episodes: tuple[list[Task], Plan],
    pool: Pool | None = None,
    progress: Tick | None = None,
    shard: Shard = WHOLE,
    keep_images: bool = False,
    **asked: Any,
) -> tuple[RolloutStore, dict[str, Any]]:
    """Run the episodes that the store at `path` does not hold yet.

    Args:
        policy: its folder, and `acting` what was loaded from it.
        episodes: the tasks, and which episodes of them.
        pool: one that lives across calls; none makes one and ends it.
        keep_images: keep what the policy saw.
        asked: what else the store is to say it was made for.

    Returns:
        The store; what `PoolReport.summary` gives and `Policy.first_look` told.

    Raises:
        UserError: a store that holds other rollouts, a policy that does not fit the scene.
        Exception: as `Pool.run`.
    """
    tasks, plan = episodes
    asked = {"policy": identity(policy), **asked}
    request = rollout_request(settings, tasks, plan, acting.spec.chunk, acting.spec.cameras, keep_images, **asked)
    actor = make_actor(acting, request, settings)
    with torch_threads(1):  # the workers have the other cores
        workers = pool or partial(make_pool, settings)
        store, report = fill(path, request, actor, workers, progress, shard, settings.skip_errors)
    return store, {**report.summary(), **actor.figures}
