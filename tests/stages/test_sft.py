"""The imitation stage: what it reads and renders, its record, and that a second call does nothing."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.errors import UserError
from data.store import Episode, Layout, Plan, RolloutStore
from stages import sft
from stages.policies.loading import load_policy, weights_digest
from stages.policies.mini import MiniPolicy
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.sft import SftSettings, read_demos, see, train_sft
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from tests.stages.policies.openvla_oft.tiny import make

SETTINGS = SftSettings(steps=3, batch=4, agentview=32, wrist=16, chunk=3, bins=5)
STATE = 6


class FakeSimulator:
    """Shows the first two numbers of a state as grey values."""

    def __init__(self, task, look: str) -> None:
        self.task, self.look = task, look

    def set_state(self, row: np.ndarray) -> None:
        self.row = row

    def proprio(self) -> np.ndarray:
        return np.arange(8, dtype=np.float32) * np.float32(self.row[0])

    def render(self, camera: str, size: int) -> np.ndarray:
        value = self.row[0] if camera == "agentview" else self.row[1]
        return np.full((size, size, 3), int(value), np.uint8)


def config_of(folder: Path) -> Any:
    policy = load_policy(folder)
    assert isinstance(policy, MiniPolicy)
    return policy.config


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(sft, "Simulator", FakeSimulator)


def write_store(path: Path, label: bool = True, successes: tuple[bool, ...] = (True, False, True)) -> Path:
    n = len(successes)
    tasks = [
        {"index": i, "name": t.name, "instruction": t.instruction} for i, t in enumerate(suite_tasks("libero_object"))
    ]
    attrs = {"suite": "libero_object", "look": "lite", "tasks": tasks}
    plan = Plan(np.arange(n) + 2, np.zeros(n), np.arange(n), np.arange(n))
    store = RolloutStore.create(path, attrs, plan, Layout(8, STATE, 3, label=label))
    for i, success in enumerate(successes):
        rng = np.random.default_rng(i)
        steps = 5 + i
        state = rng.integers(0, 200, (steps + 1, STATE)).astype(np.float64)
        action, clean = rng.uniform(-1, 1, (2, steps, 7)).astype(np.float32)
        clean[:, 6] = action[:, 6]
        store.write(i, Episode(success, state, action, label=clean if label else None))
    return path


def test_reads_successes_and_their_clean_actions(tmp_path):
    with_label, without = write_store(tmp_path / "a"), write_store(tmp_path / "b", label=False)
    demos = list(read_demos(with_label))
    assert [demo.task for demo in demos] == [2, 4]
    assert np.array_equal(demos[1].action, RolloutStore.open(with_label).read(2).label)
    assert np.array_equal(next(read_demos(without)).action, RolloutStore.open(without).read(0).action)


def test_a_demonstration_departs_where_the_gripper_begins_to_do_other_than_its_label(tmp_path):
    path = write_store(tmp_path / "a", successes=(True,))
    episode = RolloutStore.open(path).read(0)
    label = episode.action.copy()
    label[:, 6] = episode.action[:, 6] * [1, -1, -1, 1, -1]
    RolloutStore.open(path, writable=True).write(0, replace(episode, label=label))
    assert next(read_demos(path)).departs.tolist() == [False, True, False, False, True]


def test_an_episode_that_is_not_done_is_no_demonstration(tmp_path):
    path = write_store(tmp_path / "a")
    RolloutStore.open(path, writable=True).mark_error(2)
    assert [demo.task for demo in read_demos(path)] == [2]


def test_every_control_step_is_a_moment(tmp_path, fake, tiny_policy):
    demos = list(read_demos(write_store(tmp_path / "a")))
    moments = see(demos, tiny_policy.spec)
    states = np.concatenate([demo.state[:-1] for demo in demos])
    assert len(moments) == len(states) == 5 + 7
    assert np.array_equal(moments.observation.images["agentview"][:, 3, 4, 1], states[:, 0].astype(np.uint8))
    assert np.array_equal(moments.observation.images["robot0_eye_in_hand"][:, 0, 0, 0], states[:, 1].astype(np.uint8))
    assert np.array_equal(moments.observation.proprio[:, 1], states[:, 0].astype(np.float32))
    assert np.array_equal(moments.actions[5, 0], demos[1].action[0])
    assert moments.mask.sum(1).tolist() == [3, 3, 3, 2, 1, 3, 3, 3, 3, 3, 2, 1]
    assert len(set(moments.instructions[:5])) == 1
    assert moments.instructions[4] != moments.instructions[5]


def test_trains_records_and_is_up_to_date(tmp_path, fake, monkeypatch):
    store = write_store(tmp_path / "a")
    result = train_sft([store], tmp_path / "p", SETTINGS, threads=1)
    assert result["demonstrations"] == 2
    assert result["moments"] == 12
    assert result["tasks"] == ["libero_object/2", "libero_object/4"]
    record = json.loads((tmp_path / "p" / "srpo.json").read_text())
    assert record["trained_inits"] == {"libero_object": {"2": [0], "3": [0], "4": [0]}}
    config = config_of(tmp_path / "p")
    proprio = np.concatenate([demo.state[:-1, 0] for demo in read_demos(store)])
    assert config.proprio_mean[1] == pytest.approx(proprio.mean(), rel=1e-5)
    assert config.proprio_std[1] == pytest.approx(proprio.std(), rel=1e-5)
    again = train_sft([store], tmp_path / "q", SETTINGS, threads=1)
    assert again["weights"] == result["weights"]
    monkeypatch.setattr(sft, "imitate", lambda *_: pytest.fail("trained again"))
    second = train_sft([store], tmp_path / "p", SETTINGS, threads=1)
    assert second["up_to_date"]
    assert second["loss"] == result["loss"]
    with pytest.raises(UserError, match="other inputs or settings"):
        train_sft([store], tmp_path / "p", replace(SETTINGS, lr=1e-2), threads=1)


def test_goes_on_with_a_policy(tmp_path, fake, tiny_folder):
    store = write_store(tmp_path / "a")
    result = train_sft([store], tmp_path / "p", SETTINGS, policy=str(tiny_folder), threads=1)
    assert result["policy"] == weights_digest(tiny_folder) != result["weights"]
    assert config_of(tmp_path / "p") == config_of(tiny_folder)


def test_goes_on_with_a_released_checkpoint(tmp_path, fake):
    """Trained through the same network, saved in the released layout."""
    checkpoint, store = make(tmp_path / "released"), write_store(tmp_path / "a", successes=(True,))
    settings = SftSettings(steps=2, batch=2, lr=1e-3)
    with pytest.raises(UserError, match="not the look lite; take the look full"):
        train_sft([store], tmp_path / "p", settings, policy=str(checkpoint), threads=1)
    settings = replace(settings, preflight=False)
    result = train_sft([store], tmp_path / "p", settings, policy=str(checkpoint), threads=1)
    assert result["policy"] == weights_digest(checkpoint) != result["weights"]
    first, second = load_policy(checkpoint), load_policy(tmp_path / "p")
    assert first.spec == second.spec and isinstance(second, OpenVLAPolicy)
    changed = {n for n, p in second.module.state_dict().items() if not p.equal(first.module.state_dict()[n])}
    assert "language_model.lm_head.weight" in changed and not any(".attn_pool." in name for name in changed)
    kept = {"tokenizer.json", "dataset_statistics.json", "config.json"}
    assert kept <= {file.name for file in (tmp_path / "p").iterdir()}
    assert train_sft([store], tmp_path / "p", settings, policy=str(checkpoint), threads=1)["up_to_date"]


def test_adapters_imitate(tmp_path, fake, tiny_folder):
    """The first time on a whole policy, then on what came of it."""
    store, settings = write_store(tmp_path / "a"), SftSettings(steps=2, batch=2, lora_rank=4)
    with pytest.raises(UserError, match="lora_rank puts adapters on a policy that is there"):
        train_sft([store], tmp_path / "first", settings)
    for before, after in ((tiny_folder, tmp_path / "first"), (tmp_path / "first", tmp_path / "second")):
        result = train_sft([store], after, settings, policy=str(before), threads=1)
        assert result["policy"] == weights_digest(before) != result["weights"]
        policy, base = load_policy(after), load_policy(tiny_folder)
        assert policy.adapters.base.policy == str(tiny_folder) and not list(after.glob("model*"))
        assert policy.module.head.weight.equal(base.module.head.weight)


def test_refusals(tmp_path, fake):
    failures = write_store(tmp_path / "a", successes=(False, False))
    with pytest.raises(UserError, match="no successful episode"):
        train_sft([failures], tmp_path / "p", SETTINGS)
    store = write_store(tmp_path / "b")
    with pytest.raises(UserError, match=r"the loss is nan at step 2 of 3; .* lr"):
        train_sft([store], tmp_path / "p", replace(SETTINGS, lr=1e30), threads=1)
    with pytest.raises(UserError, match="no policy folder"):
        train_sft([store], tmp_path / "p", SETTINGS, policy=str(tmp_path / "none"))
    assert not (tmp_path / "p").exists()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        train_sft([store], tmp_path / "file" / "p", SETTINGS, threads=1)
    for wrong in ({"steps": 0}, {"lr": 0.0}, {"smoothing": 1.0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            replace(SETTINGS, **wrong)
    with pytest.raises(UserError, match="multiples of 16"):
        train_sft([store], tmp_path / "p", replace(SETTINGS, agentview=90))


def test_renders_what_the_policy_will_see(tmp_path, tiny_policy):
    """On the real simulator: a moment of a demonstration is what a rollout shows at that state."""
    simulator = Simulator(suite_tasks("libero_object")[2], "lite")
    simulator.reset(0)
    states, shown = [simulator.state()], [(simulator.proprio(), simulator.render("agentview", 32))]
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (4, 7)).astype(np.float32)
    for action in actions:
        simulator.step(action)
        states.append(simulator.state())
        shown.append((simulator.proprio(), simulator.render("agentview", 32)))
    demo = sft.Demo("libero_object", "lite", 2, "pick", np.stack(states), actions, np.zeros(4, bool))
    moments = see([demo], tiny_policy.spec)
    for i, (proprio, image) in enumerate(shown[:-1]):
        assert np.array_equal(moments.observation.proprio[i], proprio)
        assert np.array_equal(moments.observation.images["agentview"][i], image)
