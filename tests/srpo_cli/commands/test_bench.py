"""`srpo bench` as a person or a script calls it, the measuring itself made up."""

import json
from typing import Any

import pytest

from srpo_cli.__main__ import run
from stages.bench import agreement, render, sim
from stages.bench.settings import RenderSettings, SimSettings


def middle(value: float, n: int = 10) -> dict[str, Any]:
    return {"median": value, "n": n, "interval": [0.9 * value, 1.1 * value] if n > 5 else None}


def measured() -> dict[str, Any]:
    """What `bench_sim` returns, with figures that are easy to find again."""
    libero = {"episode_s": 40.0, "how": "whole episodes", "step_ms": 222.0, "make_s": 7.0, "reset_s": 3.0}
    libero |= {"settle_s": 2.5, "resident_mb": 1234.0}
    full = {"cameras": {"agentview": 256, "robot0_eye_in_hand": 256}, "episode_s": 2.5, "ratio": 16.0}
    lite = {"cameras": {"agentview": 96}, "episode_s": 0.5, "ratio": 80.0}
    row = {"workers": 2, "libero": libero, "full": full, "lite": lite, "by_task": [{"task": 5}]}
    return {
        "suite": "libero_object",
        "horizon": 280,
        "ratio_episode": 16.0,
        "step": {
            "srpo": middle(2.125),
            "bare": middle(2.0),
            "libero": middle(13.5, 2),
            "ratio_bare": middle(1.06),
            "reset": middle(0.0123),
            "settle": middle(21.0),
            "steps": 100,
            "rows": [{"task": 3, "ratio": 1.05}, {"task": 7, "ratio": 1.17}],
        },
        "episodes": [row],
        "memory": {"lite": [{"tasks": 1, "resident_mb": 150.4}, {"tasks": 10, "resident_mb": 345.6}]},
        "start": {"worker_s": middle(1.5, 3), "first_step_s": middle(3.75, 3), "imports_s": 2.25},
        "parallel": {"width": 2, "one": middle(500.0, 6), "threads": middle(901.0, 6), "processes": middle(977.0, 6)},
    }


def test_sim_for_people(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given: list[SimSettings] = []

    def fake(settings: SimSettings, collect: tuple[str, ...], tick: Any) -> dict[str, Any]:
        given.append(settings)
        assert collect[-2:] == ("srpo_cli", "collect")
        return measured()

    monkeypatch.setattr(sim, "bench_sim", fake)
    words = "bench sim --tasks 2-4 --workers 2 --steps 50 --seconds 0 --episodes 4"
    assert run(words.split()) == 0
    expected = SimSettings(tasks="2-4", workers=2, steps=50, seconds=0.0, episodes=4)
    assert given == [expected]
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("1.06", "0.954-1.17", "13.5", "6.75", "7: 1.17 x bare", "0.025", "80", "346 MB", "3.75 s", "977"):
        assert part in shown, part
    assert "whole episodes; reset and settling 5.5 s" in shown


def test_sim_for_scripts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sim, "bench_sim", lambda settings, collect, tick: measured())
    assert run(["bench", "sim", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == measured()


def test_render(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given: list[RenderSettings] = []

    def fake(settings: RenderSettings, tick: Any) -> dict[str, Any]:
        given.append(settings)
        rows = [
            {"look": "libero", "camera": "agentview", "size": 256, "ms": middle(101.0), "ratio": 1.0},
            {"look": "lite", "camera": "agentview", "size": 96, "ms": middle(0.72)},
            {"look": "full", "camera": "agentview", "size": 256, "ms": middle(20.2), "ratio": 5.0},
        ]
        return {"suite": "libero_goal", "tasks": [4], "frames": 3, "rows": rows}

    monkeypatch.setattr(render, "bench_render", fake)
    words = "bench render --suite libero_goal --libero-tasks 1 --frames 3 --look full"
    assert run(words.split()) == 0
    assert given == [RenderSettings(suite="libero_goal", libero_tasks=1, frames=3, look="full")]
    shown = capsys.readouterr().out
    assert "libero_goal task 4" in shown
    lines = [line.split() for line in shown.splitlines() if "agentview" in line]
    assert [line[3:8:2] for line in lines] == [
        ["96", "lite", "0.72"],
        ["256", "libero", "101"],
        ["256", "full", "20.2"],
    ]


def test_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given: list[tuple[Any, ...]] = []
    row = {
        "task": 3,
        "instruction": "open it",
        "torque": 1.2e-13,
        "state": {n: {"arm": 2e-9, "all": 3e-7} for n in ("1", "10", "50", "130")},
        "nudged": {"50": 3e-9, "130": 4e-5},
        "success_steps": 400,
        "success_disagreements": 1,
        "success_flips": 3,
        "paired": {"n": 20, "equal": 19, "ours": 12, "libero": 13},
    }
    paired = row["paired"] | {"share": 0.95, "interval": [0.764, 0.991]}
    summary = {"paired": paired, "proprio": 2e-8, "lag": {"mm": 0.94, "rad": 0.019, "finger_mm": 0.2}}
    found = {"suite": "libero_goal", "tasks": [row], "summary": summary}

    def fake(*arguments: Any) -> dict[str, Any]:
        given.append(arguments[:3])
        return found

    monkeypatch.setattr(agreement, "check_suite", fake)
    words = "bench sim --check --suite libero_goal --tasks 3 --episodes 20"
    assert run(words.split()) == 0
    assert given == [("libero_goal", "3", 20)]
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "1e-13",
        "3e-7",
        "4e-5",
        "399/400 3x",
        "0.9 mm, 0.019 rad",
        "95.0 % (95 %: 76.4-99.1 %)",
        "srpo 12, LIBERO 13",
    ):
        assert part in shown, part
    assert run([*words.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"suite": "libero_goal", "check": found}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("bench simm", "Did you mean 'sim'"),
        ("bench render --check", "--check"),
        ("bench sim --look dark", "look"),
        ("bench sim --tasks 77", "0-9"),
        ("bench sim --workers 0", "workers"),
        ("bench sim --seconds -1", "seconds"),
        ("bench render --frames 0", "frames"),
        ("bench render --suite libero_goa", "did you mean 'libero_goal'"),
    ],
)
def test_refusals(words: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words.split()) == 2
    told = capsys.readouterr().err
    assert part in told and len(told.splitlines()) == 1
