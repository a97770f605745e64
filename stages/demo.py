"""Demonstrations by the scripted expert: what an imitation start learns from.

Writes a rollout store (`data.store`) with `step/label`: the action that the expert meant, before the noise that shows
how to recover (DART, arXiv 1703.09327). An episode's content depends on the request alone, not on the number of workers
or on interruptions. A demonstration that fails is tried again with other noise.

Legend: N = tasks x per_task episodes, T control steps at most, t control steps of an episode.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.cores import cores
from data.errors import UserError, unknown
from data.lineage import digest
from data.rates import store_rates
from data.store import DONE, Episode, Layout, Plan, RolloutStore
from data.watching import Tick
from stages.sim.expert import ScriptedExpert, check_task, expert_digest
from stages.sim.lapses import Lapse, LapsingExpert, draw_lapse
from stages.sim.looks.render import LOOKS
from stages.sim.mistakes import ErringExpert, Mistake, draw_mistake, draw_pace
from stages.sim.models.model import task_model
from stages.sim.simulator import Simulator
from stages.sim.tasks import Task, draw_inits, initial_state, select_inits, select_tasks
from stages.sim.workers.filling import Request, open_store

ATTEMPTS = 5
"""Times that a demonstration is begun, each with other noise, before it stands as a failure."""
NOISE_SHARES = (1.0, 1.0, 1.0, 0.3, 0.3, 0.3)
"""Noise on each motion value: an action turns by up to 0.5 rad, and with a full share of noise on the rotations their
corrections are all that the labels hold; a policy of five demonstrations a task then never succeeds."""
MISTAKE_RECIPE, LAPSE_RECIPE = 2, 2
"""Raised whenever what a mistake, a lapse, comes to changes."""
MISTAKES, LAPSES = 1_000, 1_001
"""The streams of random numbers that these come from, apart from every attempt's."""


