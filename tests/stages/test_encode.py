"""The encode stage: what is encoded, left alone and refused. Pictures come from a stand-in renderer."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from data.errors import UserError
from data.store import Episode, Layout, Plan, RolloutStore
from stages import clips
from stages.encode import EncodeSettings, encode_store
from stages.world_models.registry import load_world_model

N, STATE = 6, 12
LENGTHS = {0: 9, 1: 2, 3: 20, 5: 14}


class PaintedView:
    """Renders a state as a picture of its numbers, and remembers how many it rendered."""

    rendered = 0

    def __init__(self, suite: str, look: str) -> None:
        assert (suite, look) == ("libero_object", "lite")

    def frames(self, task: int, states: np.ndarray, camera: str, size: int) -> np.ndarray:
        PaintedView.rendered += len(states)
        values = (127 + 100 * np.sin(states + task)).astype(np.uint8)
        pictures = np.stack([np.resize(row, (size, size)) for row in values])
        return np.repeat(pictures[..., None], 3, axis=3)


@pytest.fixture(autouse=True)
def painted(monkeypatch: pytest.MonkeyPatch) -> type[PaintedView]:
    PaintedView.rendered = 0
    monkeypatch.setattr(clips, "StateView", PaintedView)
    return PaintedView


def states(index: int, steps: int) -> np.ndarray:
    return np.random.default_rng(index).normal(size=(steps + 1, STATE)).cumsum(axis=0)


def write(store: RolloutStore, index: int, steps: int, seed: int | None = None) -> None:
    rows = states(index if seed is None else seed, steps)
    store.write(index, Episode(success=index % 2 == 0, state=rows, action=np.zeros((steps, 7), np.float32)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of six slots, four of them done, one in error and one empty."""
    number = np.arange(N)
    plan = Plan(task=number % 2, init_state=number, group=number, seed=number)
    attrs = {"suite": "libero_object", "look": "lite"}
    store = RolloutStore.create(tmp_path / "a.zarr", attrs, plan, Layout(horizon=20, state_size=STATE, chunk=8))
    for index, steps in LENGTHS.items():
        write(store, index, steps)
    store.mark_error(2)
    return tmp_path / "a.zarr"


