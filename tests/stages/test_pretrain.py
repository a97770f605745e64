"""`srpo pretrain`: what a model is made of, that it is made once, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import VJEPA2Model

from data.errors import UserError
from data.settings import build
from data.store import Episode, Layout, Plan, RolloutStore
from srpo_cli.__main__ import run
from stages.encode import encode_store
from stages.pretrain import PretrainSettings, pretrain_stores, render_episodes
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from stages.sim.view import StateView
from stages.world_models.mini import find_mini, normalise

TASK = suite_tasks("libero_object")[2]
STEPS = (24, 13, 3, 18)
TINY = PretrainSettings(
    cameras=("agentview",),
    size=16,
    patch=4,
    frames=4,
    moments=8,
    width=24,
    layers=2,
    heads=2,
    predictor_width=12,
    predictor_layers=1,
    steps=6,
    batch=4,
    threads=1,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of a real task that move at random, each from another initial state; the last one never ran."""
    path = tmp_path_factory.mktemp("pretrain") / "a.zarr"
    random, simulator = np.random.default_rng(0), Simulator(TASK)
    n, rows = len(STEPS) + 1, []
    for init, steps in enumerate(STEPS):
        simulator.reset(init)
        states, action = [simulator.state()], random.uniform(-1, 1, 7)
        for _ in range(steps):
            simulator.step(action)
            states.append(simulator.state())
        rows.append(np.stack(states))
    plan = Plan(task=np.full(n, 2), init_state=np.arange(n), group=np.arange(n), seed=np.arange(n))
    layout = Layout(horizon=24, state_size=rows[0].shape[1], chunk=1)
    store = RolloutStore.create(path, {"suite": "libero_object", "look": "lite"}, plan, layout)
    for i, states in enumerate(rows):
        store.write(i, Episode(success=i == 0, state=states, action=np.zeros((STEPS[i], 7), np.float32)))
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy to write beside."""
    return Path(shutil.copytree(made, tmp_path / "a.zarr"))


def pretrain(path: Path, out: Path | None, settings: PretrainSettings = TINY, tick: Any = None) -> dict[str, Any]:
    return pretrain_stores([str(path)], out, settings, tick)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_model_is_made_once(path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    result = pretrain(path, None, tick=lambda *args: told.append(args))
    folder = find_mini(str(path))
    assert folder == path.parent / "world_model" == Path(result["out"])
    assert (result["episodes"], result["stores"], result["up_to_date"]) == (4, 1, False)
    assert [done for done, total, note in told if note == "rendering" and total == 4] == [1, 2, 3, 4]
    assert [done for done, total, note in told if note != "rendering" and total == 6] == [1, 2, 3, 4, 5, 6]
    assert sorted(content(folder)) == ["config.json", "model.safetensors", "srpo.json"]
    assert not list(path.parent.glob(".*"))

    before = content(folder)
    again = pretrain(path, None)
    assert again["up_to_date"] and "steps_per_second" not in again
    assert again["weights"] == result["weights"] and again["loss"] == result["loss"]
    assert content(folder) == before


def test_the_same_episodes_and_settings_give_the_same_bytes(path: Path, tmp_path: Path) -> None:
    first, again, other = (
        pretrain(path, tmp_path / name, replace(TINY, seed=seed)) for name, seed in (("1", 0), ("2", 0), ("3", 1))
    )
    assert content(tmp_path / "1") == content(tmp_path / "2")
    assert first["weights"] == again["weights"] != other["weights"]


def test_the_folder_is_a_v_jepa_2_with_a_record(path: Path, tmp_path: Path) -> None:
    result = pretrain(path, tmp_path / "made")
    model = VJEPA2Model.from_pretrained(tmp_path / "made")
    assert (model.config.crop_size, model.config.frames_per_clip, model.config.hidden_size) == (16, 4, 24)
    with torch.no_grad():
        assert model.encoder(torch.zeros(1, 4, 3, 16, 16)).last_hidden_state.shape == (1, 2 * 4 * 4, 24)
    record = json.loads((tmp_path / "made" / "srpo.json").read_text())
    assert build(PretrainSettings, record["settings"]) == TINY
    assert record["figures"] == {key: result[key] for key in record["figures"]}
    assert record["figures"]["parameters"] == sum(p.numel() for p in model.encoder.parameters())
    modes = {file.stat().st_mode for file in (tmp_path / "made").iterdir()}
    assert len(modes) == 1


def test_encode_finds_it_and_means_its_tokens(path: Path) -> None:
    out = pretrain(path, None)["out"]
    assert encode_store(path, "mini")["label"] == "mini"
    store = RolloutStore.open(path)
    found = store.group["encode/mini/embedding"][:]
    assert found.shape == (5, 24) and np.isnan(found[4]).all()
    encoder = VJEPA2Model.from_pretrained(out).encoder
    frames = StateView("libero_object", "lite").frames(2, store.states(1)[[0, 4, 9, 13]], "agentview", 16)
    with torch.no_grad():
        tokens = encoder(normalise(torch.from_numpy(frames)[None].float() / 255)).last_hidden_state
    np.testing.assert_allclose(found[1], tokens[0].mean(0).numpy(), atol=1e-5)


def test_pictures_are_spread_over_each_finished_episode(path: Path) -> None:
    store = RolloutStore.open(path)
    frames = render_episodes([store, store], TINY, lambda *_: None)
    assert frames.shape == (8, 8, 16, 16, 3) and frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[:4], frames[4:])
    view = StateView("libero_object", "lite")
    chosen = [0, 3, 7, 10, 14, 17, 21, 24]  # 24 / 7 = 3.43 apart, halves up
    np.testing.assert_array_equal(frames[0], view.frames(2, store.states(0)[chosen], "agentview", 16))
    repeated = [0, 0, 1, 1, 2, 2, 3, 3]  # 3 / 7 = 0.43 apart
    np.testing.assert_array_equal(frames[2], view.frames(2, store.states(2)[repeated], "agentview", 16))
    wrist = render_episodes([store], replace(TINY, cameras=("robot0_eye_in_hand",)), lambda *_: None)
    varied = render_episodes([store], replace(TINY, variation=0), lambda *_: None)
    assert (wrist != frames[:4]).any() and (varied != frames[:4]).any()


def test_it_learns_from_a_real_store(path: Path, tmp_path: Path) -> None:
    result = pretrain(path, tmp_path / "made", replace(TINY, steps=80, lr=2e-3, batch=8))
    assert result["loss"] < 0.8 * result["loss_first"]
    assert result["spread"] > 0.01


def test_what_is_there_is_not_overwritten(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "made"
    out.mkdir()
    pretrain(path, out)
    before = content(out)
    with pytest.raises(
        UserError, match="holds weights made from other inputs or settings; choose another --out or remove it"
    ):
        pretrain(path, out, replace(TINY, seed=1))
    with pytest.raises(UserError, match="holds something else"):
        pretrain(path, path)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match="holds something else"):
        pretrain(path, file)
    with pytest.raises(UserError, match="cannot write .* choose another --out"):
        pretrain(path, file / "inside")
    assert content(out) == before


def test_other_states_are_other_inputs(path: Path, tmp_path: Path) -> None:
    pretrain(path, tmp_path / "made")
    store = RolloutStore.open(path, writable=True)
    store.group["step/state"][1, 5, 0] += 0.25
    with pytest.raises(UserError, match="other inputs or settings"):
        pretrain(path, tmp_path / "made")


def test_what_an_interruption_left_is_cleared(path: Path, tmp_path: Path) -> None:
    leftover = tmp_path / ".made.partial"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    pretrain(path, tmp_path / "made")
    assert not leftover.exists() and len(content(tmp_path / "made")) == 3


def test_a_training_that_comes_to_nothing_is_told(path: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="came to nothing: the loss is nan at step .*; try a lower lr"):
        pretrain(path, tmp_path / "made", replace(TINY, lr=1e30))
    states = RolloutStore.open(path, writable=True).group["step/state"]
    states[:4] = np.broadcast_to(states[0, :1], states[:4].shape)
    with pytest.raises(UserError, match="came to nothing: .* alike"):
        pretrain(path, tmp_path / "made", replace(TINY, steps=1))
    assert not (tmp_path / "made").exists()


def test_stores_without_use_are_refused(path: Path, tmp_path: Path) -> None:
    group = RolloutStore.open(path, writable=True).group
    group["step/state"][1, 5, 0] = np.nan
    with pytest.raises(UserError, match="episode 1 of .* not finite; collect it again"):
        pretrain(path, tmp_path / "made")
    plan = Plan(task=np.array([2]), init_state=np.zeros(1, int), group=np.zeros(1, int), seed=np.zeros(1, int))
    layout = Layout(horizon=24, state_size=group["step/state"].shape[2], chunk=1)
    RolloutStore.create(tmp_path / "empty.zarr", {"suite": "libero_object", "look": "lite"}, plan, layout)
    with pytest.raises(UserError, match="no finished episode to learn from"):
        pretrain(tmp_path / "empty.zarr", tmp_path / "made")
    with pytest.raises(UserError, match="not a folder"):
        pretrain_stores([str(path)], "s3://bucket/made", TINY)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cameras": "front"}, "unknown camera 'front'"),
        ({"size": 60}, "multiple of patch"),
        ({"size": 8}, "multiple of patch"),
        ({"frames": 5}, "frames must be even"),
        ({"moments": 6}, r"at most moments \(6\), not 8"),
        ({"width": 126}, r"width must be a multiple of heads \(4\)"),
        ({"predictor_width": 20}, "6 or more times it"),
        ({"masked": 0.0}, "masked must be above 0"),
        ({"masked": 1.0}, "masked must be below 1"),
        ({"ema": 1.0}, "ema must be below 1"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"shift": -1}, "shift must be 0 or above"),
        ({"brightness": 1.5}, "brightness must be below 1"),
        ({"treads": 2}, "did you mean 'threads'"),
    ],
)
def test_settings_that_fit_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(PretrainSettings, changes, "pretrain")


def test_the_command_says_what_it_did(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = {key: value for key, value in vars(TINY).items() if value != getattr(PretrainSettings, key)}
    texts = {key: ",".join(value) if isinstance(value, tuple) else value for key, value in tiny.items()}
    words = ["pretrain", str(path), *[word for key, text in texts.items() for word in ("--set", f"{key}={text}")]]
    assert run(words) == 0
    assert "on 4 episodes: loss" in " ".join(capsys.readouterr().out.split())
    assert run([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["up_to_date"]
    assert run([*words, "--set", "seed=1"]) == 2
    assert "choose another --out or remove it" in capsys.readouterr().err
