"""`srpo eval --against` and `--run` as a person or a script calls them."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data.checkpoint import write_checkpoint
from data.paired import paired
from data.rates import rate
from data.runs import Run
from srpo_cli.__main__ import run
from srpo_cli.tables.eval import points, show_comparison
from srpo_cli.tables.eval_curve import CurveLines, draw_curve, header, line, places, show_end
from stages.policies.mini import MiniConfig, MiniPolicy

SMALL = "--tasks 2 --episodes 2 --horizon 8 --workers 1"


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    """policy/, other/, and a run of both, whose own evaluation takes two episodes of 8 steps."""
    write_checkpoint(folder / "other", MiniPolicy(MiniConfig(hidden=64)).save, {"kind": "sft"})
    made = Run.start(folder / "run", {"eval": {"tasks": "2", "episodes": 2, "horizon": 8, "every": 5}})
    for number, name in enumerate(("policy", "other")):
        shutil.copytree(folder / name, made.policy(number))
    return folder


def srpo(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.chdir(folder)
    return run(command.split())


def words(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_against_shows_pairs_and_a_verdict(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"eval --policy policy --against other {SMALL} --out pair"
    assert srpo(command, place, monkeypatch) == 0
    shown = words(capsys)
    for part in ("A: policy", "B: other", "only A", "no difference can be told: p = 1, n = 2", "an unknown number"):
        assert part in shown
    assert "same policy" not in shown
    assert srpo(f"{command} --json", place, monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["a"]["up_to_date"] and told["b"]["up_to_date"]
    assert (told["n"], told["success_a"]["n"], told["tasks"][0]["neither"], told["p"]) == (2, 2, 2, 1.0)
    assert sorted(f"pair/{path.name}" for path in (place / "pair").iterdir()) == sorted(
        told[side]["store"] for side in "ab"
    )


def test_the_same_policy_on_both_sides_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert srpo(f"eval --policy policy --against ./policy {SMALL}", place, monkeypatch) == 0
    shown = words(capsys)
    assert "A and B are the same policy (equal weights)" in shown and "no difference can be told" in shown


def test_run_takes_its_own_settings_and_options_win(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert srpo("eval --run run --workers 1 --image curve.png", place, monkeypatch) == 0
    shown = words(capsys)
    for part in (
        "heldout, greedy, horizon 8",
        "against 000: won lost",
        "000 2 0.0 %",
        "4 episodes run; kept in run/eval",
    ):
        assert part in shown
    assert "no difference can be told: p = 1, n = 2; policy 001 - policy 000" in shown
    assert cv2.imread(str(place / "curve.png")).shape[1] == 960

    assert srpo("eval --run run --workers 1", place, monkeypatch) == 0
    assert "up to date; kept in run/eval/heldout-2-" in words(capsys)

    assert srpo("eval --run run --workers 1 --every 7 --horizon 6 --set slots=1 --json", place, monkeypatch) == 0
    output = capsys.readouterr()
    told = json.loads(output.out)
    assert (told["horizon"], [row["iteration"] for row in told["policies"]]) == (6, [0, 1])
    assert [row["n"] for row in told["policies"]] == [2, 2]
    assert told["policies"][0]["first"] is None and told["policies"][1]["first"]["p"] == 1.0
    assert "against 000" in output.err


def row(iteration: int, successes: int, first: dict[str, Any] | None, skipped: int = 0) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "suite": "libero_object",
        "inits": "heldout",
        "temperature": 0.0,
        "horizon": 160,
        "look": "lite",
    }
    asked["tasks"] = [{"index": 2}, {"index": 9}]
    return {"iteration": iteration, **rate(successes, 20), "skipped": skipped, "first": first, "collected": 20, **asked}


def test_tasks_are_named_or_counted() -> None:
    named = {
        n: places({**row(0, 4, None), "tasks": [{"index": i} for i in range(n)]}).split("; ")[1] for n in (1, 3, 11)
    }
    assert named == {1: "task 0", 3: "tasks 0, 1, 2", 11: "11 tasks"}


PAIRS = paired(np.arange(20) < 15, np.arange(20) >= 16)


def test_lines_stand_in_columns() -> None:
    lines: list[str] = []
    tell = CurveLines(lines.append).tell
    tell(row(0, 4, None))
    tell(row(12, 15, PAIRS))
    assert lines == [
        "libero_object, initial states heldout, greedy, horizon 160, lite look; tasks 2, 9",
        header(0),
        "   000        20   20.0 %     8.1-41.6 %",
        "   012        20   75.0 %    53.1-88.8 %                15     4   +55.0  +13.0 to +79.9    0.0192",
    ]
    assert len(header(0)) == len(lines[-1])
    assert line(row(7, 4, None, skipped=2)).endswith("(2 skipped for an error)")


def test_policies_that_went_away_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    show_end({"policies": [row(0, 4, None)], "gone": [7, 8], "verdict": "so", "kept": "runs/[x]"})
    shown = words(capsys)
    assert "left out: 007, 008, which the run removed" in shown and "20 episodes run; kept in runs/[x]" in shown
    assert "corrected" not in shown


def test_points() -> None:
    assert points(-0.05, (-0.2126, 0.3)) == ("-5.0", "-21.3 to +30.0")


def test_a_curve_of_one_policy_and_of_extremes(tmp_path: Path) -> None:
    shared = {"run": str(tmp_path), "suite": "libero_object", "inits": "heldout"}
    for name, rows in (("one", [row(3, 20, None)]), ("two", [row(0, 0, None), row(200, 20, PAIRS)])):
        draw_curve({**rows[0], **shared, "policies": rows}, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_names_in_brackets_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    side = {**row(0, 4, None), "folder": "runs/[red]a", "store": "out/[b].zarr", "trained_on": 3, "up_to_date": True}
    told = {**PAIRS, "a": side | {"versions": {}}, "b": side, "same": False, "skipped": 1, "tasks": [], "verdict": "so"}
    show_comparison(told)
    shown = words(capsys)
    for part in (
        "A: runs/[red]a",
        "3 of 20 of the episodes start where it was trained; kept in out/[b].zarr",
        "1 pairs",
    ):
        assert part in shown
