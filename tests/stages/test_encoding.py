"""Prefixes, paths and images of episodes: which frames are taken, and what is computed of them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from data.errors import UserError
from data.store import Episode, Layout, Plan, RolloutStore
from stages.clips import Clips, resized
from stages.encode import EncodeSettings, encode_store
from stages.encoding import Wanted
from stages.sim.simulator import Simulator
from stages.sim.tasks import suite_tasks
from stages.sim.view import StateView
from stages.world_models.base import EncoderOptions, frame_indices
from stages.world_models.registry import load_world_model

N, CHUNK, SIZE = 3, 4, 48
STEPS = (11, 3, 6)
TASK = suite_tasks("libero_object")[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of a real task that move at random; the images are noise, so that they are not the states'."""
    path = tmp_path_factory.mktemp("encoding") / "a.zarr"
    random, simulator = np.random.default_rng(0), Simulator(TASK)
    rows = []
    for steps in STEPS:
        simulator.reset(0)
        states = [simulator.state()]
        for _ in range(steps):
            simulator.step(random.uniform(-1, 1, 7))
            states.append(simulator.state())
        rows.append(np.stack(states))
    plan = Plan(task=np.full(N, 2), init_state=np.zeros(N, int), group=np.arange(N), seed=np.arange(N))
    layout = Layout(
        horizon=12, state_size=rows[0].shape[1], chunk=CHUNK, images={"agentview": SIZE}, proprio=8, tokens=True
    )
    store = RolloutStore.create(path, {"suite": "libero_object", "look": "lite"}, plan, layout)
    for i, states in enumerate(rows):
        queries = -(-STEPS[i] // CHUNK)
        store.write(
            i,
            Episode(
                success=i == 0,
                state=states,
                action=np.zeros((STEPS[i], 7), np.float32),
                images={"agentview": random.integers(0, 256, (queries, SIZE, SIZE, 3), dtype=np.uint8)},
                proprio=np.zeros((queries, 8), np.float32),
                tokens=np.zeros((queries, CHUNK * 7), np.int16),
                logprob=np.zeros((queries, CHUNK * 7), np.float32),
            ),
        )
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    import shutil

    return Path(shutil.copytree(made, tmp_path / "a.zarr"))


def group(path: Path, label: str) -> zarr.Group:
    return zarr.open_group(path, mode="r")[f"encode/{label}"]


def test_prefixes_are_the_embeddings_of_the_episode_cut_short(path: Path) -> None:
    encode_store(path, "pixels", settings=EncodeSettings(prefixes=3, frames=2))
    found, model = group(path, "pixels"), load_world_model("pixels", EncoderOptions(frames=2))
    for i, steps in enumerate(STEPS):
        dense = frame_indices(steps + 1, 6)
        ends = dense[[1, 3, 5]]
        assert found["prefix_step"][i].tolist() == ends.tolist()
        states = RolloutStore.open(path).states(i)
        for k, end in enumerate((1, 3, 5)):
            chosen = states[dense[[0, end]]]
            clip = StateView("libero_object", "lite").frames(2, chosen, "agentview", 64)
            np.testing.assert_array_equal(found["prefix"][i, k], model.encode(clip[None])[0])
    assert found["prefix_step"][0, -1] == STEPS[0]
    np.testing.assert_array_equal(found["prefix"][:, -1], found["embedding"][:])


def test_moments_are_frames_spread_over_the_episode(path: Path) -> None:
    encode_store(path, "pixels", settings=EncodeSettings(moments=4))
    found, model = group(path, "pixels")["moments"], load_world_model("pixels")
    assert found.shape == (N, 4, 16 * 16 * 3)
    chosen = RolloutStore.open(path).states(1)[[0, 1, 2, 3]]
    frames = StateView("libero_object", "lite").frames(2, chosen, "agentview", 64)
    np.testing.assert_array_equal(found[1], model.moments(frames))


def test_images_are_what_the_policy_saw(path: Path) -> None:
    settings = EncodeSettings(source="images", frames=3, size=16)
    label = encode_store(path, "pixels", settings=settings)["label"]
    found, store = group(path, label), RolloutStore.open(path)
    seen = store.read(0).images["agentview"]
    clip = np.stack([resized(seen[i], 16) for i in (0, 1, 2)])
    expected = clip.reshape(3, -1).ravel() / np.float32(255)
    np.testing.assert_allclose(found["embedding"][0], expected, atol=1e-6)
    assert dict(found.attrs)["settings"]["source"] == "images"
    clips = Clips(store, "agentview", 16, "images")
    assert clips.moments(0) == 3
    assert clips.step(np.array([0, 2])).tolist() == [0, 2 * CHUNK]


def test_smaller_pictures_are_area_means() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    expected = picture.reshape(16, 2, 16, 2, 3).astype(float).mean((1, 3))
    assert np.abs(resized(picture, 16) - expected).max() <= 0.5
    assert resized(picture, 32) is picture


def test_shards_at_once_write_what_one_run_writes(path: Path, made: Path, tmp_path: Path) -> None:
    """Three processes make the label together, each its own rows."""
    import shutil

    whole = Path(shutil.copytree(made, tmp_path / "b.zarr"))
    encode_store(whole, "pixels", settings=EncodeSettings(prefixes=2))
    program = [sys.executable, "-m", "srpo_cli", "encode", str(path), "--world-model", "pixels", "--set", "prefixes=2"]
    shares = [subprocess.Popen([*program, "--shard", f"{i}/3"], stderr=subprocess.DEVNULL) for i in range(3)]
    assert [share.wait() for share in shares] == [0, 0, 0]
    ours, theirs = ({str(f.relative_to(p)): f.read_bytes() for f in p.rglob("*") if f.is_file()} for p in (whole, path))
    assert ours == theirs
    assert encode_store(path, "pixels", settings=EncodeSettings(prefixes=2))["up_to_date"]


def test_mistakes_are_told(path: Path) -> None:
    with pytest.raises(UserError, match="kept no images of robot0_eye_in_hand; render them instead"):
        encode_store(path, "pixels", settings=EncodeSettings(source="images", camera="robot0_eye_in_hand"))
    with pytest.raises(UserError, match="moments"):
        EncodeSettings(moments=1)
    with pytest.raises(UserError, match="pixels has no setting dtype"):
        encode_store(path, "pixels", settings=EncodeSettings(dtype="fp16"))
    with pytest.raises(UserError, match="runs on the CPU"):
        encode_store(path, "pixels", settings=EncodeSettings(device="cuda"))


def test_what_is_wanted_has_a_shape() -> None:
    spec = load_world_model("efficientnet-lite0").spec
    assert Wanted(3, 8).rows(spec) == {
        "embedding": (23040,),
        "prefix": (3, 23040),
        "prefix_step": (3,),
        "moments": (8, 256),
    }
