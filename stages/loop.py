"""Self-Referential Policy Optimization from start to end: an imitation start from demonstrations, or a given policy,
then iterations of collect, encode, reward, update (arXiv 2511.15605, section 3), evaluated on states kept apart.

Every stage finds for itself what is already there, so the loop holds no state of its own: killed at any moment, the
same call goes on where it stopped and ends with the same stores.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.paths import bury, pack
from data.runs import Run
from data.store import RolloutStore
from data.watching import Tell, Tick, Watch
from stages.average import average_policies
from stages.collect import Refill, collect
from stages.demo import make_demos
from stages.encode import encode_store
from stages.evaluate import evaluate
from stages.learning.launching import Launch, settings_words
from stages.learning.optimizer import STATE_FILE
from stages.learning.processes import result_together
from stages.plan.machine import this_machine
from stages.plan.plan import check_room
from stages.policies.adapted import base_of
from stages.policies.config import read_config
from stages.policies.resident import Resident
from stages.recipe import RETIRED, Recipe, make_recipe
from stages.reward import reward_store
from stages.rounds import groups_lacking, groups_of_round, round_figures, rounds_of
from stages.sft import train_sft
from stages.sim.settings import make_pool
from stages.sim.workers.pool import Pool
from stages.start import check_start, start_from
from stages.timing import StageClock
from stages.tracking import check_tracker, tracking
from stages.update import update_policy
from stages.world_models.registry import check_world_model, label_of

Sections = dict[str, dict[str, Any]]


def run_loop(
    folder: str | Path,
    recipe: Recipe,
    iterations: int,
    watch: Watch,
    tell: Tell,
    track: str | None = None,
    launch: Launch | None = None,
) -> dict[str, Any]:
    """Run a recipe up to `iterations`, from wherever its run directory stands.

    Args:
        track: a tracker that shows the metrics as well, see `stages.tracking`; it changes nothing in the run.
        launch: processes that do the updates; none: this one does.

    Returns:
        run (folder), iterations, the metrics of the last iteration by stage, seconds of this call.

    Raises:
        UserError: impossible settings, a folder with another run, what does not fit the memory or the disk, or a
            tracker that does not start; see the stages for the rest.
    """
    check_request(folder, recipe, iterations, track)
    began, launch = time.monotonic(), launch or Launch()
    check_room(folder, recipe, iterations, this_machine(launch.processes, launch.shares_out))
    _check_sources(recipe, new=not Run(folder).policies())
    run = Run.start(folder, *run_settings(recipe))
    with run.alone(), tracking(run, track) as follow, make_pool(recipe.collect) as pool:

        def told(record: dict[str, Any]) -> None:
            tell(record)
            follow()

        stages, done = _Stages(run, recipe, watch, told, launch), run.finished()
        if done == 0:
            stages.start()
        elif run.logged(done, "update"):
            tidy(run, recipe, done)
        else:
            done -= 1
        stages.evaluate(done, pool, last=done == iterations)
        for n in range(done + 1, iterations + 1):
            stages.collect(n, pool)
            stages.encode(n)
            stages.reward(n)
            stages.refill(n, pool)
            stages.update(n)
            stages.evaluate(n, pool, last=n == iterations)
            tidy(run, recipe, n)
    last = {m["stage"]: m for m in run.metrics() if m["iteration"] == iterations}
    return {"run": str(folder), "iterations": iterations, "last": last, "seconds": time.monotonic() - began}


def check_request(folder: str | Path, recipe: Recipe, iterations: int, track: str | None = None) -> None:
    """What can be told of a call before anything is loaded or written.

    Raises:
        UserError: a negative number of iterations, an unknown tracker, a folder with another run or something else.
    """
    if iterations < 0:
        raise UserError(f"--iterations must be 0 (only the start) or more, not {iterations}")
    if track:
        check_tracker(track)
    Run(folder).check(*run_settings(recipe))


def run_settings(recipe: Recipe) -> tuple[Sections, Sections, Sections]:
    """What a run's settings are checked against: the recipe's, the defaults of newer ones, and those that are gone."""
    return recipe.sections(), make_recipe({}).sections(), RETIRED


def _check_sources(recipe: Recipe, new: bool) -> None:
    """What is loaded from outside, before there is a run: a new one's policy and world model are loaded once, since
    neither should turn out to be impossible after its imitation or its first collection."""
    if recipe.run.policy and new:
        check_start(recipe.run.policy, recipe.update, recipe.collect, recipe.eval)
    if recipe.reward.needs_embedding:
        check_world_model(recipe.encode.world_model, recipe.encode if new else None)


class _Stages:
    """The stages of one run: where each reads and writes, timed, logged and told."""

    def __init__(self, run: Run, recipe: Recipe, watch: Watch, tell: Tell, launch: Launch) -> None:
        self._run, self._recipe, self._watch, self._tell, self._launch = run, recipe, watch, tell, launch
        self._label = label_of(recipe.encode.world_model)
        self._resident = Resident()
        self._ended = time.monotonic()

    def start(self) -> None:
        """policies/000: the policy to start from, or one that imitates demonstrations by the scripted expert."""
        run, recipe = self._run, self._recipe
        if recipe.run.policy:
            self._do(0, "start", "files", lambda _: start_from(recipe.run.policy, run.policy(0)))
            return
        self._do(0, "demo", "episodes", lambda tick: make_demos(run.demos(), recipe.demo, progress=tick))
        self._do(0, "sft", "steps", lambda tick: train_sft([run.demos()], run.policy(0), recipe.sft, progress=tick))

    def collect(self, n: int, pool: Pool) -> None:
        """Roll policy n-1 out into rollouts n."""
        self._do(n, "collect", "episodes", lambda tick: self._collect(n, self._run.rollouts(n), pool, tick))

    def encode(self, n: int) -> None:
        """Turn every trajectory of rollouts n into an embedding, where the reward needs one."""
        if self._recipe.reward.needs_embedding:
            self._do(n, "encode", "episodes", lambda tick: self._encode(self._run.rollouts(n), tick))

    def reward(self, n: int) -> None:
        """Reward failures by how near they came to the successes of the same batch."""
        if len(rounds_of(self._run, n)) == 1:  # further rounds come after it, and reward all of them
            self._do(n, "reward", "episodes", lambda _: self._reward(n, [self._run.rollouts(n)]))

    def refill(self, n: int, pool: Pool) -> None:
        """Collect and encode further groups in place of those that teach nothing; reward all rounds as one batch."""
        if self._recipe.collect.refill:
            self._do(n, "refill", "episodes", lambda tick: self._refill(n, pool, tick))

    def update(self, n: int) -> None:
        """Make policy n from policy n-1 and the rewarded rollouts n, kept near the start if `kl_coef` says so."""
        run, settings, label = self._run, self._recipe.update, self._recipe.reward_preset
        (store, *more), old, new = rounds_of(run, n), run.policy(n - 1), run.policy(n)
        start = run.policy(0) if settings.kl_coef else None
        if self._launch.processes > 1:
            self._do(n, "update", "minibatches", lambda _: self._update_together([store, *more], n, start))
            return
        held = self._resident.kept(old)
        work = partial(
            update_policy,
            store,
            old,
            new,
            label,
            settings,
            policy=held,
            reference=start,
            save_every=self._recipe.run.save_every,
            more=more,
        )
        self._do(n, "update", "minibatches", lambda tick: work(progress=tick))
        self._resident.became(new)

    def _update_together(self, stores: Sequence[Path], n: int, reference: Path | None) -> dict[str, Any]:
        """Policy n, by several processes, to which this one leaves the devices."""
        self._resident.let_go()
        run, recipe = self._run, self._recipe
        words = ["update", *map(str, stores), "--policy", str(run.policy(n - 1)), "--out", str(run.policy(n))]
        words += ["--reward", recipe.reward_preset, "--save-every", str(recipe.run.save_every)]
        words += ["--reference", str(reference)] if reference else []
        words += settings_words(recipe.update)
        return result_together(words, self._launch.processes, self._launch.environment)

    def evaluate(self, n: int, pool: Pool, last: bool = False) -> None:
        """Roll policy n, or the mean of the last ones, out greedily on held-out initial states, every so many
        iterations and at both ends."""
        settings = self._recipe.eval
        due = settings.every and (last or n % settings.every == 0)
        if due and not self._run.logged(n, "eval"):
            self._do(n, "eval", "episodes", lambda tick: self._evaluate(n, pool, tick))

    def _evaluate(self, n: int, pool: Pool, tick: Tick) -> dict[str, Any]:
        run, settings = self._run, self._recipe.eval
        numbers, policy = settings.averaged(n), run.policy(n)
        if len(numbers) > 1:
            self._resident.let_go()
            policy = run.average(n)
            average_policies([run.policy(number) for number in numbers], policy)
        result, _ = evaluate(policy, settings, run.evaluation(n), pool, tick, self._resident.get(policy))
        return result | {"averaged": len(numbers)}

    def _collect(self, n: int, store: Path, pool: Pool, tick: Tick, refill: Refill | None = None) -> dict[str, Any]:
        recipe = self._recipe.collect
        settings = replace(recipe, seed=iteration_seed(recipe.seed, n), temperature=recipe.cooled(n))
        policy, earlier = self._run.policy(n - 1), []
        if settings.draw == "hard":
            earlier = [rounds_of(self._run, k) for k in range(1, n)] + ([refill.rounds] if refill else [])
        acting = self._resident.get(policy)
        result = collect(store, policy, settings, pool, tick, earlier=earlier, acting=acting, refill=refill)
        return result | {"temperature": settings.temperature}

    def _encode(self, store: Path, tick: Tick) -> dict[str, Any]:
        return encode_store(store, self._recipe.encode.world_model, self._label, self._recipe.encode, tick)

    def _reward(self, n: int, rounds: Sequence[Path]) -> dict[str, Any]:
        settings, label = self._recipe.reward, self._recipe.reward_preset
        embedding = self._label if settings.needs_embedding else None
        earlier = [store for k in range(1, n) for store in rounds_of(self._run, k)]
        return reward_store(rounds[0], settings, embedding, label, earlier, more=rounds[1:])

    def _refill(self, n: int, pool: Pool, tick: Tick) -> dict[str, Any]:
        recipe, rounds = self._recipe, [self._run.rollouts(n)]
        collected = []
        for number in range(1, recipe.collect.refill + 1):
            store = self._run.rollouts(n, number)
            groups = groups_of_round(store, rounds, recipe)
            if not groups:
                break
            collected.append(self._collect(n, store, pool, tick, Refill(groups, tuple(rounds))))
            rounds.append(store)
            if recipe.reward.needs_embedding:
                self._encode(store, tick)
            if rounds == rounds_of(self._run, n):
                self._reward(n, rounds)
        return round_figures(collected, groups_lacking(rounds, recipe.reward_preset, recipe.update))

    def _do(self, n: int, stage: str, unit: str, work: Callable[[Tick], dict[str, Any]]) -> None:
        clock, pause = StageClock(self._run, n, stage), time.monotonic() - self._ended
        title = f"{stage} {n}" if n else stage
        with self._watch(title, unit) as tick:
            result = work(clock.noting(tick))
        times = {"seconds": clock.seconds(), "earlier_seconds": clock.earlier, "pause": pause}
        self._ended = time.monotonic()
        result |= {name: round(value, 3) for name, value in times.items()}
        self._run.log(n, stage, result)
        clock.over()
        self._tell({"iteration": n, "stage": stage, **result})


def iteration_seed(seed: int, n: int) -> int:
    """The seed of iteration n's rollouts: another for every iteration, the same when it is run again."""
    return int(np.random.SeedSequence([seed, n]).generate_state(1, np.uint32)[0])


