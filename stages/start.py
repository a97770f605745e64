"""The start of a run from a checkpoint: its files become the run's policies/000, which outlives what they came from."""

import os
import shutil
from pathlib import Path
from typing import Any

from data.checkpoint import read_record, write_checkpoint
from data.errors import UserError
from stages.learning.adapting import AdapterSettings, check_trainable
from stages.policies.adapted import base_of
from stages.policies.config import read_config
from stages.policies.loading import identity, load_policy, weights_digest
from stages.policies.source import policy_files, policy_folder
from stages.policies.trained import KEY as HISTORY
from stages.sim.settings import RolloutSettings

LARGE = 1_000_000_000
"""bytes from which a file is linked, where the disk can: srpo never writes into a file that is there"""


def check_start(policy: str, update: AdapterSettings, *rollouts: RolloutSettings) -> None:
    """Load a policy that a run is to start from, so that what it lacks is told before there is a run.

    Raises:
        UserError: it cannot be had or loaded, fits the rollouts of the run as little as `Policy.check_scene` says,
            would not learn (`check_trainable`), or is adapters alone, which need files that may not outlive the start.
    """
    folder = policy_folder(policy)
    if base_of(folder, read_config(folder)) is not None:
        raise UserError(f"{policy} holds adapters alone; start from a whole policy: make one of it with `srpo merge`")
    loaded = load_policy(folder, "auto")
    check_trainable(loaded, update)
    for settings in rollouts:
        if settings.preflight:
            loaded.check_scene(settings.suite, settings.look)


def start_from(policy: str, out: str | Path) -> dict[str, Any]:
    """Make `out` a copy of `policy`, without an optimizer's state; a second call with the same policy does nothing.

    Args:
        policy: folder or Hub id of a policy; once `out` is there, the folder may go.

    Returns:
        policy (as given), id (its model type), weights (their digest), out, up_to_date.

    Raises:
        UserError: a policy that cannot be had, an `out` that is a copy of another.
    """
    source, out = policy_folder(policy), Path(out)
    record = read_record(out)
    if not record:
        made = {"kind": "start", "policy": policy, **identity(source)}
        history = {key: value for key, value in read_record(source).items() if key == HISTORY}
        write_checkpoint(out, lambda folder: _fill(folder, source), made | history)
    elif source.is_dir() and (weights := weights_digest(source)) != record.get("weights"):
        raise UserError(
            f"{out} was made from {record.get('policy')} when its weights were {record.get('weights')}, now they are "
            f"{weights}; give the policy it began with, or start another run"
        )
    return {"policy": policy, **identity(out), "out": str(out), "up_to_date": bool(record)}


def _fill(folder: Path, source: Path) -> None:
    for file in policy_files(source):
        _take(file.resolve(), folder / file.name)


def _take(file: Path, target: Path) -> None:
    """Link a large file, or copy it; the Hub's cache holds links, whose ends may vanish with it."""
    if file.stat().st_size >= LARGE:
        try:
            os.link(file, target)
            return
        except OSError:  # another disk, or one without links
            pass
    shutil.copyfile(file, target)
