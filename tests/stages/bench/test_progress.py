"""Judging progress signals: scores of made-up signals by hand, and the whole on a few scripted episodes."""

from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from srpo_cli.__main__ import run
from stages.bench.progress import ProgressSettings, bench_progress
from stages.bench.progress_scores import MEASURES, score
from stages.demo import DemoSettings, make_demos
from stages.progress.signals import Signal

TASK = np.repeat([0, 1], 10)
SUCCESS = np.tile([True] * 4 + [False] * 6, 2)
TRUTH = np.where(SUCCESS, 5.0, np.tile(np.linspace(0, 4, 10), 2))


def test_a_perfect_signal_has_the_best_scores() -> None:
    left = 5 - TRUTH
    curve = np.linspace(5, left, 8).T
    found = score(Signal(left, curve), SUCCESS, TASK, TRUTH, 50)
    assert found.keys() == MEASURES.keys()
    for name in ("sc", "mono", "rank", "pairs"):
        assert (found[name].estimate, found[name].low) == (1.0, 1.0)
    assert found["smd"].estimate == pytest.approx(3.2116, abs=1e-3)
    assert found["js"].estimate == pytest.approx(np.log(2))


def test_a_signal_that_says_nothing_scores_as_chance() -> None:
    random = np.random.default_rng(3)
    draws = [
        score(Signal(random.random(20), random.random((20, 8))), SUCCESS, TASK, TRUTH, 1)["rank"].estimate
        for _ in range(60)
    ]
    assert abs(np.mean(draws)) < 0.12
    assert np.std(draws) > 0.1


def test_wrong_way_round_is_seen() -> None:
    curve = np.linspace(5 - TRUTH, 5, 8).T
    found = score(Signal(TRUTH, curve), SUCCESS, TASK, TRUTH, 10)
    assert found["rank"].estimate == -1 and found["pairs"].estimate == 0


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("progress") / "a.zarr"
    make_demos(path, DemoSettings(tasks="2", per_task=12, mistakes=0.6, noise=0.1, horizon=160))
    return path


def test_the_whole_on_scripted_episodes(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ProgressSettings(world_models=("pixels",), prefixes=4, moments=4, resamples=20)
    seen: list[str] = []
    result = bench_progress([str(store)], settings, lambda done, total, note: seen.append(note))
    assert result["episodes"] == 12 and result["tasks"] == [2]
    assert sum(result["failures_by_stage"]) == 12 - result["successes"]
    assert {(row["distance"], row["protocol"]) for row in result["rows"]} == {
        *((name, how) for name in ("l2", "l2 nearest", "cosine") for how in ("own end", "held out")),
        *((name, "held out") for name in ("dtw", "remaining", "furthest", "open end")),
    }
    by = {(row["distance"], row["protocol"]): row for row in result["rows"]}
    assert by["l2", "own end"]["sc"][0] > 0.5
    for row in result["rows"]:
        estimate, low, high = row["rank"]
        assert -1 <= low <= high <= 1 and -1 <= estimate <= 1
    picture = tmp_path / "out.png"
    words = ["bench", "progress", str(store), "--world-models", "pixels", "--image", str(picture)]
    words += ["--set", "prefixes=4", "--set", "moments=4", "--set", "resamples=20"]
    assert run(words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "12 episodes of tasks 2" in shown and "best by rank: pixels" in shown
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_refusals(store: Path) -> None:
    with pytest.raises(UserError, match="at least one world model"):
        ProgressSettings(world_models=())
    with pytest.raises(UserError, match="no rollout store"):
        bench_progress([f"{store}x"], ProgressSettings(), lambda *_: None)
