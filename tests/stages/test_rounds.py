"""Further groups in place of those that teach nothing: how many, which, and a loop that is stopped between them."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import UserError
from data.runs import Run
from data.store import DONE, RolloutStore
from stages import loop
from stages.collect import ASKED_GROUPS, CollectSettings, plan_rollouts
from stages.initial_states import share_by_weight, starts_left
from stages.learning.settings import UpdateSettings
from stages.loop import run_loop
from stages.policies.mini import MiniConfig, MiniPolicy
from stages.recipe import Recipe, load_recipe
from stages.reward import reward_store
from stages.rounds import groups_lacking, groups_of_round, round_figures
from stages.sim.tasks import suite_tasks
from tests.stages.test_loop import assert_same, content

UPDATE = UpdateSettings()
TASKS = suite_tasks("libero_object")


def test_groups_without_variance_are_lacking(tiny_policy, tiny_folder, made_up_store):
    """Four groups asked for; one tells something, of the two of the second round one, of the third's two both."""
    first = made_up_store(tiny_policy, tiny_folder, rewards=np.array([0.0] * 4 + [1.0] * 4 + [0, 0, 1, 0] + [0.5] * 4))
    second = made_up_store(
        tiny_policy, tiny_folder, "b.zarr", 2, rewards=np.array([1.0] * 4 + [0, 0.1, 0, 0]), seed=200
    )
    third = made_up_store(tiny_policy, tiny_folder, "c.zarr", 2, rewards=np.arange(8.0), seed=300)
    assert groups_lacking([first], "binary", UPDATE) == 3
    assert groups_lacking([first, second], "binary", UPDATE) == 2
    assert groups_lacking([first, second, third], "binary", UPDATE) == 0
    assert groups_lacking([first, third, second], "binary", UPDATE) == 0
    recipe = load_recipe("quick", ["reward.preset=binary", "collect.draw=even"])
    assert groups_of_round(first.parent / "d.zarr", [first, second], recipe) == 2
    RolloutStore.open(third, writable=True).group.update_attributes({ASKED_GROUPS: 5})
    assert groups_of_round(third, [first, second, third], recipe) == 5, "what it was begun for"
    few = ["reward.preset=binary", "collect.draw=hard", "collect.inits=0", "task.tasks=0,3"]
    held = groups_of_round(first.parent / "d.zarr", [first, second], load_recipe("quick", few))
    assert held == 1, "of two starts one is taken"


def test_a_clone_lacks_only_groups_without_a_success(tiny_policy, tiny_folder, made_up_store):
    store = made_up_store(tiny_policy, tiny_folder)
    plan, success = RolloutStore.open(store).plan, RolloutStore.open(store).success()
    without = sum(not success[plan.group == group].any() for group in np.unique(plan.group))
    assert groups_lacking([store], "binary", UpdateSettings(algorithm="bc")) == without


def test_figures_of_no_round_and_of_two() -> None:
    none = round_figures([], 0)
    assert (none["rounds"], none["n"], none["up_to_date"]) == (0, 0, True)
    two = round_figures([{"n": 8, "successes": 2, "collected": 8}, {"n": 4, "successes": 1, "collected": 4}], 1)
    assert (two["rounds"], two["n"], two["rate"], two["groups_lacking"], two["up_to_date"]) == (2, 12, 0.25, 1, False)


def test_groups_are_spread_by_weight() -> None:
    rng = np.random.default_rng(0)
    weight = np.array([1.0, 3.0, 0.0, 4.0])
    drawn = np.array([share_by_weight(3, weight, rng) for _ in range(4000)])
    share = 3 * weight / weight.sum()
    assert (drawn.sum(1) == 3).all()
    assert ((drawn == np.floor(share)) | (drawn == np.ceil(share))).all()
    np.testing.assert_allclose(drawn.mean(0), share, atol=0.03)


@pytest.mark.parametrize("draw", ["even", "hard"])
def test_a_round_goes_on_where_those_before_ended(draw: Any) -> None:
    """No initial state comes again before all 40 came, no seed ever, and the same is asked every time."""
    settings = CollectSettings(groups=3, samples=2, seed=5, draw=draw)
    plans = [plan_rollouts(TASKS[:4], settings)]
    for groups in (7, 4):
        stores = [_Planned(plan) for plan in plans]
        plan = plan_rollouts(TASKS[:4], settings, groups=groups, rounds=stores)
        assert plan.same(plan_rollouts(TASKS[:4], settings, groups=groups, rounds=stores))
        assert len(np.unique(plan.group)) == groups and len(plan) == 2 * groups
        plans.append(plan)
    seeds = np.concatenate([plan.seed for plan in plans])
    assert len(set(seeds.tolist())) == len(seeds)
    states = [(t, i) for plan in plans for t, i in zip(plan.task[::2], plan.init_state[::2], strict=True)]
    assert len(set(states)) == len(states) == 12 + 7 + 4
    whole = plan_rollouts(TASKS[:1], CollectSettings(groups=8, samples=1, seed=5)).init_state
    np.testing.assert_array_equal([i for t, i in states if t == 0], whole[: sum(t == 0 for t, _ in states)])


