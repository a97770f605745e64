"""What `srpo bench learning` compares: arms, each a recipe of its own from the same start, and over which seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data.errors import UserError, unknown
from stages.recipe import Recipe, load_recipe

WHOLE_SCENE = {"encode.camera": "agentview", "encode.moments": "0"}
ARMS: dict[str, Mapping[str, str]] = {
    "binary": {"reward.preset": "binary"},
    "paper": {"reward.preset": "paper", **WHOLE_SCENE},
    "siirl": {"reward.preset": "siirl", **WHOLE_SCENE},
    "cosine": {"reward.preset": "cosine", **WHOLE_SCENE},
    "path": {"reward.preset": "path"},
}
"""Rewards to compare; whole episodes seen by the scene's camera where the paper has it so, through the world model of
the preset, which may be another than the paper's."""
STARTS: dict[str, Mapping[str, str]] = {
    "normal": {},
    "sparse": {"demo.per_task": "1", "demo.lapses": "0", "sft.steps": "250"},
}
"""The imitation start: the preset's, or one faultless demonstration a task, where most groups only fail: of tasks 2, 6
and 9 of libero_object greedy 13, 7 and 0 % of 30 (seeds 0, 1, 2; laptop)."""
SHARED = re.compile(r"(task|demo|sft|eval)\.|run\.policy\b")
"""Settings that decide the start and how it is judged: an arm does not touch them."""


@dataclass(frozen=True)
class Arm:
    """One way to learn."""

    name: str
    changes: Mapping[str, str]
    """`section.key` -> value, on top of the preset"""

    @classmethod
    def parse(cls, text: str) -> "Arm":
        """A name of `ARMS`, or `NAME: section.key=value ...` for one's own.

        Raises:
            UserError: an unknown name, a change without `=`, or one that would give the arm another start.
        """
        name, colon, rest = (part.strip() for part in text.partition(":"))
        if not colon:
            if name not in ARMS:
                raise unknown("arm", name, ARMS)
            return cls(name, ARMS[name])
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise UserError(f"an arm's name takes letters, digits, '.', '_' and '-', not '{name}'")
        changes = dict(ARMS.get(name, {}))
        for change in rest.split():
            key, equals, value = change.partition("=")
            if not equals:
                raise UserError(f"--arm takes NAME or 'NAME: section.key=value ...', not '{text}'")
            if SHARED.match(key):
                raise UserError(f"arm {name} sets {key}, but all arms share their start; use --set for all of them")
            changes[key] = value
        return cls(name, changes)


@dataclass(frozen=True)
class LearningSettings:
    """The experiment: every arm with every seed."""

    arms: Sequence[Arm] = field(default_factory=lambda: [Arm(name, changes) for name, changes in ARMS.items()])
    seeds: Sequence[int] = (0, 1, 2)
    start: str = "normal"
    """a name of `STARTS`"""
    preset: str = "laptop"
    iterations: int = 40
    changes: Sequence[str] = ()
    """`section.key=value` texts, for all arms"""

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise unknown("start", self.start, STARTS)
        if self.iterations < 1 or not self.seeds or not self.arms or min(self.seeds) < 0:
            raise UserError("bench learning takes at least one arm, one seed of 0 or above and one iteration")
        names = [arm.name for arm in self.arms]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"arm {name} is given twice; name one of them otherwise, as 'other: reward.preset=...'")

    def recipe(self, seed: int, arm: Arm | None = None) -> Recipe:
        """The settings of a run; without an arm those of the start, which only the settings `SHARED` decide.

        Raises:
            UserError: an unknown setting, or an impossible value.
        """
        texts = [f"{key}={value}" for key, value in STARTS[self.start].items()]
        texts += [text for text in self.changes if arm or SHARED.match(text)]
        texts += [f"task.seed={seed}", *(f"{key}={value}" for key, value in (arm.changes if arm else {}).items())]
        return load_recipe(self.preset, texts)
