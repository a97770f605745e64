"""Imitation start: a policy from demonstrations.

Reads `step/state` and `step/label` (or `step/action`) of the finished, successful episodes of rollout stores; renders
what the policy would have seen at every control step; writes a policy folder with a record of what it was made from.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError
from data.lineage import digest
from data.settings import content
from data.store import RolloutStore
from data.watching import Tick
from stages.learning.adapting import AdapterSettings, make_trainable
from stages.learning.imitation import Demonstrations, ImitationSettings, chunks, imitate
from stages.learning.threads import torch_threads
from stages.policies.base import Observation, Policy, PolicySpec
from stages.policies.loading import load_policy, save_policy, weights_digest
from stages.policies.mini import MiniConfig, MiniPolicy, proprio_features
from stages.policies.source import policy_folder
from stages.policies.trained import KEY as HISTORY
from stages.policies.trained import extend_history
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks


@dataclass(frozen=True)
class SftSettings(ImitationSettings, AdapterSettings):
    """How the policy looks and learns."""

    agentview: int = 96
    """side of the picture of the scene; new policies only"""
    wrist: int = 64
    """side of the picture from the hand, 0 for none; new policies only"""
    chunk: int = 8
    """actions a query; new policies only"""
    bins: int = 41
    """tokens an action dimension; new policies only"""
    preflight: bool = True
    """refuse demonstrations that the policy to go on with was not made for: another suite's, or of another look"""

    def __post_init__(self) -> None:
        ImitationSettings.__post_init__(self)
        AdapterSettings.__post_init__(self)

    def cameras(self) -> dict[str, int]:
        """Camera -> side of a new policy."""
        return {"agentview": self.agentview} | ({"robot0_eye_in_hand": self.wrist} if self.wrist else {})


@dataclass(frozen=True)
class Demo:
    """One demonstration: state (t+1, S) f64, action (t, 7) f32 to imitate, and which task it solves; departs (t,) bool
    tells where a lapse makes the gripper do something else than `action` (`stages.sim.lapses`)."""

    suite: str
    look: str
    task: int
    instruction: str
    state: np.ndarray
    action: np.ndarray
    departs: np.ndarray


def train_sft(
    stores: Sequence[str | Path],
    out: str | Path,
    settings: SftSettings | None = None,
    policy: str = "mini",
    threads: int | None = None,
    progress: Tick | None = None,
) -> dict[str, Any]:
    """Train a policy on demonstrations and save it as `out`; a second call with the same inputs does nothing.

    Args:
        stores: rollout stores; episodes that are not done or did not succeed are left out.
        policy: `mini` for a new one, or the folder or Hub id of one to go on with.
        threads: torch threads; by default one a core.
        progress: called as `progress(done, total, note)`, first while rendering, then after every step.

    Returns:
        out, weights, inputs, settings, demonstrations, moments, tasks, loss, accuracy, up_to_date;
        samples_per_second unless up to date.

    Raises:
        UserError: no successful episode, a broken store, an `out` that holds another policy, a policy that cannot be
            loaded, was not made for these demonstrations or (`check_trainable`) would not learn, a loss that is not
            finite.
    """
    settings, out = settings or SftSettings(), Path(out)
    demos = [demo for store in stores for demo in read_demos(store)]
    if not demos:
        raise UserError(f"no successful episode in {', '.join(map(str, stores))}; make some with `srpo demo`")
    if policy == "mini" and settings.lora_rank is not None:
        raise UserError("sft setting lora_rank puts adapters on a policy that is there; give it with --policy")
    base = "mini" if policy == "mini" else weights_digest(policy)
    inputs = digest("sft", base, content(settings), *(part for demo in demos for part in _content(demo)))
    speed: dict[str, float] = {}
    present = holds(out, inputs)
    if not present:
        with torch_threads(threads):
            moments, trained = _prepare(demos, policy, base, settings, progress)
            try:
                figures = imitate(trained, moments, settings, progress)
            except FloatingPointError as error:
                raise UserError(f"{error}; nothing was saved: lower --set lr") from error
        speed["samples_per_second"] = figures.pop("samples_per_second")
        counts = {"demonstrations": len(demos), "moments": len(moments), "tasks": _tasks(demos)}
        record = {"kind": "sft", "inputs": inputs, "policy": base, "settings": content(settings), **counts, **figures}
        before = {HISTORY: {}} if policy == "mini" else read_record(policy_folder(policy))
        history = extend_history(before, *(RolloutStore.open(store) for store in stores))
        write_checkpoint(out, partial(save_policy, trained), record | history)
    facts = {key: value for key, value in read_record(out).items() if key != HISTORY}
    return {**facts, **speed, "out": str(out), "weights": weights_digest(out), "up_to_date": present}


