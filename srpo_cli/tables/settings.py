"""A recipe with all that it leaves to defaults, as a preset to read and to change: TOML with comments."""

import textwrap
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, fields
from typing import Any

import tomli_w

from data.descriptions import descriptions
from data.settings import type_name
from stages.progress.settings import PRESETS
from stages.recipe import SECTIONS, Recipe

WIDTH = 118
TASK = "goes to every section that has such a setting; a section's own value wins"
OWN = {"world_model": "in `srpo encode` the option --world-model"}
LOOP = "a loop's own"
REWARD_PRESET = (
    "where the settings of this section start from: paper, siirl, cosine, path or binary; in `srpo reward` --preset"
)


def as_preset(recipe: Recipe, task: Mapping[str, Any], only: str | None = None) -> str:
    """All settings of `recipe`, or of the section `only`. What `task` shares out is not repeated below it."""
    shares = [f"[task]    # {TASK}", *(_assignment(key, value) for key, value in task.items()), ""]
    parts = shares if only in (None, "task") else []
    for name, cls in SECTIONS.items():
        if only in (None, name):
            shared = {} if only else task
            implied = asdict(PRESETS[recipe.reward_preset]) if name == "reward" else {}
            parts += [f"[{name}]", *_section(cls, getattr(recipe, name), shared, implied, _first(name, recipe)), ""]
    return "\n".join(parts).rstrip() + "\n"


def _section(
    cls: type[Any], settings: Any, shared: Mapping[str, Any], implied: Mapping[str, Any], first: list[str]
) -> list[str]:
    """Its lines; what a preset within the section says anyway is commented out, so that another one can be named."""
    hints, meanings, lines = typing.get_type_hints(cls), descriptions(cls), first
    for field in fields(cls):
        value = getattr(settings, field.name)
        if field.name not in shared or shared[field.name] != value:
            meaning = textwrap.wrap(meanings.get(field.name, ""), WIDTH - 2)
            remark = type_name(hints[field.name]) + _otherwise(field, value) + _elsewhere(cls, field.name)
            line = f"{_assignment(field.name, value)}    # {remark}"
            if field.name in implied and implied[field.name] == value:
                line = f"# {line.removeprefix('# ')}, of the preset"
            lines = [*lines, *(f"# {part}" for part in meaning), line]
    return lines


def _elsewhere(cls: type[Any], name: str) -> str:
    """What the stage's own command has in place of a setting that only a loop knows."""
    own = cls.__name__.endswith("Recipe") and name in cls.__annotations__
    return f"; {OWN.get(name, LOOP)}" if own else ""


def _first(section: str, recipe: Recipe) -> list[str]:
    """`reward.preset`, which is no field of the section's settings."""
    return [f"# {REWARD_PRESET}", _assignment("preset", recipe.reward_preset)] if section == "reward" else []


def _assignment(key: str, value: Any) -> str:
    """`key = value` on one line; a setting that has no value is commented out, as TOML has none."""
    return f"# {key} =" if value is None else " ".join(tomli_w.dumps({key: value}).split())


def _otherwise(field: Field[Any], value: Any) -> str:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    if value == default or default is MISSING:
        return ""
    return f"; default: {'none' if default is None else _assignment('x', default).partition(' = ')[2]}"
