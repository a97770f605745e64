"""A recipe: the settings of every stage of a run, from a preset and what the user changed.

A preset is a TOML file with one section a stage. `[task]` holds what several stages share (suite, tasks, look, horizon,
seed) and goes to each of them that has such a setting; a stage's own section wins.
"""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from data.errors import UserError, unknown
from data.hub import lasting_name
from data.settings import build, convert, load_preset, parse_assignments
from stages.collect import CollectSettings
from stages.demo import DemoSettings
from stages.encode import EncodeSettings
from stages.evaluate import EvalSettings
from stages.learning.advantages import relative_to_group
from stages.learning.algorithms import ALGORITHMS
from stages.learning.settings import UpdateSettings
from stages.progress.settings import PRESETS, RewardSettings, reward_settings
from stages.sft import SftSettings
from stages.world_models.registry import lasting_world_model


@dataclass(frozen=True)
class CollectRecipe(CollectSettings):
    """The rollouts of a run."""

    temperature_half: int | None = None
    """iterations after which the temperature is half of the first one's, after twice as many a third; none: it stays"""
    refill: int = 0
    """rounds of further groups at most, each of as many as the iteration lacks after dropping those that teach nothing;
    0: it does with what is left"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.refill < 0:
            raise UserError(f"refill must be 0 or more, not {self.refill}")
        if self.temperature_half is not None and self.temperature_half < 1:
            raise UserError(f"temperature_half must be 1 or more, or none, not {self.temperature_half}")

    def cooled(self, n: int) -> float:
        """The temperature of iteration n, counted from 1: falling as the learning rate does (`update.lr_half`)."""
        if self.temperature_half is None:
            return self.temperature
        return round(self.temperature / (1 + (n - 1) / self.temperature_half), 4)


@dataclass(frozen=True)
class EncodeRecipe(EncodeSettings):
    """The encode stage of a run."""

    world_model: str = "efficientnet-lite0"
    """a world model's name"""


@dataclass(frozen=True)
class EvalRecipe(EvalSettings):
    """The evaluations of a run."""

    every: int = 5
    """iterations between two evaluations; the start and the last policy are evaluated too; 0: never"""
    average: int = 1
    """the mean of the weights of this many last policies is evaluated, and kept under averages/; of no more than the
    later half of all; 1: the last policy itself"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every < 0 or self.average < 1:
            raise UserError(
                f"eval.every must be 0 or more, eval.average 1 or more, not {self.every} and {self.average}"
            )

    def averaged(self, n: int) -> range:
        """The numbers of the policies whose mean stands for policy n."""
        return range(n + 1 - max(1, min(self.average, n // 2)), n + 1)


@dataclass(frozen=True)
class RunSettings:
    """Where a run starts, and what becomes of its files."""

    policy: str = ""
    """folder or Hub id of the policy to start from; empty: one that imitates demonstrations"""

    keep_images: int = 3
    """iterations whose images are kept; older ones are rendered anew from the states when someone looks"""
    keep_policies: int = 10
    """of the older policies one in so many is kept: every tenth by default; the last two always are"""
    pack_after: int = 20
    """iterations after which a store becomes one zip file; 0: never"""

    save_every: int = 0
    """optimizer steps from one checkpoint of an update to the next; 0: a killed update begins again"""

    def __post_init__(self) -> None:
        if min(self.keep_images, self.keep_policies) < 1 or min(self.pack_after, self.save_every) < 0:
            raise UserError(
                "run.keep_images and run.keep_policies must be 1 or more, run.pack_after and run.save_every 0 or more"
            )


@dataclass(frozen=True)
class Recipe:
    """All settings of a run."""

    demo: DemoSettings
    sft: SftSettings
    collect: CollectRecipe
    encode: EncodeRecipe
    reward: RewardSettings
    update: UpdateSettings
    eval: EvalRecipe
    run: RunSettings
    reward_preset: str = "paper"

    def __post_init__(self) -> None:
        relative = ALGORITHMS[self.update.algorithm].rule is relative_to_group
        impossible = {
            "encode.moments=0 leaves no paths to compare; reward.preset=path wants encode.moments=16, say": (
                self.reward.needs_paths and not self.encode.moments
            ),
            f"update.algorithm={self.update.algorithm} learns from progress curves: encode.prefixes=16, say, and a "
            "reward.preset that compares embeddings (paper)": ALGORITHMS[self.update.algorithm].needs_curve
            and not (self.encode.prefixes and self.reward.needs_embedding and not self.reward.needs_paths),
            "collect.keep_images=false leaves nothing to update the policy on": not self.collect.keep_images,
            "collect.temperature=0 samples nothing, so that a group's episodes are all alike; 0.5, say": (
                self.collect.temperature == 0
            ),
            f"collect.samples=1 leaves nothing to compare within a group; update.algorithm={self.update.algorithm} "
            "wants 8, say": relative and self.collect.samples < 2,
        }
        for problem, holds in impossible.items():
            if holds:
                raise UserError(problem)

    def sections(self) -> dict[str, dict[str, Any]]:
        """Every setting by section, resolved, as run.toml keeps it."""
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "reward_preset"}
        sections = {name: asdict(part) for name, part in parts.items()}
        sections["reward"]["preset"] = self.reward_preset
        sections["run"]["policy"] = lasting_name(self.run.policy)
        sections["encode"]["world_model"] = lasting_world_model(self.encode.world_model)
        return sections


RETIRED: dict[str, dict[str, Any]] = {"update": {"credit": "episode", "max_logprob_gap": 1e-3}}
"""What run.toml of an earlier version says where this one's default does the same: such a run goes on."""

