"""Shares of a store: together every episode once, each of them an even part."""

import pytest

from data.errors import UserError
from data.shards import WHOLE, Shard


@pytest.mark.parametrize("n", [0, 1, 2, 7, 80, 641])
@pytest.mark.parametrize("count", [1, 2, 3, 8, 100])
def test_shards_are_a_partition_into_even_parts(n: int, count: int) -> None:
    parts = [Shard(index, count).episodes(n) for index in range(count)]
    assert [episode for part in parts for episode in part] == list(range(n))
    assert {len(part) for part in parts} <= {n // count, n // count + 1}


def test_a_shard_is_read_as_it_is_told() -> None:
    assert Shard.parse("2/8") == Shard(2, 8)
    assert str(Shard(2, 8)) == "2/8"
    assert Shard.parse("0/1") == WHOLE


@pytest.mark.parametrize("text", ["3/3", "-1/3", "0/0", "1", "a/b", "1/3/4", "1 /3", "", "\u0661/\u0663"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--shard takes INDEX/COUNT"):
        Shard.parse(text)
