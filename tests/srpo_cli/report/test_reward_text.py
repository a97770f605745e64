"""A reward label on the terminal, in words and blocks."""

import pytest

from srpo_cli.report.reward_text import histogram, rank_row
from srpo_cli.report.words import centre_words, figures


def test_histogram() -> None:
    """Twelve bins of 0.1: nine failures in the first, one in the second, four in the last, whose edge counts."""
    rewards = [0.05] * 9 + [0.15] + [1.15, 1.15, 1.15, 1.2]
    assert histogram([{"reward": reward} for reward in rewards], 1.2) == "█▁" + "·" * 9 + "▄"


@pytest.mark.parametrize(
    ("centre", "changes", "words"),
    [
        ("mean", {"centres": 0}, "-"),
        ("each", {"centres": 5}, "each success"),
        ("mean", {"centres": 1, "fallback": True}, "all: no clusters"),
        ("mean", {"centres": 2, "clustered": 2}, "clusters"),
        ("mean", {"centres": 1, "clustered": 1}, "a cluster"),
        ("mean", {"centres": 5, "clustered": 2}, "clusters and 3 lone"),
        ("mean", {"centres": 1, "fallback": True, "source": "remembered"}, "all: no clusters; from earlier iterations"),
    ],
)
def test_what_centres_stand_for(centre: str, changes: dict[str, object], words: str) -> None:
    assert centre_words({"clustered": 0, "fallback": False, "source": "batch", **changes}, centre) == words


def test_a_failure_with_and_without_references() -> None:
    row = {"episode": 3, "init_state": 7, "reward": 0.25, "distance": None, "nearest_reference": None}
    assert rank_row({**row, "reference_distance": None}) == ["3", "7", "0.250", "-", "-"]
    near = row | {"distance": 123.456, "nearest_reference": 9, "reference_distance": 0.5}
    assert rank_row(near)[3:] == ["123.5", "9 (0.5000)"]


def test_figures() -> None:
    assert [figures(value, 3) for value in (0.5, 1234.5, 139, 5.8)] == ["0.500", "1.23e+03", "139", "5.80"]
    assert figures(1234.4) == "1234"
