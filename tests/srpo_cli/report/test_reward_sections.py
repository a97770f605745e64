"""The boxes of a report about a reward: what they say, and what they say where something is missing."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.report import reward_sections
from srpo_cli.report.build import report_html
from srpo_cli.report.reward_charts import embedding_maps, paint_maps, progress_curves
from srpo_cli.report.reward_facts import Facts, with_views
from srpo_cli.report.rewarded import Rewarded, read_reward
from tests.srpo_cli.report.test_report import check_page

TITLES = ("References and failures", "What the reward ranks", "Maps of the embeddings", "Progress over time")


@pytest.fixture
def rewarded(measured: RolloutStore) -> Rewarded:
    return read_reward(measured, "paper")


@pytest.fixture
def facts(measured: RolloutStore, rewarded: Rewarded) -> Facts:
    return with_views(measured, rewarded)


def test_a_report_holds_the_sections(measured: RolloutStore) -> None:
    text = report_html([measured.path])
    seen = check_page(text).seen
    assert [title for title in TITLES if f"<h2>{title}</h2>" in text] == list(TITLES)
    assert "How episodes look" not in text
    assert seen.count("svg") == 3
    assert seen.count("img") == 4 + 2
    assert "<b>the" not in text
    assert text == report_html([measured.path])


def test_a_reward_without_distances_shows_episodes_instead(measured: RolloutStore) -> None:
    store = RolloutStore.open(measured.path, writable=True)
    del store.group["reward/paper"]
    text = report_html([measured.path])
    check_page(text)
    assert not [title for title in TITLES if title in text]
    assert "How episodes look" in text


def test_references_row_by_row(facts: Facts) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", reward_sections.references(facts))
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    assert cells[1][:7] == ["2", "pick up the salad dressing", "3", "1", "1", "a cluster", "3"]
    assert cells[1][7] == "2.00  5.00  10.0"
    assert cells[2][2:8] == ["0", "0", "0", "-", "2", "-"]
    assert [row[1] for row in cells[4:]] == ["4", "3", "5", "6", "7"]
    assert cells[4][5] == "0 (1.930)"
    assert cells[7][4:] == ["-", "-"]


def test_films_of_many_tasks_are_folded(measured: RolloutStore, facts: Facts, monkeypatch: pytest.MonkeyPatch) -> None:
    text = reward_sections.filmstrips(measured, facts["tasks"], 1)
    assert text.count("<img") == 4
    assert "<details>" not in text
    assert "Episode 5, worst failure" in text
    assert "After 0, 2, 3, 5, 6, 8 control steps." in text
    monkeypatch.setattr(reward_sections, "OPEN_TASKS", 1)
    assert reward_sections.filmstrips(measured, facts["tasks"], 1).count("<details>") == 2


def test_films_that_cannot_be_drawn_do_not_cost_the_report(
    measured: RolloutStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[str]:
        raise UserError("no EGL here; install libegl1")

    monkeypatch.setattr(reward_sections, "_draw_films", fail)
    text = report_html([measured.path])
    assert "could not be rendered here: no EGL here" in text
    assert "Maps of the embeddings" in text


def test_maps_need_the_embedding(rewarded: Rewarded, facts: Facts) -> None:
    text = reward_sections.maps(rewarded, facts)
    assert "all 3 dimensions" in text
    assert "success left out" in text
    assert reward_sections.maps(replace(rewarded, embedding=None), facts) == ""
    bare = {**facts, "tasks": [{**task, "map": None} for task in facts["tasks"]]}
    assert reward_sections.maps(rewarded, bare) == ""


def test_curves_or_how_to_have_them(facts: Facts) -> None:
    text = reward_sections.curves(facts)
    assert text.count("<tr>") == 1 + 5
    assert "<td>best failure</td>" in text
    bare = {**facts, "tasks": [{**task, "curves": []} for task in facts["tasks"]]}
    assert "again with --set prefixes=16" in reward_sections.curves(bare)
    assert "<svg" not in reward_sections.curves(bare)


def test_maps_of_tasks_with_one_outcome_can_be_drawn(rewarded: Rewarded, facts: Facts) -> None:
    """A task of failures alone, one of successes alone; three tasks leave a place of the grid empty."""
    won = {**facts["tasks"][0], "ranked": []}
    won["map"] = {name: part[:3] if name != "share" else part for name, part in won["map"].items()}
    drawn = embedding_maps([*facts["tasks"], won], rewarded.reward, rewarded.success, 0.8)
    assert drawn.count("of the variance") == 3
    assert "nan" not in drawn.lower()
    only = embedding_maps([facts["tasks"][1]], np.nan_to_num(rewarded.reward), rewarded.success, 0.8)
    assert "success left out" not in only


def test_dots_of_a_map(rewarded: Rewarded, facts: Facts) -> None:
    """Failures coloured by reward, successes, the one left out hollow, the centre: each where the map puts it."""
    figure, task = Figure(), facts["tasks"][0]
    paint_maps(figure, [task], rewarded.reward, rewarded.success, 0.8)
    drawn: list[Any] = list(figure.axes[0].collections[:4])
    placed = np.array(task["map"]["points"])
    for dots, expected in zip(drawn, (placed[3:], placed[:2], placed[2:3], task["map"]["centres"]), strict=True):
        np.testing.assert_allclose(dots.get_offsets(), expected)
    np.testing.assert_allclose(drawn[0].get_array(), rewarded.reward[3:6])
    assert drawn[2].get_facecolor()[0].tolist() == [1, 1, 1, 1]


def test_a_line_for_every_curve(facts: Facts) -> None:
    drawn = progress_curves(facts["tasks"][:1])
    for kind in ("typical success", "success furthest from its centre", "best failure", "median failure"):
        assert kind in drawn
    one = {**facts["tasks"][0], "curves": facts["tasks"][0]["curves"][:1]}
    assert "best failure" not in progress_curves([one])
