"""A policy folder that holds adapters alone: whose they are and what they are, told from its files.

    config.json            model_type of the policy they belong to; adapters_of: {policy: folder, weights: digest}
    adapter_config.json, adapter_model.safetensors         as peft writes them

The folder is told relative to this one, so that a run directory may move; a Hub id stands as it is.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from data.hub import is_hub_id
from data.lineage import digest, digest_files

if TYPE_CHECKING:
    from peft import LoraConfig

KEY = "adapters_of"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class Base:
    """The whole policy that adapters belong to."""

    model_type: str
    policy: str
    """its folder, absolute, or its Hub id"""
    weights: str
    """its digest"""


@dataclass(frozen=True)
class Adapters:
    """What a policy with adapters knows of them."""

    base: Base
    lora: "LoraConfig"


def base_of(folder: Path, config: Mapping[str, Any]) -> Base | None:
    """Whose adapters a policy folder holds; none: it is a whole policy.

    Args:
        config: the content of its config.json.

    Raises:
        UserError: config.json does not say, or files of the adapters are missing.
    """
    if KEY not in config:
        return None
    try:
        kind, named, weights = config["model_type"], str(config[KEY]["policy"]), str(config[KEY]["weights"])
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder}/config.json lacks {error} of {KEY}; make the policy again") from error
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(f"{folder} lacks {name}, so its adapters are not whole; make the policy again")
    return Base(kind, named if is_hub_id(named) else str((folder / named).resolve()), weights)


def write_base(base: Base, folder: Path) -> None:
    """Write the config.json of adapters into the existing `folder`."""
    named = base.policy if is_hub_id(base.policy) else os.path.relpath(base.policy, folder.resolve())
    config = {"model_type": base.model_type, KEY: {"policy": named, "weights": base.weights}}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")


def adapters_digest(base: Base, folder: Path) -> str:
    """What adapters in `folder` and their base are, as 16 hex digits, wherever either is.

    The base's files are not read for it: loading refuses one that has changed.
    """
    return digest(base.weights, digest_files([folder / CONFIG, folder / WEIGHTS]))
