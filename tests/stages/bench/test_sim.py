"""The whole of `bench sim`: settings, the figures that sum it up, progress."""

import json
import sys

import pytest

from data.errors import UserError
from stages.bench import sim
from stages.bench.medians import median
from stages.bench.meter import Meter
from stages.bench.settings import SimSettings


@pytest.mark.parametrize(("workers", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (8, [1, 2, 4, 8])])
def test_numbers_of_workers(workers: int, counts: list[int]) -> None:
    assert SimSettings(workers=workers).counts() == counts


@pytest.mark.parametrize(
    ("wrong", "part"),
    [
        ({"suite": "libero_objekt"}, "libero_object"),
        ({"tasks": "77"}, "0-9"),
        ({"look": "ful"}, "did you mean 'full'"),
        ({"workers": 0}, "workers"),
        ({"steps": 0}, "steps"),
        ({"episodes": -1}, "episodes"),
        ({"libero_tasks": 0}, "libero_tasks"),
        ({"seconds": -1.0}, "seconds"),
        ({"seconds": float("inf")}, "seconds"),
    ],
)
def test_refused_settings(wrong: dict[str, object], part: str) -> None:
    with pytest.raises(UserError, match=part):
        SimSettings(**wrong)


def test_the_meter_ends_where_it_said() -> None:
    seen: list[tuple[int, int, str]] = []
    meter = Meter(lambda done, total, note: seen.append((done, total, note)))
    quick, slow = meter.plan(4, 0.5), meter.plan(2, 10.0)
    for _ in range(4):
        quick("q")
    for _ in range(2):
        slow("s")
    assert seen[0] == (0, 22, "q") and seen[-1] == (22, 22, "s")


def test_headline(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {who: median([ms]) for who, ms in {"srpo": 2.2, "bare": 2.0, "libero": 11.0}.items()}
    steps |= {"ratio_bare": median([1.1]), "ratio_libero": median([5.0])}

    def rows(plan: object, progress: object) -> list[dict[str, object]]:
        libero = {"episode_s": 60.0, "how": "whole episodes"}
        half = {"episode_s": 30.0, "how": "whole episodes"}
        return [
            {"workers": 1, "libero": libero, "full": {"episode_s": 6.0, "ratio": 10.0}},
            {"workers": 2, "libero": half, "full": {"episode_s": 2.0, "ratio": 15.0}},
        ]

    monkeypatch.setattr(sim, "bench_step", lambda *_: steps)
    monkeypatch.setattr(sim, "bench_episodes", rows)
    for name in ("bench_memory", "bench_worker_start", "bench_parallel"):
        monkeypatch.setattr(sim, name, lambda *_: {})
    monkeypatch.setattr(sim, "bench_collect_start", lambda *_: {})
    found = sim.bench_sim(SimSettings(look="full", workers=2), ("srpo", "collect"))
    assert found["libero"] == {"step_ms": 11.0, "episode_s": 30.0, "how": "whole episodes"}
    assert found["srpo"] == {"step_ms": 2.2, "episode_s": 2.0}
    assert found["bare"] == {"step_ms": 2.0}
    assert (found["ratio_episode"], found["ratio_bare"], found["ratio_step"]) == (15.0, 1.1, 5.0)
    assert (found["suite"], found["look"], found["workers"], found["horizon"]) == ("libero_object", "full", 2, 280)
    assert found["cameras"] == {"agentview": 256, "robot0_eye_in_hand": 256}


@pytest.mark.slow
def test_everything_once_and_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim, "STARTS", 1)
    settings = SimSettings(
        tasks="2", look="lite", libero_tasks=1, steps=10, episodes=1, horizon=8, workers=1, seconds=1.0
    )
    seen: list[int] = []
    found = sim.bench_sim(
        settings, (sys.executable, "-m", "srpo_cli", "collect"), lambda done, total, note: seen.append(total - done)
    )
    assert seen[-1] == 0
    assert json.loads(json.dumps(found))["ratio_episode"] == found["ratio_episode"] > 1
    assert found["libero"]["step_ms"] > found["srpo"]["step_ms"]
