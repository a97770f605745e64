"""The rollout store: what is written is read back, and half of anything never counts."""

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec
import numpy as np
import pytest
import zarr

from data import making
from data.errors import UserError
from data.paths import pack
from data.store import DONE, EMPTY, ERROR, SKIPPED, Episode, Layout, Plan, RolloutStore

LAYOUT = Layout(horizon=20, state_size=11, chunk=8, proprio=8, images={"agentview": 6}, tokens=True)


def make(path: Path | str, n: int = 3, seed: int = 7) -> RolloutStore:
    plan = Plan(task=np.arange(n), init_state=np.arange(n) + 5, group=np.zeros(n, int), seed=np.arange(n) * seed)
    return RolloutStore.create(path, {"suite": "libero_object"}, plan, LAYOUT)


def episode(steps: int = 13, seed: int = 0, state_size: int = 9) -> Episode:
    rng = np.random.default_rng(seed)
    queries = -(-steps // LAYOUT.chunk)
    return Episode(
        success=True,
        state=rng.random((steps + 1, state_size)),
        action=rng.random((steps, 7), dtype=np.float32),
        images={"agentview": rng.integers(0, 256, (queries, 6, 6, 3), np.uint8)},
        proprio=rng.random((queries, 8), dtype=np.float32),
        tokens=rng.integers(0, 41, (queries, 56)).astype(np.int16),
        logprob=rng.random((queries, 56), dtype=np.float32),
    )


def test_an_episode_comes_back_without_padding(tmp_path: Path) -> None:
    written = episode()
    make(tmp_path / "a.zarr").write(1, written)
    store = RolloutStore.open(tmp_path / "a.zarr")
    read = store.read(1)
    assert read.success and read.steps == 13
    np.testing.assert_array_equal(read.state[:, :9], written.state)
    np.testing.assert_array_equal(store.states(1), read.state)
    assert not read.state[:, 9:].any(), "padded to the widest task with zeros"
    for name, values in written.arrays().items():
        if name != "step/state":
            np.testing.assert_array_equal(read.arrays()[name], values, err_msg=name)
    assert store.status().tolist() == [EMPTY, DONE, EMPTY]
    assert store.steps().tolist() == [0, 13, 0]
    assert store.queries().tolist() == [0, 2, 0]
    assert store.plan.init_state.tolist() == [5, 6, 7]


def test_shapes_and_chunks_follow_the_schema(tmp_path: Path) -> None:
    root = make(tmp_path / "a.zarr").group
    expected = {
        "step/state": ((3, 21, 11), np.float64),
        "step/action": ((3, 20, 7), np.float32),
        "query/image/agentview": ((3, 3, 6, 6, 3), np.uint8),
        "query/proprio": ((3, 3, 8), np.float32),
        "query/tokens": ((3, 3, 56), np.int16),
        "query/logprob": ((3, 3, 56), np.float32),
        "episode/status": ((3,), np.uint8),
    }
    for name, (shape, dtype) in expected.items():
        array = root[name]
        assert array.shape == shape
        assert array.dtype == dtype, name
        assert array.chunks == (1, *shape[1:]), "one episode a chunk"
    assert root.attrs["schema"] == 1
    assert root.attrs["horizon"] == 20


def test_at_most_fifteen_files_an_episode(tmp_path: Path) -> None:
    store = make(tmp_path / "a.zarr")
    before = sum(1 for p in (tmp_path / "a.zarr").rglob("*") if p.is_file())
    store.write(1, episode())
    after = sum(1 for p in (tmp_path / "a.zarr").rglob("*") if p.is_file())
    assert after - before <= 12, "leaves room for the embedding and its row"


def test_status_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path / "a.zarr")
    monkeypatch.setattr(store, "_write_row", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        store.write(0, episode())
    assert RolloutStore.open(tmp_path / "a.zarr").status()[0] == EMPTY


def test_an_error_is_not_a_failure(tmp_path: Path) -> None:
    store = make(tmp_path / "a.zarr")
    store.mark_error(2)
    assert store.status().tolist() == [EMPTY, EMPTY, ERROR]
    assert store.done().tolist() == []
    with pytest.raises(UserError, match="not done"):
        store.read(2)


def test_a_skipped_error_is_neither_done_nor_a_failure(tmp_path: Path) -> None:
    store = make(tmp_path / "a.zarr")
    store.write(0, episode())
    store.mark_error(2, skip=True)
    assert store.status().tolist() == [DONE, EMPTY, SKIPPED]
    assert store.done().tolist() == [0]


def test_success_without_its_status_does_not_count(tmp_path: Path) -> None:
    """What a kill between the two leaves."""
    store = make(tmp_path / "a.zarr")
    store.write(1, episode())
    store.group["episode/success"][0] = 1
    assert store.success().tolist() == [False, episode().success, False]


@pytest.mark.parametrize("name", ["state", "action", "proprio", "logprob"])
def test_nan_is_refused(tmp_path: Path, name: str) -> None:
    bad = episode()
    getattr(bad, name)[0, 0] = np.nan
    store = make(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="NaN"):
        store.write(0, bad)
    assert store.done().size == 0


def test_an_episode_longer_than_the_horizon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most"):
        make(tmp_path / "a.zarr").write(0, episode(steps=21))


def test_a_narrower_action_is_refused(tmp_path: Path) -> None:
    bad = episode()
    bad.action = bad.action[:, :6]
    with pytest.raises(ValueError, match="step/action"):
        make(tmp_path / "a.zarr").write(0, bad)


class Killed(BaseException):
    """The process ends here."""


def files(path: Path | str) -> dict[str, bytes]:
    """Every file of a store."""
    system, folder = fsspec.core.url_to_fs(str(path))
    return {name.removeprefix(folder): system.cat_file(name) for name in system.find(folder)}


def killed_after(monkeypatch: pytest.MonkeyPatch, writes: int, path: str) -> bool:
    """Make a store and die before the next of its files; whether that came to pass."""
    left = [writes]

    def dying(write: Callable[..., None]) -> Callable[..., None]:
        def one(*arguments: object) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            write(*arguments)

        return one

    with monkeypatch.context() as patch:
        for place in (making._Local, making._Remote):
            for name in ("put", "replace"):
                patch.setattr(place, name, dying(getattr(place, name)))
        try:
            make(path)
        except Killed:
            return True
    return False


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_a_store_killed_while_being_made_is_absent_and_finished_by_the_same_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    whole = f"{scheme}{tmp_path}/whole.zarr"
    make(whole)
    n = len(files(whole))
    for writes in (0, 1, 2, n // 2, n):
        path = f"{scheme}{tmp_path}/{writes}.zarr"
        assert killed_after(monkeypatch, writes, path)
        assert not RolloutStore.exists(path)
        with pytest.raises(UserError, match="not a whole rollout store" if writes else "no rollout store"):
            RolloutStore.open(path)
        if writes:
            before = files(path)
            with pytest.raises(UserError, match="begun with other options"):
                make(path, seed=8)
            assert files(path) == before
        make(path)
        assert files(path) == files(whole), writes
    assert not killed_after(monkeypatch, n + 1, f"{scheme}{tmp_path}/last.zarr"), "one write a file, the root's twice"


def test_making_a_store_that_is_in_use_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    make(path).write(1, episode())
    before = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    assert make(path).status().tolist() == [EMPTY, DONE, EMPTY]
    with pytest.raises(UserError, match="other episodes"):
        make(path, n=4)
    with pytest.raises(UserError, match="begun with other options"):
        RolloutStore.create(path, {"suite": "libero_goal"}, RolloutStore.open(path).plan, LAYOUT)
    after = {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in path.rglob("*") if file.is_file()}
    assert after == before


def test_threads_make_one_store_at_once_and_one_request_wins(tmp_path: Path) -> None:
    """Six makers, two requests: all of one request succeed, all of the other are refused."""
    for round_ in range(6):
        path, together = tmp_path / f"{round_}.zarr", threading.Barrier(6)

        def attempt(seed: int, path: Path = path, together: threading.Barrier = together) -> int | None:
            together.wait()
            try:
                return int(make(path, seed=seed).plan.seed[1])
            except UserError:
                return None

        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(attempt, [7, 8] * 3))
        assert made in ([7, None] * 3, [None, 8] * 3)
        make(tmp_path / "alone" / path.name, seed=next(seed for seed in made if seed))
        assert files(path) == files(tmp_path / "alone" / path.name)


def test_a_file_system_without_links_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "a.zarr")

    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    make(tmp_path / "b.zarr")
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")


