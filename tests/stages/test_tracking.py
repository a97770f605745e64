"""Trackers show what metrics.jsonl says, once, and never stop a run."""

import json
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from data.runs import Run
from stages import tracking as module
from stages.tracking import check_tracker, flat_settings, numbers, tracking

COLLECT = {
    "rate": 0.25,
    "interval": [0.1, 0.4],
    "up_to_date": False,
    "shard": "0/1",
    "tasks": [{"index": 2, "name": "milk", "rate": 0.5}, {"index": 9, "name": "juice", "rate": 0.0}],
}
UPDATE = {"health": {"approx_kl": 0.01}, "settings": {"lr": 1e-3}, "queries": 12, "weights": "ab"}
SHOWN = {"collect/rate": 0.25, "collect/interval/0": 0.1, "collect/tasks/2/rate": 0.5, "update/health/approx_kl": 0.01}

BLOCK, FULL, LAST = 32768, 1, 4
"""of the log format that wandb writes"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.start(tmp_path / "run", {"task": {"tasks": "2,9"}, "update": {"lr": 1e-3, "dual_clip": None}})


def log(run: Run, iteration: int) -> None:
    run.log(iteration, "collect", COLLECT)
    run.log(iteration, "update", UPDATE)


def events(run: Run) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads back: name -> (step, value), in order."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found = defaultdict(list)
    for file in sorted((run.trackers / "tensorboard").glob("events*")):
        for event in reading.EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                found[value.tag].append((event.step, pytest.approx(value.tensor.float_val[0])))
    return dict(found)


def test_numbers_of_a_line():
    line = {"iteration": 3, "stage": "collect", **COLLECT}
    assert numbers(line) == {
        "collect/rate": 0.25,
        "collect/interval/0": 0.1,
        "collect/interval/1": 0.4,
        "collect/tasks/2/rate": 0.5,
        "collect/tasks/9/rate": 0.0,
    }
    line = {"iteration": 3, "stage": "update", **UPDATE}
    assert numbers(line) == {"update/health/approx_kl": 0.01, "update/queries": 12}
    assert flat_settings({"a": {"b": [1, 2], "c": True, "d": 0.5}}) == {"a.b": "[1, 2]", "a.c": True, "a.d": 0.5}


def test_tensorboard_has_every_line_once(run: Run):
    log(run, 1)
    for last in (2, 3):
        with tracking(run, "tensorboard") as follow:
            log(run, last)
            follow()
            follow()
    found = events(run)
    for name, value in SHOWN.items():
        assert found[name] == [(n, value) for n in (1, 2, 3)]
    (settings,) = (run.trackers / "tensorboard").glob("*/hparams.yml")
    assert "update.lr: 0.001" in settings.read_text() and "update.dual_clip: none" in settings.read_text()


def test_one_that_fails_later_warns_once(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space\nleft")

    with tracking(run, "tensorboard") as follow:
        monkeypatch.setattr("stages.tracking.TensorBoardTracker.log", full)
        monkeypatch.setattr("stages.tracking.TensorBoardTracker.finish", full)
        log(run, 1)
        follow()
        follow()
    said = capsys.readouterr().err
    assert said == "srpo: --track tensorboard failed (OSError: no space left); the run goes on without it\n"
    monkeypatch.undo()
    with tracking(run, "tensorboard"):
        pass
    assert events(run)["collect/rate"] == [(1, 0.25)]


def test_one_that_does_not_start_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch):
    (run.folder / "trackers").write_text("in the way")
    with pytest.raises(UserError, match=r"--track tensorboard does not start \(FileExistsError.*or leave it out"):
        tracking(run, "tensorboard").__enter__()
    with pytest.raises(UserError, match="did you mean 'tensorboard'"):
        check_tracker("tensorbord")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    for name in ("tensorboard", "wandb"):
        with pytest.raises(UserError, match=f"not installed; pip install {name}"):
            check_tracker(name)


def test_none_writes_nothing(run: Run):
    with tracking(run, None) as follow:
        log(run, 1)
        follow()
    assert not run.trackers.exists()


def blobs(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after seven bytes of its own."""
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:
            at += BLOCK - at % BLOCK
            continue
        length, kind = struct.unpack_from("<4xHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (FULL, LAST):
            yield whole
            whole = b""


def test_wandb_offline(run: Run, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    records = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for last in (1, 2):
        with tracking(run, "wandb") as follow:
            log(run, last)
            follow()
    wandb.teardown()  # its own process writes after a run is finished
    found, names = defaultdict(list), set()
    for file in run.trackers.glob("wandb/offline-run-*/*.wandb"):
        for blob in blobs(file):
            record = records.Record.FromString(blob)
            names |= {record.run.run_id} - {""}
            row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            for name in SHOWN.keys() & row.keys():
                found[name].append((int(row["iteration"]), float(row[name])))
    assert names == {json.loads((run.trackers / "wandb.json").read_text())["id"]}
    wanted = {name: [(n, value) for n in (1, 2)] for name, value in SHOWN.items()}
    assert {name: sorted(rows) for name, rows in found.items()} == wanted