def content(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def embedding(path: Path, label: str) -> np.ndarray:
    return zarr.open_group(path, mode="r")[f"encode/{label}/embedding"][:]


def test_rows_are_the_encodings_of_evenly_spread_states(path: Path) -> None:
    result = encode_store(path, "pixels")
    rows = embedding(path, "pixels")
    model = load_world_model("pixels")
    assert (result["label"], result["encoded"], result["episodes"], result["up_to_date"]) == ("pixels", 4, 4, False)
    assert np.isnan(rows[[2, 4]]).all()
    for index, steps in LENGTHS.items():
        chosen = [int(x + 0.5) for x in np.linspace(0, steps, 5)]
        clip = PaintedView("libero_object", "lite").frames(index % 2, states(index, steps)[chosen], "agentview", 64)
        np.testing.assert_array_equal(rows[index], model.encode(clip[None])[0])


def test_second_run_changes_no_byte_and_renders_nothing(path: Path, painted: type[PaintedView]) -> None:
    encode_store(path, "pixels")
    before, rendered = content(path), painted.rendered
    result = encode_store(path, "pixels")
    assert result["up_to_date"]
    assert (result["encoded"], result["kept"]) == (0, 4)
    assert content(path) == before
    assert painted.rendered == rendered


def test_only_new_episodes_are_encoded(path: Path, painted: type[PaintedView]) -> None:
    encode_store(path, "pixels")
    rows, rendered = embedding(path, "pixels"), painted.rendered
    write(RolloutStore.open(path, writable=True), 4, 7)
    result = encode_store(path, "pixels")
    assert (result["encoded"], result["kept"]) == (1, 4)
    assert painted.rendered == rendered + 5
    done = [0, 1, 3, 5]
    np.testing.assert_array_equal(embedding(path, "pixels")[done], rows[done])
    assert np.isfinite(embedding(path, "pixels")[4]).all()


def test_an_episode_whose_states_changed_is_encoded_again(path: Path) -> None:
    encode_store(path, "pixels")
    rows = embedding(path, "pixels")
    write(RolloutStore.open(path, writable=True), 3, 20, seed=99)
    assert encode_store(path, "pixels")["encoded"] == 1
    changed = np.abs(embedding(path, "pixels") - rows).max(axis=1)
    assert changed[3] > 0
    assert (changed[[0, 1, 5]] == 0).all()


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_interrupted_and_undisturbed_runs_end_alike(path: Path, tmp_path: Path, after: int) -> None:
    """An interrupt after any row; a lost `inputs` entry and half a chunk stand for a kill within a row."""

    shutil.copytree(path, tmp_path / "b.zarr")
    encode_store(tmp_path / "b.zarr", "efficientnet-lite0")

    def interrupt(done: int, total: int) -> None:
        if done > after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_store(path, "efficientnet-lite0", progress=interrupt)
    zarr.open_group(path, mode="r+")["encode/efficientnet-lite0/inputs"][0] = 0
    (path / "encode/efficientnet-lite0/inputs/c/0.1234.partial").write_bytes(b"cut")
    result = encode_store(path, "efficientnet-lite0")
    assert result["encoded"] == 4 - after
    assert content(path) == content(tmp_path / "b.zarr")


def test_threads_change_no_byte(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(path, tmp_path / "b.zarr")
    for target, cores in ((path, 1), (tmp_path / "b.zarr", 3)):
        monkeypatch.setattr("stages.encoding.cores", lambda cores=cores: cores)
        encode_store(target, "efficientnet-lite0")
    assert content(path) == content(tmp_path / "b.zarr")


def test_a_label_killed_while_being_made_is_made_anew(path: Path) -> None:
    root = zarr.open_group(path, mode="r+")
    root.create_group("encode/pixels").create_array("embedding", shape=(N, 3), chunks=(1, 3), dtype="float32")
    assert encode_store(path, "pixels")["encoded"] == 4
    assert np.isfinite(embedding(path, "pixels")[[0, 1, 3, 5]]).all()


def test_other_settings_write_beside_the_first(path: Path) -> None:
    encode_store(path, "pixels")
    rows = embedding(path, "pixels")
    result = encode_store(path, "pixels", settings=EncodeSettings(frames=3))
    assert result["label"].startswith("pixels-")
    assert len(result["label"]) == len("pixels-") + 6
    assert embedding(path, result["label"]).shape == (N, 3 * 16 * 16 * 3)
    np.testing.assert_array_equal(embedding(path, "pixels"), rows)
    assert encode_store(path, "pixels", settings=EncodeSettings(frames=3))["up_to_date"]
    assert encode_store(path, "pixels", label="mine", settings=EncodeSettings(frames=3))["label"] == "mine"
    assert RolloutStore.open(path).labels("encode") == sorted(["mine", "pixels", result["label"]])


def test_attributes_say_what_the_embedding_is(path: Path) -> None:
    encode_store(path, "efficientnet-lite0")
    attrs = dict(zarr.open_group(path, mode="r")["encode/efficientnet-lite0"].attrs)
    settings = attrs["settings"]
    assert settings["world_model"] == "efficientnet-lite0"
    assert (settings["frames"], settings["size"], settings["camera"], settings["look"]) == (5, 128, "agentview", "lite")
    assert attrs["dim"] == 2 * 1280 * 9
    assert len(attrs["weights"]) == 16
    assert "last frame" in settings["pooling"]


def test_user_mistakes_are_refused_and_leave_the_store_as_it_was(path: Path) -> None:
    encode_store(path, "pixels")
    before = content(path)
    for arguments, message in [
        ({"world_model": "pixls"}, "did you mean 'pixels'"),
        ({"world_model": "pixels", "label": "pixels", "settings": EncodeSettings(frames=3)}, "holds other settings"),
        ({"world_model": "pixels", "label": "../x"}, "not a plain name"),
        ({"world_model": "pixels", "settings": EncodeSettings(size=50)}, "multiple of 16"),
    ]:
        with pytest.raises(UserError, match=message):
            encode_store(path, **arguments)
    with pytest.raises(UserError, match="did you mean 'agentview'"):
        EncodeSettings(camera="agent_view")
    assert content(path) == before


def test_nothing_done_and_states_that_are_not_finite_are_refused(path: Path) -> None:
    root = zarr.open_group(path, mode="r+")
    root["step/state"][3, 2, 5] = np.nan
    with pytest.raises(UserError, match=r"episode 3 .* not finite"):
        encode_store(path, "pixels")
    root["episode/status"][:] = 0
    with pytest.raises(UserError, match="no finished episode"):
        encode_store(path, "pixels")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_broken_embedding_names_its_episode(path: Path, monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    model = load_world_model("pixels")
    monkeypatch.setattr(type(model), "pool", lambda self, features: np.full(self.spec.dim, value, np.float32))
    with pytest.raises(RuntimeError, match=r"episode 0 of .* NaN or zeros"):
        encode_store(path, "pixels")
    assert np.isnan(embedding(path, "pixels")).all()