def test_packed_store_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    written = episode()
    make(path).write(1, written)
    target = pack(path)
    assert not path.exists()
    assert target.name == "a.zarr.zip"
    np.testing.assert_array_equal(RolloutStore.open(path).read(1).action, written.action)
    with pytest.raises(UserError, match="unzip"):
        RolloutStore.open(path, writable=True)


def test_packing_the_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    hashes = []
    for name in ("one", "two"):
        make(tmp_path / name / "a.zarr").write(1, episode())
        hashes.append(hashlib.sha256(pack(tmp_path / name / "a.zarr").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]


def test_sweep_removes_only_half_written_files_of_its_own_episodes(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    store = make(path)
    store.write(0, episode())
    whole = files(path)
    own = ["123.partial", "step/state/c/1/0/0.abc.partial", "episode/status/c/1.abc.partial"]
    others = ["step/state/c/2/0/0.abc.partial", "episode/status/c/11.abc.partial", "encode/pixels/zarr.abc.partial"]
    for name in own + others:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(b"half")
    store.sweep(range(2))
    assert files(path) == whole | {f"/{name}": b"half" for name in others}
    store.new_label("encode", "pixels")
    assert {name for name in files(path) if name.endswith(".partial")} == {f"/{name}" for name in others[:2]}
    assert store.label_attrs("encode", "pixels") is None, "not whole yet"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: None, "no rollout store"),
        (lambda p: p.mkdir(), "no rollout store"),
        (lambda p: p.write_text("hello"), "is a file"),
        (lambda p: zarr.open_group(p, mode="w-").update_attributes({"someone": "else"}), "not a whole rollout store"),
        (lambda p: make(p).group.update_attributes({"schema": 99}), "schema 99"),
        (lambda p: (make(p), (p / "zarr.json").write_text("{")), "damaged"),
        (lambda p: (make(p), (p / "zarr.json").write_text("")), "damaged"),
        (lambda p: p.with_name("a.zarr.zip").write_text("no zip"), "damaged"),
    ],
)
def test_what_is_no_store_is_told_in_one_line(tmp_path: Path, spoil, message: str) -> None:
    path = tmp_path / "a.zarr"
    spoil(path)
    with pytest.raises(UserError, match=message) as raised:
        RolloutStore.open(path)
    assert "\n" not in str(raised.value)


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    path.mkdir()
    (path / "precious.txt").write_text("keep me")
    with pytest.raises(UserError, match="exists"):
        make(path)
    assert (path / "precious.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("url", "message"),
    [("nowhere://a/b.zarr", "Protocol not known"), ("gcs://a/b.zarr", "install gcsfs"), ("memory://a", "no rollout")],
)
def test_a_url_out_of_reach_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, url: str, message: str) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UserError, match=message) as raised:
        RolloutStore.open(url)
    assert "\n" not in str(raised.value)


def test_a_file_url_is_a_folder(tmp_path: Path) -> None:
    make(f"file://{tmp_path}/a.zarr").write(0, episode())
    make(tmp_path / "b.zarr").write(0, episode())
    assert RolloutStore.open(f"local://{tmp_path}/a.zarr").read(0).steps == 13
    assert files(tmp_path / "a.zarr") == files(tmp_path / "b.zarr")


def test_memory_url(tmp_path: Path) -> None:
    url = f"memory://{tmp_path.name}/a.zarr"
    make(url).write(0, episode())
    assert RolloutStore.open(url).read(0).steps == 13


def test_dropped_images_are_gone_not_black(tmp_path: Path) -> None:
    store = make(tmp_path / "a.zarr")
    store.write(0, episode())
    store.drop_images()
    store.drop_images()
    assert not (tmp_path / "a.zarr" / "query" / "image").exists()
    again = RolloutStore.open(tmp_path / "a.zarr")
    assert again.cameras() == []
    assert again.read(0).images == {}
    assert again.read(0).tokens is not None
