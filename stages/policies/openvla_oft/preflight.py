"""What goes wrong without a word when a checkpoint is rolled out, seen in the first query of real rollouts.

A wrong pairing of checkpoint, statistics and pictures still acts, only badly. Of the likeliest next tokens at the 56
slots, over the whole vocabulary, nearly all are action tokens if the language model's head was trained on them and sees
what it saw in training; of an untrained head's, 256 of 32,064. Policies sample from the action tokens alone, so that
nothing else shows it. A high share is no proof.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from data.errors import UserError
from stages.policies.openvla_oft.network import BINS, OpenVLANetwork
from stages.sim.tasks import SUITES

ENOUGH = 0.5
"""share of action tokens below which a head counts as untrained; random weights have 0.01"""
SKIP = "or go on all the same with --set preflight=false (in a run: task.preflight=false)"


def check_scene(statistics: str, suite: str, look: str) -> None:
    """Refuse actions scaled for another suite, and pictures that no released checkpoint has seen.

    Args:
        statistics: key of the statistics that scale the actions: a suite's name, mostly with `_no_noops`.

    Raises:
        UserError: either of them.
    """
    trained = statistics.removesuffix("_no_noops").replace("libero_long", "libero_10")
    if trained in SUITES and trained != suite:
        raise UserError(
            f"the checkpoint's actions are scaled for {trained} (statistics {statistics}), the suite is {suite}; "
            f"take a checkpoint or statistics (srpo.statistics of config.json) of {suite}, {SKIP}"
        )
    if look != "full":
        raise UserError(f"OpenVLA-OFT has seen LIBERO's own pixels, not the look {look}; take the look full, {SKIP}")


def check_head(network: OpenVLANetwork, inputs: Mapping[str, Tensor], images: int) -> dict[str, float]:
    """How sure the language model is that actions come next.

    Args:
        inputs: of one query or more. images: how many it sees.

    Returns:
        action_argmax: the share of action tokens among the likeliest tokens; action_mass: their mean probability.

    Raises:
        UserError: the share is below `ENOUGH`.
    """
    end = network.architecture.vocabulary
    with torch.inference_mode():
        p = network.next_tokens(**inputs).softmax(-1)
    likeliest = p.argmax(-1)
    share = ((likeliest >= end - BINS) & (likeliest < end)).float().mean().item()
    mass = p[..., end - BINS : end].sum(-1).mean().item()
    if share < ENOUGH:
        raise UserError(
            f"only {100 * share:.0f} % of the likeliest tokens on the first frame are actions (probability "
            f"{100 * mass:.1f} %), so the head is not trained for tokens or sees what it does not know: check "
            f"srpo.images ({images}) and srpo.attention ({network.architecture.attention}) of config.json, {SKIP}"
        )
    return {"action_argmax": share, "action_mass": mass}
