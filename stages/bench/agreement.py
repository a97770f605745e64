"""Our engine against LIBERO's own, task by task: controls, states, success flags, observations, whole episodes.

What a table of it says: on equal states the controls differ by rounding only; after N control steps the states differ
by what contacts have made of that rounding. `nudged` tells how much that may be: how far our engine gets from itself
when every position is nudged by 1e-15, 1e-12 or 1e-10. Where that is as much, the engines are as equal as ours is to
itself: contacts amplify the last digit, and only the outcomes of many episodes can be compared.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.errors import UserError
from data.rates import wilson
from data.watching import Tick
from stages.bench.pair import Pair, Run
from stages.bench.scenarios import Scenario, find_scenarios
from stages.sim.expert import ScriptedExpert, check_task
from stages.sim.physics.controller import ARM
from stages.sim.replay import smooth_actions
from stages.sim.simulator import Simulator
from stages.sim.tasks import N_INITS, Task, select_tasks

MARKS = (1, 10, 50, 130)
"""Control steps after which states are compared: largest difference up to then."""
TORQUE_EVERY = 10
NUDGES = (1e-15, 1e-12, 1e-10)
POSITION_BAR, ARM_BAR, PAIRED_BAR = 1e-5, 1e-4, 0.99
"""All positions over 50 control steps; arm joints over 130, on nine of ten tasks; share of equal outcomes."""
NOISES = (0.0, 0.3, 0.8)
"""Standard deviations of what is added to the expert's actions: the last makes it fail at times."""
KINDS = ("enters", "leaves", "misses")
EPISODE = 60
"""Control steps of a paired episode that starts near the goal; a scripted one may take the suite's horizon."""


@dataclass
class _Flags:
    """Success flags that were compared, step by step."""

    steps: int = 0
    disagreements: int = 0
    predicates: int = 0
    flips: int = 0

    def count(self, run: Run) -> None:
        self.steps += len(run.ours)
        self.disagreements += int((run.ours != run.libero).sum())
        self.predicates += run.predicates
        self.flips += int((run.libero[1:] != run.libero[:-1]).sum())


@dataclass
class _Paired:
    """Outcomes of episodes with the same initial state and actions."""

    outcomes: list[tuple[bool, bool]] = field(default_factory=list)

    def count(self, run: Run) -> None:
        self.outcomes.append((bool(run.ours.any()), bool(run.libero.any())))

    def summary(self) -> dict[str, int]:
        ours, libero = sum(o for o, _ in self.outcomes), sum(t for _, t in self.outcomes)
        return {"n": len(self.outcomes), "equal": sum(o == t for o, t in self.outcomes), "ours": ours, "libero": libero}


def check_suite(suite: str, tasks: str = "all", episodes: int = 0, progress: Tick | None = None) -> dict[str, Any]:
    """Compare the engines on tasks of a suite; about 20 s a task, and 5 s an episode.

    Args:
        suite, tasks: as everywhere.
        episodes: paired episodes over all tasks, in turn.
        progress: `progress(done, total, note)` before each task.

    Returns:
        JSON-able: `suite`; `tasks`, a list of what `agreement` gives; `summary` over them.

    Raises:
        UserError: unknown suite or tasks, or what LIBERO needs is missing.
    """
    chosen = select_tasks(suite, tasks)
    if episodes < 0:
        raise UserError(f"{episodes} paired episodes; give 0 or more")
    rows = []
    for i, task in enumerate(chosen):
        if progress:
            progress(i, len(chosen), task.instruction)
        share = episodes // len(chosen) + (i < episodes % len(chosen))
        rows.append(agreement(task, share))
    return {"suite": suite, "tasks": rows, "summary": summarise(rows)}


def agreement(task: Task, episodes: int = 0) -> dict[str, Any]:
    """Compare the engines on one task.

    Returns:
        task, instruction, init; torque (Nm, on equal states) and first_torque (with the reset pose's kinematics);
        state {control steps: {arm, all}} largest differences of joint positions so far;
        nudged {control steps: largest difference} of our engine to itself, see the module;
        proprio (largest difference on equal states) and lag {mm, rad, finger_mm}, see `_lag`;
        success_steps, success_disagreements, predicate_disagreements, success_flips, scenarios;
        paired {n, equal, ours, libero}: episodes, equal outcomes, successes.
    """
    pair = Pair(task)
    try:
        return _Check(pair).row(episodes)
    finally:
        pair.close()


