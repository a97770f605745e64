"""The facts of stores, episodes and runs against values worked by hand."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from data.errors import UserError
from data.rates import wilson
from data.runs import Run
from data.store import RolloutStore
from srpo_cli.report import history, stores
from srpo_cli.report.overview import episode_details, store_overview
from srpo_cli.report.stores import choose_episodes, usual_label
from srpo_cli.report.words import label_words
from stages.learning.settings import UpdateSettings
from tests.srpo_cli.report.conftest import add_reward, metrics


def test_overview_counts(store: RolloutStore) -> None:
    facts = store_overview(store)
    assert {name: facts[name] for name in ("asked", "done", "errors", "successes")} == {
        "asked": 8,
        "done": 7,
        "errors": 1,
        "successes": 3,
    }
    assert facts["interval"] == wilson(3, 7)
    first, second = facts["tasks"]
    assert (first["asked"], first["done"], first["errors"], first["successes"], first["steps"]) == (4, 4, 0, 2, 6.0)
    assert (second["done"], second["errors"], second["successes"], second["inits"]) == (3, 1, 1, [2, 3])
    assert facts["groups"] == {"all": 4, "mixed": 3}
    assert [entry["label"] for entry in facts["labels"]["reward"]] == ["paper"]
    json.dumps(facts)


def test_episode_details(store: RolloutStore) -> None:
    facts, episode = episode_details(store, 3), store.read(3)
    assert (facts["task"], facts["group"], facts["seed"], facts["status"], facts["success"]) == (
        2,
        1,
        103,
        "done",
        False,
    )
    assert (facts["steps"], facts["queries"], facts["seconds"]) == (8, 2, 0.4)
    assert facts["actions"]["gripper"]["max"] == float(episode.action[:, 6].max())
    assert episode.logprob is not None
    assert facts["logprob"]["mean"] == pytest.approx(episode.logprob.mean())
    assert facts["rewards"]["paper"] == {"reward": 0.6, "distance": 4.0, "reference": 0, "is_reference": False}
    assert episode_details(store, 0)["rewards"]["paper"]["distance"] is None
    json.dumps(facts, allow_nan=False)


def test_an_episode_in_error_and_one_that_is_not_there(store: RolloutStore) -> None:
    assert episode_details(store, 4)["status"] == "error"
    assert "steps" not in episode_details(store, 4)
    with pytest.raises(UserError, match="episodes 0 to 7, not 8"):
        episode_details(store, 8)


def test_pictures_compare_episodes_of_one_task(store: RolloutStore) -> None:
    """Task 2 has two successes (5 and 3 steps: the median of two is the longer) and failures at 0.2 and 0.6."""
    assert usual_label(store) == "paper"
    assert choose_episodes(store, "paper") == {
        "success": 0,
        "best failure": 3,
        "worst failure": 1,
    }
    assert choose_episodes(store, None) == {"success": 0, "failure": 1}


def test_the_label_that_the_update_read_is_shown(store: RolloutStore) -> None:
    writable = RolloutStore.open(store.path, writable=True)
    add_reward(writable, "binary", np.zeros(8))
    assert usual_label(RolloutStore.open(store.path)) == "paper"
    writable.group.create_group("update/grpo").update_attributes({"reward": "binary"})
    assert usual_label(RolloutStore.open(store.path)) == "binary"


def test_reward_settings_in_words() -> None:
    label = {"label": "mine", "settings": {"distance": "cosine", "alpha": 0.5, "gone": 1}, "embedding": "pixels"}
    assert label_words("reward", label) == ("mine", "cosine with alpha=0.5, gone=1; embedding pixels")


def test_update_settings_in_words() -> None:
    settings = asdict(UpdateSettings(lr=1e-4)) | {"gone": 1}
    made = {"groups_kept": 5, "groups": 20, "queries": 561, "reward": "path"}
    label = {"label": "grpo", "settings": settings, **made}
    assert label_words("update", label) == ("grpo", "lr=0.0001; 5 of 20 groups, 561 queries, reward path")


def test_history() -> None:
    rows = history.iterations(metrics())
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3]
    assert history.series(rows, "collect", "rate") == ([1, 2, 3], [0.25, 1.0, 0.75])
    assert history.series(rows, "update", "approx_kl") == ([1, 3], [0.01, 0.03])
    assert history.intervals(rows, "eval") == tuple([bound] for bound in wilson(4, 20))
    assert history.failure_reward(rows[1]) == pytest.approx((0.1, 0.4, 0.79))
    assert history.failure_reward(rows[2]) is None
    assert history.seconds(rows)["update"] == [0, 5.0, 0, 5.0]
    assert history.task_rates(rows, "collect")["task_9"] == ([1, 2, 3], [0.25, 1.0, 0.75])


def test_a_line_under_way_is_passed_over_and_a_damaged_one_named(run: Path) -> None:
    file = run / "metrics.jsonl"
    whole = file.read_text()
    file.write_text(whole + '{"iteration": 4, "sta')
    assert [row["iteration"] for row in history.iterations(Run.open(run).metrics())] == [0, 1, 2, 3]
    assert file.read_text() != whole
    file.write_text("{}}\n" + whole)
    with pytest.raises(UserError, match=r"metrics.jsonl line 1 is damaged"):
        history.iterations(Run.open(run).metrics())


def test_a_failure_without_a_reward_is_not_the_worst() -> None:
    ranked = stores._ranked_failures
    assert ranked(np.array([4, 7, 9]), np.array([0.3, np.nan, 0.5])) == {"best failure": 9, "worst failure": 4}
    assert ranked(np.array([4, 7]), np.array([np.nan, 0.5])) == {"failure": 4}
    assert ranked(np.array([], int), np.array([])) == {}


def test_shares_of_the_wall_time() -> None:
    """Collection: 12 s on 2 cores, 10 + 4 + 6 + 2 s of processor time: 5 + 2 + 3 + 1 s of it, and 1 s of waiting."""
    cpu = {"stepping": 10.0, "rendering": 4.0, "policy": 6.0, "other": 2.0}
    collect = {"seconds": 12.0, "pause": 0.5, "cpu_seconds": cpu, "cores": 2, "workers": 2}
    rows = [
        {"iteration": 0, "eval": {"seconds": 60.0, "pause": 2.0}},
        {"iteration": 1, "collect": collect, "encode": {"seconds": 4.0, "pause": 0.0}},
        {"iteration": 2, "update": {"seconds": 3.0, "pause": 0.5}, "sft": {"seconds": 99.0, "pause": 9.0}},
    ]
    expected = {"stepping": 5, "rendering": 2, "policy": 3, "recording": 1, "waiting": 1, "encoding": 4, "update": 3}
    expected |= {"between stages": 1}
    found = history.shares(rows)
    assert found == pytest.approx({name: seconds / 20 for name, seconds in expected.items()})


def test_what_a_stopped_call_took_of_a_collection_is_not_waiting() -> None:
    cpu = {"stepping": 4.0, "rendering": 0.0, "policy": 2.0, "other": 0.0}
    collect = {"seconds": 30.0, "earlier_seconds": 26.0, "pause": 0.0, "cpu_seconds": cpu, "cores": 2, "workers": 2}
    expected = {"stepping": 2, "policy": 1, "waiting": 1, "collection": 26, "rendering": 0, "recording": 0}
    found = history.shares([{"iteration": 1, "collect": collect}])
    assert found == pytest.approx({**{name: spent / 30 for name, spent in expected.items()}, "between stages": 0})


def test_runs_that_were_not_timed_have_no_shares() -> None:
    assert history.shares([{"iteration": 1, "collect": {"seconds": 3.0}}]) == {}
