"""What learning changes: a policy's weights, or adapters on them, which it gets where the settings ask for some."""

from dataclasses import dataclass
from pathlib import Path

from data.errors import UserError
from data.hub import lasting_name
from stages.policies.adapted import Base, base_of
from stages.policies.adapters import add_adapters, need_peft, take_adapters
from stages.policies.base import Policy
from stages.policies.config import read_config
from stages.policies.loading import load_policy
from stages.policies.source import policy_folder

ALPHA = 16
"""as in OpenVLA-OFT's own fine-tuning, at rank 32"""


@dataclass(frozen=True)
class AdapterSettings:
    """Whether weights or adapters learn."""

    lora_rank: int | None = None
    """train adapters of this rank; none: those that the policy has, else its weights"""
    lora_alpha: int = ALPHA
    """what adapters add is multiplied by lora_alpha / lora_rank"""

    def __post_init__(self) -> None:
        if (self.lora_rank is not None and self.lora_rank < 1) or self.lora_alpha < 1:
            told = f"not {self.lora_rank} and {self.lora_alpha}"
            raise UserError(f"setting lora_rank must be 1 or more, or none, and lora_alpha 1 or more, {told}")
        if self.lora_rank is None and self.lora_alpha != ALPHA:
            raise UserError("setting lora_alpha changes nothing without lora_rank; give both")


def check_trainable(policy: Policy, settings: AdapterSettings) -> None:
    """Refuse what would not learn.

    Raises:
        UserError: 16-bit weights without adapters, other adapters than the policy has, no linear layer, no peft.
    """
    if policy.adapters is not None:
        lora = policy.adapters.lora
        if settings.lora_rank is not None and (settings.lora_rank, settings.lora_alpha) != (lora.r, lora.lora_alpha):
            raise UserError(
                f"the policy has adapters with lora_rank={lora.r}, lora_alpha={lora.lora_alpha}, not "
                f"{settings.lora_rank} and {settings.lora_alpha}; give these, or fold its own in with `srpo merge`"
            )
    elif settings.lora_rank is not None:
        need_peft()
        if not policy.adapted_layers():
            raise UserError(f"{type(policy).__name__} has no linear layer for adapters; leave lora_rank at none")
    elif any(weight.element_size() < 4 for weight in policy.module.parameters() if weight.requires_grad):
        raise UserError(
            "the policy's weights are 16-bit, which rounds small steps away: train 32-bit adapters (--set "
            "lora_rank=32; in a loop update.lora_rank=32) or, of OpenVLA-OFT, 32-bit weights "
            '("srpo": {"precision": "fp32"} in its config.json)'
        )


def make_trainable(policy: Policy, settings: AdapterSettings, named: str | Path, weights: str, seed: int) -> bool:
    """Put adapters on a policy if the settings ask for them and it has none.

    Args:
        named: its folder or Hub id. weights: its digest. seed: >= 0, decides the adapters' first values.

    Returns:
        Whether they are new, so that no optimizer's state belongs to them.

    Raises:
        UserError: see `check_trainable`.
    """
    check_trainable(policy, settings)
    if policy.adapters is not None or settings.lora_rank is None:
        return False
    kind = str(read_config(policy_folder(named))["model_type"])
    base = Base(kind, lasting_name(str(named)), weights)
    add_adapters(policy, base, settings.lora_rank, settings.lora_alpha, seed)
    return True


def become(policy: Policy, folder: Path) -> None:
    """Give a loaded policy, in place, the weights or adapters of one that was trained from it."""
    base = base_of(folder, read_config(folder))
    if base is not None:
        take_adapters(policy, folder, base)
    else:
        policy.module.load_state_dict(load_policy(folder).module.state_dict())