class _Check:
    """All comparisons of one task."""

    def __init__(self, pair: Pair) -> None:
        self._pair, self._task = pair, pair.task
        self._flags, self._paired = _Flags(), _Paired()
        self._search = Simulator(self._task)
        self._init = self._task.index % N_INITS

    def row(self, episodes: int) -> dict[str, Any]:
        first = self._pair.reset(self._init)
        run, torque = self._smooth()
        proprio = self._pair.proprio()
        scenarios = find_scenarios(self._search, self._init, self._task.index, KINDS)
        for scenario in scenarios:
            self._pair.put(scenario.row)
            self._flags.count(self._pair.run(scenario.actions))
        self._episodes(episodes, [scenario for scenario in scenarios if scenario.kind != "leaves"])
        return {
            "task": self._task.index,
            "instruction": self._task.instruction,
            "init": self._init,
            "torque": torque,
            "first_torque": first,
            "state": {str(n): {"arm": float(run.arm[n]), "all": float(run.positions[n])} for n in MARKS},
            "nudged": self._nudged(),
            "proprio": proprio,
            "lag": _lag(run.lag),
            "success_steps": self._flags.steps,
            "success_disagreements": self._flags.disagreements,
            "predicate_disagreements": self._flags.predicates,
            "success_flips": self._flags.flips,
            "scenarios": [scenario.kind for scenario in scenarios],
            "paired": self._paired.summary(),
        }

    def _smooth(self) -> tuple[Run, float]:
        """Smooth random actions from the settled state; the controls are compared every now and then."""
        actions = smooth_actions(self._task.index, MARKS[-1])
        parts, torque = [], 0.0
        for start in range(0, len(actions), TORQUE_EVERY):
            torque = max(torque, self._pair.controls(actions[start]))
            parts.append(self._pair.run(actions[start : start + TORQUE_EVERY]))
        run = _joined(parts)
        self._flags.count(run)
        return run, torque

    def _nudged(self) -> dict[str, float]:
        """The largest difference of our engine to itself after the smallest changes of every position."""
        plain = self._search
        nq = int(plain.model.physics.nq)
        actions = smooth_actions(self._task.index, MARKS[-1])
        plain.reset(self._init)
        start = plain.state()
        truth = [self._stepped(plain, action) for action in actions]
        worst = np.zeros(len(actions))
        for nudge in NUDGES:
            plain.reset(self._init)
            row = start.copy()
            row[1 : 1 + nq] += nudge * np.random.default_rng(0).choice([-1.0, 1.0], nq)
            plain.set_state(row)
            other = [self._stepped(plain, action) for action in actions]
            worst = np.maximum(worst, np.abs(np.array(other) - np.array(truth)).max(axis=1))
        return {str(n): float(worst[:n].max()) for n in MARKS[-2:]}

    @staticmethod
    def _stepped(simulator: Simulator, action: np.ndarray) -> np.ndarray:
        simulator.step(action)
        return np.array(simulator.data.qpos)

    def _episodes(self, episodes: int, scenarios: list[Scenario]) -> None:
        """Paired episodes from other initial states, each after LIBERO's own reset."""
        for k in range(episodes):
            init = (self._init + 1 + 7 * k) % N_INITS
            seed = 1000 * self._task.index + k
            if _has_expert(self._task):
                actions = self._expert_actions(init, NOISES[k % len(NOISES)], seed)
                self._pair.reset(init)
            else:
                self._pair.reset(init)
                actions = smooth_actions(seed, EPISODE)
                if scenarios:
                    self._pair.put(scenarios[k % len(scenarios)].start(self._pair.ours.state()))
            self._paired.count(self._pair.run(actions, until_success=True))

    def _expert_actions(self, init: int, noise: float, seed: int) -> np.ndarray:
        """(T, 7) f64 of the scripted expert, with noise, until it succeeds in our engine or its time is over."""
        self._search.reset(init)
        expert, random, actions = ScriptedExpert(self._search), np.random.default_rng(seed), []
        for _ in range(self._task.horizon):
            action = expert.action() + noise * random.normal(size=ARM) * (np.arange(ARM) < ARM - 1)
            actions.append(np.clip(action, -1.0, 1.0))
            if self._search.step(actions[-1]):
                break
        return np.array(actions)


def _has_expert(task: Task) -> bool:
    try:
        check_task(task)
    except UserError:
        return False
    return True


def _joined(parts: list[Run]) -> Run:
    """Runs that follow one another as one."""
    arm, positions = (
        np.maximum.accumulate(np.concatenate([getattr(p, name)[bool(i) :] for i, p in enumerate(parts)]))
        for name in ("arm", "positions")
    )
    ours, libero, lag = (np.concatenate([getattr(p, name) for p in parts]) for name in ("ours", "libero", "lag"))
    return Run(arm, positions, ours, libero, sum(p.predicates for p in parts), lag)


def _lag(lag: np.ndarray) -> dict[str, float]:
    """How far our proprioception is from that of LIBERO's step: ours is of the state itself, LIBERO's 2 substeps older.

    robosuite samples its observables once in 25 substeps; the two forced updates of reset and set_init_state make that
    the 24th, whose kinematics are those of its beginning: 4 ms before the end of the control step (fingers 2 ms).
    """
    worst = np.abs(lag).max(axis=0)
    return {
        "mm": float(1e3 * worst[:3].max()),
        "rad": float(worst[3:6].max()),
        "finger_mm": float(1e3 * worst[6:].max()),
    }


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The worst of all tasks, sums of flags and episodes with Wilson's interval, and whether the bars are met.

    Args:
        rows: what `agreement` gave, at least one.
    """

    def worst(part: str, n: int) -> list[float]:
        return [row["state"][str(n)][part] for row in rows]

    paired = {key: sum(row["paired"][key] for row in rows) for key in ("n", "equal", "ours", "libero")}
    arm = sum(value <= ARM_BAR for value in worst("arm", MARKS[-1]))
    share = paired["equal"] / max(paired["n"], 1)
    return {
        "torque": max(max(row["torque"], row["first_torque"]) for row in rows),
        "proprio": max(row["proprio"] for row in rows),
        "lag": {part: max(row["lag"][part] for row in rows) for part in rows[0]["lag"]},
        "state": {str(n): {part: max(worst(part, n)) for part in ("arm", "all")} for n in MARKS},
        **{key: sum(row[key] for row in rows) for key in rows[0] if key.startswith(("success_", "predicate_"))},
        "never_flipped": [row["task"] for row in rows if row["success_flips"] == 0],
        "paired": paired | {"share": share, "interval": wilson(paired["equal"], paired["n"])},
        "bars": {
            "positions_50": max(worst("all", 50)) <= POSITION_BAR,
            "arm_130": arm >= 0.9 * len(rows),
            "success": all(row["success_disagreements"] == 0 for row in rows),
            "paired": paired["n"] == 0 or share >= PAIRED_BAR,
        },
    }