SECTIONS: dict[str, type[Any]] = {
    "demo": DemoSettings,
    "sft": SftSettings,
    "collect": CollectRecipe,
    "encode": EncodeRecipe,
    "reward": RewardSettings,
    "update": UpdateSettings,
    "eval": EvalRecipe,
    "run": RunSettings,
}
SHARED = ("suite", "tasks", "look", "horizon", "seed", "workers", "preflight")


def load_recipe(preset: str, assignments: Sequence[str] = ()) -> Recipe:
    """The recipe of a preset, changed by `SECTION.KEY=VALUE` texts (`--set`).

    Raises:
        UserError: an unknown preset, section or setting (with the nearest name), or an impossible value.
    """
    sections = {name: dict(values) for name, values in load_preset(preset).items()}
    if "reward" in sections:
        sections["reward"] = _beyond_preset(sections["reward"])
    for path, value in parse_assignments(assignments).items():
        section, dot, key = path.partition(".")
        if not dot:
            raise UserError(f"--set {path}: say which section, {_where(path)}")
        sections.setdefault(section, {})[key] = value
    return make_recipe(sections)


def task_settings(preset: str, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """What `[task]` of `load_recipe`'s recipe says, in its own types."""
    task = dict(load_preset(preset).get("task", {}))
    for path, value in parse_assignments(assignments).items():
        section, _, key = path.partition(".")
        if section == "task":
            hints = (typing.get_type_hints(cls) for cls in SECTIONS.values())
            task[key] = convert(value, next(known[key] for known in hints if key in known), path)
    return task


def own_recipe(settings: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe that a run was started with, from what its run.toml says.

    Raises:
        UserError: as `load_recipe`.
    """

    def gone(section: str, key: str, value: Any) -> bool:
        known = {f.name for f in fields(SECTIONS[section])} if section in SECTIONS else set()
        return key not in known and RETIRED.get(section, {}).get(key) == value

    return make_recipe(
        {
            section: {key: value for key, value in values.items() if not gone(section, key, value)}
            for section, values in settings.items()
        }
    )


def make_recipe(sections: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """Build and check all settings.

    Raises:
        UserError: as `load_recipe`.
    """
    for name in sections:
        if name not in (*SECTIONS, "task"):
            raise unknown("section", name, (*SECTIONS, "task"))
    shared = dict(sections.get("task", {}))
    for key in shared:
        if key not in SHARED:
            raise unknown("setting of task", key, SHARED)
    reward = dict(sections.get("reward", {}))
    preset = str(reward.pop("preset", "paper"))
    parts: dict[str, Any] = {"reward": reward_settings(preset, reward)}
    for name, cls in SECTIONS.items():
        if name != "reward":
            known = {f.name for f in fields(cls)}
            given = {key: value for key, value in shared.items() if key in known}
            parts[name] = build(cls, given | dict(sections.get(name, {})), name)
    return Recipe(**parts, reward_preset=preset)


def _beyond_preset(reward: Mapping[str, Any]) -> dict[str, Any]:
    """A reward section without what its preset says anyway, so that `--set reward.preset` replaces that one whole."""
    implied = PRESETS.get(str(reward.get("preset", "paper")))
    return {key: value for key, value in reward.items() if key == "preset" or value != getattr(implied, key, None)}


def _where(key: str) -> str:
    """Where a setting without its section might belong: the help in an error."""
    homes = [name for name, cls in SECTIONS.items() if any(f.name == key for f in fields(cls))]
    homes += ["task"] if key in SHARED else []
    known = [f"{name}.{f.name}" for name, cls in SECTIONS.items() for f in fields(cls)]
    return " or ".join(f"{home}.{key}" for home in homes) if homes else str(unknown("setting", key, known))
