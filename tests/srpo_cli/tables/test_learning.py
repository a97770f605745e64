"""What `srpo bench learning` says of runs whose course is known."""

import json
from pathlib import Path

import pytest

from srpo_cli.tables import learning as tables
from stages.bench.learning.curves import Row


def run(*sampled: float, greedy: float) -> list[Row]:
    rows = [Row(0, 0, 0.0, None, 0.25, 20)]
    rows += [Row(i, 64 * i, 30.0 * i, rate, None, None) for i, rate in enumerate(sampled, start=1)]
    last = rows[-1]
    return [*rows[:-1], Row(last.iteration, last.episodes, last.seconds, last.sampled, greedy, 20)]


@pytest.fixture
def runs() -> dict:
    slow, fast = (0.1, 0.1, 0.1, 0.6, 0.6, 0.6), (0.6, 0.6, 0.6, 0.9, 0.9, 0.9)
    return {
        ("sparse", "binary"): {s: run(*slow, greedy=0.6) for s in (0, 1)},
        ("sparse", "path"): {s: run(*fast, greedy=0.95) for s in (0, 1)},
    }


def test_the_summary_counts_what_a_level_took(runs: dict) -> None:
    binary, path = tables.summary(runs)
    assert (binary["arm"], binary["seeds"], binary["iterations"]) == ("binary", [0, 1], 6)
    assert path["start_greedy"]["mean"] == 0.25
    assert path["end_greedy"]["mean"] == 0.95
    assert path["end_sampled"]["mean"] == pytest.approx(0.78)
    assert path["to_0.5"]["by_seed"][1] == {"iterations": 3, "episodes": 192, "seconds": 90.0, "censored": 0.0}
    assert path["to_0.5"]["versus_binary"]["iterations"]["mean"] == 0.5
    assert path["to_0.8"]["versus_binary"]["iterations"]["censored_other"] == 2
    assert binary["to_0.5"]["versus_binary"] == {}
    json.dumps([binary, path])


def test_the_tables_for_people(runs: dict, capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_learning(tables.summary(runs))
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("sparse start", "95.0 % (95%-95%)", "0.50 (0.50-0.50)", "> 6.0", "> 384", "1.5", "Student's"):
        assert part in shown, part


def test_a_ratio_with_runs_that_never_got_there_is_a_bound(capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = run(*[0.6] * 6, greedy=0.6), run(*[0.9] * 6, greedy=0.9)
    runs = {
        ("normal", "binary"): {0: fast, 1: slow},
        ("normal", "cosine"): {0: fast, 1: fast},
        ("normal", "path"): {0: slow, 1: slow},
        ("sparse", "binary"): {0: fast},
        ("sparse", "path"): {0: slow},
    }
    tables.show_learning(tables.summary(runs))
    printed = capsys.readouterr().out
    shown = [" ".join(line.split()) for part in printed.split("to 80%")[1:] for line in part.splitlines()]
    rows = [row for row in shown if any(f"│ {arm} │" in row for arm in ("binary", "cosine", "path"))]
    assert "< 0.67 (0.50-1.00)" in rows[1]
    assert "│ ? │" in rows[2]
    assert rows[-1].count("│ > 2.00 │") == 2
    assert "…" not in printed


def test_the_figure_is_drawn_also_for_one_seed(runs: dict, tmp_path: Path) -> None:
    tables.draw_learning(runs, tmp_path / "a.png")
    tables.draw_learning({("normal", "path"): {0: run(0.1, 0.2, greedy=0.3)}}, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "b.png").stat().st_size > 10_000


def test_nothing_to_show_yet(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show_learning(tables.summary({}))
    assert "no run of this shard" in capsys.readouterr().out