@dataclass(frozen=True)
class DemoSettings:
    """Which demonstrations to make, and how noisy."""

    suite: str = "libero_object"
    """a LIBERO suite; the expert knows every task of libero_object and libero_spatial"""
    tasks: str = "all"
    """task numbers: 0,1 or 0-4 or all"""
    per_task: int = 5
    """demonstrations a task"""
    inits: str = "train"
    """initial states to draw from: train, heldout, paper or 0-9,12"""
    noise: float = 0.3
    """standard deviation of the noise on the executed motion (0.3 of it on rotations); the label stays clean"""
    mistakes: float = 0.0
    """share of the episodes that go wrong for good at some stage (stall, go astray, miss, let go); above 0 the pace
    varies"""
    lapses: float = 0.0
    """share of the episodes in which a grasp misses or the object is let go, and the expert tries again"""
    seed: int = 0
    """draws the initial states, the noise, the mistakes and the lapses"""
    horizon: int | None = None
    """control steps at most; none: the suite's own limit"""
    look: str = "lite"
    """lite or full: how the pictures of these demonstrations are to be drawn"""
    workers: int | None = None
    """threads that simulate; none: one a CPU core, at most 4"""

    def __post_init__(self) -> None:
        for name in ("per_task", "horizon", "workers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"demo.{name} must be 1 or more, not {value}")
        if not 0 <= self.noise <= 1:
            raise UserError(f"demo.noise must be between 0 and 1, not {self.noise}")
        for name in ("mistakes", "lapses"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"demo.{name} must be between 0 and 1, not {getattr(self, name)}")
        if self.mistakes and self.lapses:
            raise UserError("demo.mistakes are stood by, demo.lapses made up for; ask for one of them")
        if self.seed < 0:
            raise UserError(f"demo.seed must be 0 or above, not {self.seed}")
        if self.look not in LOOKS:
            raise unknown("look", self.look, LOOKS)


class DemoRequest(Request):
    """A request for demonstrations: labels instead of a policy's tokens, no pictures."""

    def layout(self) -> Layout:
        """The sizes that every demonstration shares."""
        size = max(len(initial_state(task, 0)) for task in self.tasks)
        return Layout(horizon=self.horizon, state_size=size, chunk=self.chunk, label=True)


def check_expert(settings: DemoSettings) -> None:
    """Raises UserError: tasks that the expert does not know."""
    for task in select_tasks(settings.suite, settings.tasks):
        check_task(task)


def make_demos(path: str | Path, settings: DemoSettings, progress: Tick | None = None) -> dict[str, Any]:
    """Make the demonstrations that `settings` ask for and that the store at `path` does not hold yet.

    Args:
        path: the rollout store, made if nothing is there.
        settings: which demonstrations.
        progress: `progress(done, total, note)` after every demonstration.

    Returns:
        The rates of `data.rates.store_rates`; made (now), up_to_date, seconds, episodes_per_second.

    Raises:
        UserError: tasks that the expert does not know, settings that fit nothing, a store that holds other rollouts.
    """
    start = time.monotonic()
    request = _request(settings)
    if not RolloutStore.exists(path):
        check_expert(settings)
    store = open_store(path, request)
    todo = np.flatnonzero(store.status() != DONE).tolist()
    if todo:
        _fill(RolloutStore.open(path, writable=True), request, todo, settings, progress)
    seconds = time.monotonic() - start
    done = {"made": len(todo), "up_to_date": not todo, "seconds": seconds, "episodes_per_second": len(todo) / seconds}
    return {**store_rates(store), **done}


def plan_demos(tasks: Sequence[Task], inits: Sequence[int], per_task: int, seed: int) -> Plan:
    """Which demonstrations to make: for every task `per_task` initial states and a seed of the noise for each.

    The states of a task are drawn without replacement, anew where there are fewer than `per_task`. Both draws come from
    (seed, task): other tasks do not change them.
    """
    generators = [np.random.default_rng([seed, task.index]) for task in tasks]
    states = [draw_inits(generator, inits, per_task) for generator in generators]
    return Plan(
        task=np.repeat([task.index for task in tasks], per_task),
        init_state=np.concatenate(states),
        group=np.arange(len(tasks) * per_task),
        seed=np.concatenate([rng.integers(2**63, size=per_task) for rng in generators]),
    )


@dataclass(frozen=True)
class Course:
    """What happens to an episode besides the expert's actions."""

    noise: float
    """standard deviation, in units of an action"""
    horizon: int
    """control steps at most"""
    mistake: Mistake | None
    pace: float
    lapse: Lapse | None

    @classmethod
    def draw(cls, seed: int, settings: DemoSettings, horizon: int) -> "Course":
        """Whether something goes wrong, and what, comes from the seed: it is the same in every attempt."""
        rng = np.random.default_rng([seed, MISTAKES])
        mistake = draw_mistake(rng) if rng.random() < settings.mistakes else None
        pace = draw_pace(rng) if settings.mistakes else 1.0
        rng = np.random.default_rng([seed, LAPSES])
        lapse = draw_lapse(rng) if rng.random() < settings.lapses else None
        return cls(settings.noise, horizon, mistake, pace, lapse)


def demonstrate(task: Task, init: int, seed: int, settings: DemoSettings, horizon: int) -> Episode:
    """One demonstration: the first attempt that succeeds, else the last one.

    Args:
        task: what to do.
        init: the initial state.
        seed: attempt k draws its noise from (seed, k), the mistakes and lapses come from the seed.
        settings: its noise, mistakes and lapses count here. Without noise, or with a mistake, there is one attempt.
        horizon: control steps at most.
    """
    simulator, course = Simulator(task), Course.draw(seed, settings, horizon)
    for attempt in range(ATTEMPTS if course.noise and not course.mistake else 1):
        episode = _attempt(simulator, init, np.random.default_rng([seed, attempt]), course)
        if episode.success:
            break
    return episode


def _attempt(simulator: Simulator, init: int, rng: np.random.Generator, course: Course) -> Episode:
    simulator.reset(init)
    scripted = ScriptedExpert(simulator)
    expert = ErringExpert(scripted, course.mistake, course.pace)
    lapsing = LapsingExpert(scripted, course.lapse) if course.lapse else None
    success, states = False, [simulator.state()]
    actions: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    while not success and len(actions) < course.horizon:
        label = expert.action()
        action = lapsing.executed(label) if lapsing else label.copy()
        noise = course.noise * np.multiply(NOISE_SHARES, rng.standard_normal(6))
        action[:6] = np.clip(action[:6] + noise, -1.0, 1.0)
        success = simulator.step(action)
        labels.append(label)
        actions.append(action)
        states.append(simulator.state())
    return Episode(success=success, state=np.stack(states), action=np.stack(actions), label=np.stack(labels))


def _request(settings: DemoSettings) -> DemoRequest:
    tasks, inits = select_tasks(settings.suite, settings.tasks), select_inits(settings.inits)
    if not settings.noise and settings.per_task > len(inits):
        raise UserError(
            f"demo.per_task {settings.per_task} without noise would repeat the {len(inits)} initial states "
            f"'{settings.inits}'; ask for fewer, or set demo.noise"
        )
    return DemoRequest(
        tasks=tasks,
        plan=plan_demos(tasks, inits, settings.per_task, settings.seed),
        horizon=settings.horizon or tasks[0].horizon,
        chunk=1,
        cameras={},
        look=settings.look,
        engine="fast",
        keep_images=False,
        asked={
            "policy": {"id": "scripted-expert", "weights": digest(expert_digest(settings.suite), NOISE_SHARES)},
            "noise": settings.noise,
            "seed": settings.seed,
            "inits": settings.inits,
            "per_task": settings.per_task,
            **({"mistakes": settings.mistakes, "mistake_recipe": MISTAKE_RECIPE} if settings.mistakes else {}),
            **({"lapses": settings.lapses, "lapse_recipe": LAPSE_RECIPE} if settings.lapses else {}),
        },
    )


def _fill(
    store: RolloutStore, request: DemoRequest, todo: list[int], settings: DemoSettings, progress: Tick | None
) -> None:
    """Simulate in threads (MuJoCo computes outside Python's lock), write here."""
    store.sweep(range(len(store)))
    done, successes = len(store) - len(todo), int(store.success().sum())
    for index, episode in _episodes(request, todo, settings):
        store.write(index, episode)
        done, successes = done + 1, successes + episode.success
        if progress:
            progress(done, len(store), f"success {100 * successes / done:.0f} %")


def _episodes(request: DemoRequest, todo: list[int], settings: DemoSettings) -> Iterator[tuple[int, Episode]]:
    """The missing demonstrations as they become ready; the models are loaded first, as that is not for threads."""
    tasks, plan = {task.index: task for task in request.tasks}, request.plan
    for task in {int(plan.task[i]) for i in todo}:
        task_model(tasks[task])

    def run(i: int) -> Episode:
        task = tasks[int(plan.task[i])]
        return demonstrate(task, int(plan.init_state[i]), int(plan.seed[i]), settings, request.horizon)

    threads = ThreadPoolExecutor(settings.workers or min(cores(), 4))
    try:
        futures = {threads.submit(run, i): i for i in todo}
        for future in as_completed(futures):
            yield futures.pop(future), future.result()
    finally:
        threads.shutdown(cancel_futures=True)
