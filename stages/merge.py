"""Adapters folded into the policy they belong to: a whole policy in its own layout, which loads without peft."""

from functools import partial
from pathlib import Path
from typing import Any

from data.checkpoint import holds, read_record, write_checkpoint
from data.errors import UserError
from data.lineage import digest
from stages.policies.adapted import base_of
from stages.policies.adapters import fold_adapters
from stages.policies.config import read_config
from stages.policies.loading import load_policy, save_policy, weights_digest
from stages.policies.source import policy_folder
from stages.policies.trained import KEY as HISTORY


def merge_policy(policy: str | Path, out: str | Path) -> dict[str, Any]:
    """Make `out` the whole policy that acts as `policy` does; a second call does nothing.

    16-bit weights round what adapters add, so that log-probs differ a little; 32-bit ones only in the last digits.

    Args:
        policy: folder of adapters.

    Returns:
        policy, weights (their digests), base (the policy that the adapters belong to), out, up_to_date.

    Raises:
        UserError: a policy that cannot be loaded or has no adapters, an `out` that holds something else.
    """
    folder, out = policy_folder(policy), Path(out)
    base = base_of(folder, read_config(folder))
    if base is None:
        raise UserError(f"{folder} has no adapters to merge: it is a whole policy already")
    weights = weights_digest(folder)
    inputs = digest("merge", weights)
    present = holds(out, inputs)
    if not present:
        merged = load_policy(folder)
        fold_adapters(merged)
        history = {key: value for key, value in read_record(folder).items() if key == HISTORY}
        record = {"kind": "merge", "inputs": inputs, "policy": weights}
        write_checkpoint(out, partial(save_policy, merged), record | history)
    told = {"policy": weights, "weights": weights_digest(out), "base": base.policy}
    return told | {"out": str(out), "up_to_date": present}