def tidy(run: Run, recipe: Recipe, n: int) -> None:
    """After iteration n: drop what is only needed to redo old iterations, so that a long run stays small.

    Of the policies older than the last two and than those of an average, every tenth (`run.keep_policies`), the start
    and one that adapters belong to stay; optimizer state stays for the last two; images stay for the last
    `run.keep_images` iterations; older stores are packed into one file each.
    """
    settings, old = recipe.run, n - max(2, recipe.eval.average)
    if n >= 2:
        (run.policy(n - 2) / STATE_FILE).unlink(missing_ok=True)
    if old > 0 and old % settings.keep_policies and not _is_base(run.policy(old), run.policy(n)):
        _remove_policy(run, old)
    if n > settings.keep_images:
        _unpacked(run, n - settings.keep_images, lambda store: RolloutStore.open(store, writable=True).drop_images())
    if settings.pack_after and n > settings.pack_after:
        _unpacked(run, n - settings.pack_after, pack)


def _unpacked(run: Run, n: int, work: Callable[[Path], object]) -> None:
    for store in rounds_of(run, n):
        if store.is_dir():
            work(store)
        else:
            bury(store)


def _is_base(folder: Path, adapted: Path) -> bool:
    base = base_of(adapted, read_config(adapted))
    return base is not None and Path(base.policy) == folder.resolve()


def _remove_policy(run: Run, n: int) -> None:
    """Remove a policy folder; the weights go first, so that half a folder is never taken for a policy."""
    folder = run.policy(n)
    if folder.is_dir():
        for file in sorted(folder.iterdir(), key=lambda p: p.suffix != ".safetensors"):
            file.unlink()
        folder.rmdir()
