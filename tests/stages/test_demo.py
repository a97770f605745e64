"""Demonstrations: what is in the store, and that neither threads nor interruptions change it."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.store import RolloutStore
from stages import demo
from stages.demo import ATTEMPTS, DemoSettings, make_demos, plan_demos
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks

TASKS = suite_tasks("libero_object")
SETTINGS = DemoSettings(tasks="2,9", per_task=2, horizon=160, workers=1)


def content(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in sorted(path.rglob("*")) if f.is_file()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / "demos.zarr"
    return path, make_demos(path, SETTINGS)


def test_what_is_made(made):
    path, result = made
    assert (result["n"], result["successes"], result["made"], result["up_to_date"]) == (4, 4, 4, False)
    assert [task["index"] for task in result["tasks"]] == [2, 9]
    store = RolloutStore.open(path)
    assert store.attrs["policy"]["id"] == "scripted-expert"
    assert store.attrs["noise"] == SETTINGS.noise
    for i in range(4):
        episode = store.read(i)
        assert episode.label.shape == episode.action.shape
        np.testing.assert_array_equal(episode.label[:, 6], episode.action[:, 6])
        for motion, share in ((slice(0, 3), 1.0), (slice(3, 6), 0.3)):
            off = (episode.action - episode.label)[:, motion][np.abs(episode.label[:, motion]) <= 0.3]
            assert abs(off.std() - share * SETTINGS.noise) < 0.2 * share * SETTINGS.noise, "on the executed action only"


def test_the_actions_lead_through_the_states(made):
    episode = RolloutStore.open(made[0]).read(3)
    plan = RolloutStore.open(made[0]).plan
    simulator = Simulator(TASKS[plan.task[3]])
    simulator.reset(int(plan.init_state[3]))
    success = [simulator.step(action) for action in episode.action]
    assert success == [False] * (episode.steps - 1) + [True]
    np.testing.assert_array_equal(simulator.state(), episode.state[-1])


def test_threads_do_not_change_it(made, tmp_path):
    make_demos(tmp_path / "two", DemoSettings(tasks="2,9", per_task=2, horizon=160, workers=2))
    assert content(tmp_path / "two") == content(made[0])


def test_an_interruption_does_not_change_it(made, tmp_path):
    def interrupt(done, total, note):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_demos(tmp_path / "demos", SETTINGS, interrupt)
    assert 2 <= len(RolloutStore.open(tmp_path / "demos").done()) < 4
    assert make_demos(tmp_path / "demos", SETTINGS)["made"] == 2
    assert content(tmp_path / "demos") == content(made[0])


def test_up_to_date(made, monkeypatch):
    path, first = made
    before = content(path)
    monkeypatch.setattr(demo, "demonstrate", lambda *_: pytest.fail("nothing is missing"))
    again = make_demos(path, SETTINGS)
    assert again["up_to_date"]
    assert (again["made"], again["n"], again["rate"]) == (0, 4, first["rate"])
    assert content(path) == before


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tasks": "2"}, r"tasks \[2, 9\] \(asked: \[2\]\)"),
        ({"noise": 0.1}, r"noise 0\.3 \(asked: 0\.1\)"),
        ({"per_task": 3}, r"per_task 2 \(asked: 3\)"),
        ({"seed": 1}, r"seed 0 \(asked: 1\)"),
    ],
)
def test_another_request_is_refused(made, changed, told):
    before = content(made[0])
    with pytest.raises(UserError, match=told):
        make_demos(made[0], DemoSettings(**{"tasks": "2,9", "per_task": 2, "horizon": 160, **changed}))
    assert content(made[0]) == before


def test_failures_are_tried_again_and_then_recorded(tmp_path, monkeypatch):
    attempts = []
    attempt = demo._attempt
    monkeypatch.setattr(demo, "_attempt", lambda *args: attempts.append(args) or attempt(*args))
    result = make_demos(tmp_path / "short", DemoSettings(tasks="2", per_task=1, horizon=3, workers=1))
    assert len(attempts) == ATTEMPTS
    assert (result["n"], result["successes"]) == (1, 0)
    attempts.clear()
    make_demos(tmp_path / "clean", DemoSettings(tasks="2", per_task=1, horizon=3, noise=0.0, workers=1))
    assert len(attempts) == 1, "without noise another attempt would be the same"


def test_plan_draws_states_without_replacement_and_apart_for_every_task():
    plan = plan_demos(TASKS[:3], range(40), 50, seed=4)
    alone = plan_demos(TASKS[2:3], range(40), 50, seed=4)
    mine = plan.task == 2
    np.testing.assert_array_equal(plan.init_state[mine], alone.init_state)
    np.testing.assert_array_equal(plan.seed[mine], alone.seed)
    assert sorted(alone.init_state[:40]) == list(range(40))
    assert len(set(alone.init_state[40:])) == 10
    assert len(set(plan.seed)) == len(plan)
    assert list(plan.init_state[:50]) != list(plan.init_state[50:100])


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"per_task": 0}, "per_task must be 1 or more"),
        ({"horizon": 0}, "horizon must be 1 or more"),
        ({"workers": 0}, "workers must be 1 or more"),
        ({"noise": float("nan")}, "noise must be between 0 and 1"),
        ({"seed": -1}, "seed must be 0 or above"),
        ({"look": "ful"}, "did you mean 'full'"),
    ],
)
def test_impossible_settings(bad, told):
    with pytest.raises(UserError, match=told):
        DemoSettings(**bad)


def test_more_clean_demonstrations_than_states_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"per_task 3 without noise.*set demo\.noise"):
        make_demos(tmp_path / "x", DemoSettings(inits="0,1", per_task=3, noise=0.0))
    assert not (tmp_path / "x").exists()
