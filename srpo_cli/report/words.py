"""Settings and outcomes in a few words, the same on the terminal and in the report."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any


def store_words(facts: Mapping[str, Any]) -> str:
    """What a store holds in one line: suite, look, policy, temperature, seeds."""
    policy = facts.get("policy") or {}
    parts = [
        f"{facts['done']} of {facts['asked']} episodes of {facts['suite']}",
        f"{facts['look']} look",
        f"at most {facts['horizon']} steps",
        f"policy {policy.get('id', '?')}" if policy else "",
        f"temperature {facts['temperature']}" if facts.get("temperature") is not None else "",
        f"initial states {facts['inits']}" if facts.get("inits") is not None else "",
        f"seed {facts['seed']}" if facts.get("seed") is not None else "",
    ]
    return ", ".join(part for part in parts if part)


def label_words(stage: str, label: Mapping[str, Any]) -> tuple[str, str]:
    """(label, what it was made with), shortened to what tells labels apart."""
    return label["label"], WORDS[stage](label)


def encode_words(label: Mapping[str, Any]) -> str:
    """World model, frames and size, and how many episodes have a row."""
    made = f"{label['world_model']}, {label['frames']} frames of {label['size']} px, {label['camera']}"
    moments = f", {label['moments']} moments" if label.get("moments") else ""
    return f"{made}, D = {label['dim']}{moments}, {label['rows']} episodes"


def reward_words(label: Mapping[str, Any]) -> str:
    """The preset that shares most settings with these, what differs from it, and the embedding that was read."""
    from stages.progress.settings import PRESETS

    presets = {name: asdict(settings) for name, settings in PRESETS.items()}

    def changes(name: str) -> list[str]:
        return [f"{key}={value}" for key, value in label["settings"].items() if presets[name].get(key) != value]

    name = min(presets, key=lambda preset: len(changes(preset)))
    made = f"{name} with {', '.join(changes(name))}" if changes(name) else name
    return f"{made}; embedding {label['embedding']}" if label.get("embedding") else made


def centre_words(task: Mapping[str, Any], centre: str) -> str:
    """What the centres stand for that a task's failures were measured against.

    Args:
        task: its summary by the reward stage. centre: the setting of that name.
    """
    if not task["centres"]:
        return "-"
    if centre == "each":
        what = "each success"
    elif task["fallback"]:
        what = "all: no clusters"
    else:
        lone = task["centres"] - task["clustered"]
        what = "a cluster" if task["clustered"] == 1 else "clusters"
        what += f" and {lone} lone" if lone else ""
    return f"{what}; from earlier iterations" if task["source"] == "remembered" else what


def figures(value: float, digits: int = 4) -> str:
    """`digits` significant ones, zeros at the end too: 0.5 as `0.5000`, 1234.5 as `1234`."""
    return f"{value:#.{digits}g}".rstrip(".")


def update_words(label: Mapping[str, Any]) -> str:
    """The algorithm, the settings that are not its defaults, and what the update used and made."""
    from stages.learning.settings import UpdateSettings

    default, settings = asdict(UpdateSettings()), label["settings"]
    changed = [f"{key}={value}" for key, value in settings.items() if key in default and value != default[key]]
    made = f"{label['groups_kept']} of {label['groups']} groups, {label['queries']} queries, reward {label['reward']}"
    return f"{', '.join(changed) or 'defaults'}; {made}"


WORDS = {"encode": encode_words, "reward": reward_words, "update": update_words}