def test_a_hard_draw_goes_on_to_the_last_initial_state() -> None:
    """Three tasks with four initial states each: further rounds take those that are left, none twice, and then end."""
    settings = CollectSettings(groups=2, samples=1, seed=5, draw="hard", inits="0-3")
    plans = [plan_rollouts(TASKS[:3], settings)]
    while left := starts_left(plans, range(3), range(4)):
        stores: Any = [_Planned(plan) for plan in plans]
        plan = plan_rollouts(TASKS[:3], settings, stores, min(5, left), stores)
        assert 1 <= len(plan) <= min(5, left)
        plans.append(plan)
    states = [(t, i) for plan in plans for t, i in zip(plan.task, plan.init_state, strict=True)]
    assert len(set(states)) == len(states) == 12


class _Planned:
    """Of a store, its plan; every episode failed."""

    def __init__(self, plan: Any) -> None:
        self.plan = plan

    def status(self) -> np.ndarray:
        return np.full(len(self.plan), DONE)

    def success(self) -> np.ndarray:
        return np.zeros(len(self.plan), bool)

    def __len__(self) -> int:
        return len(self.plan)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds") / "start"
    folder.mkdir()
    MiniPolicy(MiniConfig(cameras={"agentview": 32}, channels=(8, 8, 8), hidden=32), seed=1).save(folder)
    return folder


def recipe(start: Path, *more: str) -> Recipe:
    """One group of two short episodes, and up to three further rounds."""
    task = ["task.tasks=2", "task.horizon=8", "task.workers=1", f"run.policy={start}"]
    small = ["collect.groups=1", "collect.samples=2", "encode.world_model=pixels", "eval.every=0"]
    return load_recipe("quick", [*task, *small, "collect.refill=3", "run.keep_images=1", "run.pack_after=1", *more])


def watch(title: str, unit: str) -> Any:
    return nullcontext(lambda *_: None)


def run(folder: Path, wanted: Recipe, iterations: int, watch: Any = watch) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = []
    run_loop(folder, wanted, iterations, watch, told.append)
    return told


@pytest.fixture
def second_round_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reward stage, but only the episodes of a second further round differ: so short, all fail alike."""
    real = reward_store

    def reward(first: Path, *given: Any, more: list[Path]) -> dict[str, Any]:
        result = real(first, *given, more=more)
        for path in (path for path in more if path.name.endswith("-2.zarr")):
            group: Any = RolloutStore.open(path, writable=True).group
            group[f"reward/{result['label']}/reward"][:] = np.arange(2.0)
        return result

    monkeypatch.setattr(loop, "reward_store", reward)


def test_a_stopped_loop_ends_as_one_in_one_go(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second_round_tells: None
) -> None:
    wanted = recipe(start)
    told = {record["stage"]: record for record in run(tmp_path / "whole", wanted, 2) if record["iteration"] == 2}
    assert (told["refill"]["rounds"], told["refill"]["n"], told["refill"]["groups_lacking"]) == (2, 4, 0)
    assert (told["update"]["groups_kept"], told["update"]["groups"], told["update"]["updated"]) == (1, 3, True)
    assert told["update"]["stores"] == ["001.zarr", "001-1.zarr", "001-2.zarr"]
    made = sorted(path.name for path in (tmp_path / "whole/rollouts").iterdir())
    assert made[:3] == ["000-1.zarr.zip", "000-2.zarr.zip", "000.zarr.zip"], "all rounds are tidied"

    with monkeypatch.context() as stopping:
        for stage, ending in (("encode_store", "-1.zarr"), ("reward_store", "-1.zarr"), ("update_policy", ".zarr")):
            _stop_once(stopping, stage, ending)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "stopped", wanted, 2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", wanted, 2, _stop_in_round)
    assert len(RolloutStore.open(tmp_path / "stopped/rollouts/001-1.zarr").done()) == 1
    run(tmp_path / "stopped", wanted, 2)
    assert_same(content(tmp_path / "whole"), content(tmp_path / "stopped"))
    assert all(record["up_to_date"] for record in run(tmp_path / "stopped", wanted, 2))


def _stop_in_round(title: str, unit: str) -> Any:
    """Interrupted after the first episode of a further round of iteration 2."""

    def tick(*_: Any) -> None:
        if title == "refill 2":
            raise KeyboardInterrupt

    return nullcontext(tick)


def _stop_once(monkeypatch: pytest.MonkeyPatch, stage: str, ending: str) -> None:
    """A stage of the loop that is interrupted the first time it gets a store of that name."""
    real, stopped = getattr(loop, stage), []

    def work(store: Path, *given: Any, **more: Any) -> Any:
        if not stopped and [path for path in (store, *more.get("more", ())) if path.name.endswith(ending)]:
            stopped.append(store)
            raise KeyboardInterrupt
        return real(store, *given, **more)

    monkeypatch.setattr(loop, stage, work)


def test_it_stops_at_the_bound(start: Path, tmp_path: Path) -> None:
    """So short, no episode succeeds: with `binary` no group ever tells something."""
    told = run(tmp_path / "run", recipe(start, "reward.preset=binary", "collect.refill=1"), 1)
    stages = [record["stage"] for record in told]
    assert stages == ["start", "collect", "reward", "refill", "update"]
    assert (told[3]["rounds"], told[3]["groups_lacking"]) == (1, 1)
    assert not told[4]["updated"]
    rounds = [RolloutStore.open(Run(tmp_path / "run").rollouts(1, number)) for number in (0, 1)]
    assert not rounds[1].plan.same(rounds[0].plan)
    assert (rounds[1].attrs["round"], "round" in rounds[0].attrs) == (1, False)


def test_a_setting_of_the_loop_alone(start: Path) -> None:
    with pytest.raises(UserError, match="refill must be 0 or more"):
        recipe(start, "collect.refill=-1")
    assert load_recipe("quick").collect.refill == 0
