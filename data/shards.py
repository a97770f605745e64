"""Shares of a store: which of its episodes one of several processes, on as many machines, is to run."""

import re
from dataclasses import dataclass

from data.errors import UserError


@dataclass(frozen=True)
class Shard:
    """Share `index` of `count`."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """`2/8` is the third of eight.

        Raises:
            UserError: anything but INDEX/COUNT with 0 <= INDEX < COUNT.
        """
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        shard = cls(int(match[1]), int(match[2])) if match else None
        if shard is None or shard.index >= shard.count:
            raise UserError(f"--shard takes INDEX/COUNT with 0 <= INDEX < COUNT, as 0/3, 1/3 and 2/3, not '{text}'")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def episodes(self, n: int) -> range:
        """This share of episodes 0 .. n-1: consecutive ones, so that it meets few tasks and loads few models."""
        return range(self.index * n // self.count, (self.index + 1) * n // self.count)


WHOLE = Shard()
"""The only share: the whole store."""
