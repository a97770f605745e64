"""The ranges of the training data, from `dataset_statistics.json` or the `norm_stats` of `config.json`.

{KEY: {"action": {"q01": [7], "q99": [7], "mask": [7], ...}, "proprio": {"q01": [8], "q99": [8], ...}, ...}}, where KEY
is a suite's name, mostly with `_no_noops` (run_libero_eval.py:190-205 in moojink/openvla-oft@213c5ff).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data.checkpoint import read_json
from data.errors import UserError, unknown
from stages.policies.base import ACTION_DIM
from stages.policies.openvla_oft.actions import Range
from stages.policies.openvla_oft.network import PROPRIO

FILE = "dataset_statistics.json"


def ranges_of(folder: Path, config: Mapping[str, Any], key: str, proprio: bool) -> tuple[str, Range, Range | None]:
    """The key of the statistics in use, and the ranges of actions and, if the network takes it, of proprioception.

    Args:
        key: which statistics; empty: the only ones of LIBERO.

    Raises:
        UserError: none, none of LIBERO (a base model), more than one, or damaged ones.
    """
    file = folder / FILE
    found = read_json(file) if file.is_file() else config.get("norm_stats")
    if not found:
        raise UserError(f"{folder} has no statistics of its actions; copy {FILE} from the released checkpoint")
    name = _choose(found, key, folder)
    where = str(file if file.is_file() else folder / "config.json")
    action = _range(found[name], "action", ACTION_DIM, where)
    return name, action, _range(found[name], "proprio", PROPRIO, where) if proprio else None


def _choose(found: Mapping[str, Any], key: str, folder: Path) -> str:
    if key:
        if key not in found:
            raise unknown(f"statistics (srpo.statistics) of {folder}", key, found)
        return key
    keys = sorted(name for name in found if name.startswith("libero"))
    if not keys:
        some = ", ".join(sorted(found)[:3])
        raise UserError(
            f"{folder} was not trained on LIBERO (statistics of {some}): a base model; give a fine-tuned one"
        )
    if len(keys) > 1:
        raise UserError(f"{folder} has statistics of {', '.join(keys)}; name one in config.json: srpo.statistics")
    return keys[0]


def _range(chosen: Mapping[str, Any], kind: str, size: int, where: str) -> Range:
    try:
        entry = chosen[kind]
        low, high = (np.array(entry[name], np.float64) for name in ("q01", "q99"))
        mask = np.array(entry.get("mask", [True] * size), bool)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where} has no q01 and q99 of {kind} ({error}); fetch it again") from error
    if not low.shape == high.shape == mask.shape == (size,):
        raise UserError(f"{where} has {kind} statistics of {low.size} values where {size} are needed; fetch it again")
    return Range(low, high, mask)