def read_demos(store: str | Path) -> Iterator[Demo]:
    """The finished, successful episodes of a store; `step/label` is imitated where there is one, else `step/action`."""
    opened = RolloutStore.open(store)
    instructions = {int(task["index"]): str(task["instruction"]) for task in opened.attrs["tasks"]}
    for i in opened.done()[opened.success()[opened.done()]]:
        episode = opened.read(int(i), images=False)
        if not len(episode.action):
            raise UserError(f"episode {i} of {store} succeeded in no step; collect it again")
        task = int(opened.plan.task[i])
        action = episode.action if episode.label is None else episode.label
        other = (action[:, 6] > 0) != (episode.action[:, 6] > 0)
        departs = np.diff(other.astype(int), prepend=0) > 0
        scene = (opened.attrs["suite"], opened.attrs["look"], task, instructions[task])
        yield Demo(*scene, episode.state, action, departs)


def see(demos: Sequence[Demo], spec: PolicySpec, watch: Tick | None = None) -> Demonstrations:
    """What a policy of `spec` sees and should do at every control step of every demonstration.

    Args:
        watch: called as `watch(done, total)` after every demonstration, in moments.
    """
    simulators: dict[tuple[str, str, int], Simulator] = {}
    total = sum(len(demo.action) for demo in demos)
    images = {camera: np.empty((total, side, side, 3), np.uint8) for camera, side in spec.cameras.items()}
    proprio = np.empty((total, spec.proprio), np.float32)
    row = 0
    for demo in demos:
        key = (demo.suite, demo.look, demo.task)
        if key not in simulators:
            simulators[key] = Simulator(suite_tasks(demo.suite)[demo.task], demo.look)
        for state in demo.state[:-1]:
            simulators[key].set_state(state)
            proprio[row] = simulators[key].proprio()
            for camera, side in spec.cameras.items():
                images[camera][row] = simulators[key].render(camera, side)
            row += 1
        if watch:
            watch(row, total)
    parts = [chunks(demo.action, spec.chunk, demo.departs) for demo in demos]
    return Demonstrations(
        Observation(images, proprio),
        [demo.instruction for demo in demos for _ in demo.action],
        np.concatenate([actions for actions, _ in parts]),
        np.concatenate([mask for _, mask in parts]),
    )


def _prepare(
    demos: Sequence[Demo], policy: str, weights: str, settings: SftSettings, progress: Tick | None
) -> tuple[Demonstrations, Policy]:
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def watch(done: int, total: int) -> None:
        if progress:
            progress(0, settings.steps, f"rendering {done} of {total} moments")

    if policy != "mini":
        loaded = load_policy(policy, device)
        for suite, look in sorted({(demo.suite, demo.look) for demo in demos if settings.preflight}):
            loaded.check_scene(suite, look)
        make_trainable(loaded, settings, policy, weights, settings.seed)
        return see(demos, loaded.spec, watch), loaded
    config = MiniConfig(cameras=settings.cameras(), chunk=settings.chunk, bins=settings.bins)
    moments = see(demos, MiniPolicy(config).spec, watch)
    features = proprio_features(torch.from_numpy(moments.observation.proprio)).double()
    mean, std = features.mean(0), features.std(0, correction=0).clamp_min(1e-2)
    sized = {"proprio_mean": tuple(mean.tolist()), "proprio_std": tuple(std.tolist())}
    made = MiniPolicy(MiniConfig(**{**asdict(config), **sized}), settings.seed)
    made.module.to(device)
    return moments, made


def _content(demo: Demo) -> tuple[Any, ...]:
    lapse = (demo.departs,) if demo.departs.any() else ()
    return (demo.suite, demo.look, demo.task, demo.instruction, demo.state, demo.action, *lapse)


def _tasks(demos: Sequence[Demo]) -> list[str]:
    return sorted({f"{demo.suite}/{demo.task}" for demo in demos})
