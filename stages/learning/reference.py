"""What a reference policy says of a batch, for the KL term of the loss.

It is asked once, before the trainer is made: two networks are in memory for that time, less than the gradients and
AdamW's state of all weights take afterwards (adapters take less than that). With kl_estimator=exact its log-probs of
every bin are kept, 4 M n K bytes in main memory.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from data.errors import UserError
from stages.learning.batch import Batch
from stages.learning.settings import TrainerSettings
from stages.policies.base import Policy, log_probabilities
from stages.policies.loading import load_policy
from stages.policies.precision import full_precision


def with_reference(batch: Batch, folder: Path, policy: Policy, temperature: float, settings: TrainerSettings) -> Batch:
    """The batch with the log-probs of the policy in `folder` (see `Batch.reference`).

    Raises:
        UserError: it holds no policy, or one that sees or says other things than `policy`.
    """
    reference = load_policy(folder, next(policy.module.parameters()).device)
    if reference.spec != policy.spec:
        raise UserError(f"reference {folder} sees or says other things than the policy; give an earlier policy of it")
    every_bin = settings.kl_estimator == "exact"
    return replace(batch, reference=recorded(reference, batch, temperature, settings.microbatch, every_bin))


@full_precision()
def recorded(policy: Policy, batch: Batch, temperature: float, microbatch: int, every_bin: bool) -> np.ndarray:
    """Log-probs of the batch's tokens (M, n), or of every bin (M, n, K), f32, without gradient."""
    policy.module.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(batch), microbatch):
            rows = slice(start, start + microbatch)
            logits = policy.module(**policy.inputs(batch.observation.rows(rows), batch.instructions[rows]))
            log_p = log_probabilities(logits, temperature).cpu().numpy()
            tokens = batch.tokens[rows].astype(np.int64)[..., None]
            parts.append(log_p if every_bin else np.take_along_axis(log_p, tokens, -1)[..., 0])
    return np.concatenate(parts)
