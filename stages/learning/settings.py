"""All settings of an update: the optimizer's here, the objective's and the advantages' beside their formulas."""

from dataclasses import dataclass, fields

from data.errors import UserError, unknown
from stages.learning.activations import ActivationSettings
from stages.learning.adapting import AdapterSettings
from stages.learning.advantages import AdvantageSettings
from stages.learning.algorithms import ALGORITHMS, unused_settings
from stages.learning.objectives import ObjectiveSettings


@dataclass(frozen=True)
class TrainerSettings(ActivationSettings, ObjectiveSettings):
    """The algorithm's loss and the optimizer."""

    algorithm: str = "grpo"
    """grpo (relative to the group), ppo (with a critic), awr (weighted regression), awr-step (the same by progress
    curves) or bc (imitates the successes)"""
    epochs: int = 2
    """passes over the batch"""
    minibatch: int = 128
    """queries an optimizer step, over all processes"""
    microbatch: int = 32
    """queries a forward pass; changes memory and speed, not the result"""
    lr: float = 3e-4
    """AdamW's learning rate"""
    lr_half: int | None = None
    """optimizer steps, of all updates together, after which it is half of that, then a third, ...; none: constant"""
    beta1: float = 0.9
    """AdamW's memory of the gradient"""
    beta2: float = 0.99
    """AdamW's memory of its square"""
    weight_decay: float = 0.0
    """AdamW's weight decay"""
    grad_norm: float = 1.0
    """the gradient is scaled down to this norm"""
    max_kl: float | None = None
    """no further step once the approximate KL a token, from the policy that collected, is above this in a minibatch"""
    max_logprob_gap: float | None = None
    """refuse to learn when a recomputed log-prob is further than this from the recorded one; none: by the precision of
    the weights, 1e-3 in 32 bits and 0.2 in 16"""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.algorithm not in ALGORITHMS:
            raise unknown("algorithm", self.algorithm, ALGORITHMS)
        if min(self.epochs, self.minibatch, self.microbatch) < 1:
            raise UserError("update settings epochs, minibatch and microbatch must be 1 or more")
        if self.lr <= 0 or self.grad_norm <= 0 or self.weight_decay < 0:
            raise UserError("update settings lr and grad_norm must be above 0, weight_decay not below")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise UserError("update settings beta1 and beta2 must be in [0, 1)")
        if self.lr_half is not None and self.lr_half < 1:
            raise UserError(f"update setting lr_half must be 1 or more, or none, not {self.lr_half}")
        for name in ("max_kl", "max_logprob_gap"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise UserError(f"update setting {name} must be above 0, or none, not {getattr(self, name)}")


@dataclass(frozen=True)
class UpdateSettings(TrainerSettings, AdvantageSettings, AdapterSettings):
    """All of `srpo update`."""

    seed: int = 0
    """decides the minibatches, together with the policy"""

    def __post_init__(self) -> None:
        TrainerSettings.__post_init__(self)
        AdvantageSettings.__post_init__(self)
        AdapterSettings.__post_init__(self)
        unused = unused_settings(self.algorithm)
        for f in fields(self):
            if f.name in unused and getattr(self, f.name) != f.default:
                raise UserError(
                    f"update setting {f.name} changes nothing with algorithm={self.algorithm}; leave it at {f.default}"
                )
