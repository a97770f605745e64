"""The policy that a run keeps on its GPU, so that stages do not load a large one anew or twice."""

import gc
from pathlib import Path

import torch

from stages.policies.base import Policy
from stages.policies.loading import load_policy


class Resident:
    """At most one policy at a time, known by its folder.

    What acts on the CPU is not kept: it loads at once, and the last digits of its sums depend on where in memory its
    weights lie, so that an interrupted run would end otherwise than one in one go.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._policy: Policy | None = None

    def get(self, folder: Path) -> Policy:
        """The policy of `folder`, loaded unless it is here; another one that is here is let go first."""
        found = self.kept(folder)
        if found is None:
            self._policy = None
            found = load_policy(folder, "auto")
            self._keep(folder, found)
        return found

    def kept(self, folder: Path) -> Policy | None:
        """The policy of `folder`, if it is here."""
        return self._policy if folder == self._folder else None

    def let_go(self) -> None:
        """Give the memory of the policy that is here to other processes."""
        self._folder = self._policy = None
        gc.collect()
        torch.cuda.empty_cache()

    def became(self, folder: Path) -> None:
        """Training has turned the policy that is here into the one of `folder`: its gradients are let go."""
        if self._policy is not None:
            self._folder = folder
            self._policy.module.zero_grad(set_to_none=True)
            gc.collect()  # the optimizer and its state refer to each other

    def _keep(self, folder: Path, policy: Policy) -> None:
        if next(policy.module.parameters()).device.type != "cpu":
            self._folder, self._policy = folder, policy
