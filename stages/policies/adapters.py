"""LoRA adapters (arXiv 2106.09685) on a policy's linear layers, through peft: learning changes them alone.

They start with B = 0, so that the policy acts as before. They are 32-bit whatever the weights are, and stay beside
these in rollouts as in updates, so that recorded log-probs are those that learning recomputes.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from data.errors import UserError
from stages.policies.adapted import CONFIG, WEIGHTS, Adapters, Base, write_base
from stages.policies.base import Policy

NEED = "adapters need peft: pip install srpo[lora]"
PREFIX, NAME = "base_model.model.", ".default.weight"
"""what peft puts before a module's name in files, and ends its parameters with in memory"""


def add_adapters(policy: Policy, base: Base, rank: int, alpha: int, seed: int) -> None:
    """Put new adapters on a policy, which is `base`: A random, B = 0; nothing else is trainable then.

    Args:
        alpha: what they add is multiplied by alpha / rank. seed: >= 0, decides A.
    """
    from peft import LoraConfig

    lora = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=policy.adapted_layers())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        _inject(policy, Adapters(base, lora))


def save_adapters(policy: Policy, folder: Path) -> None:
    """Write the adapters of a policy that has some into the existing `folder`, see `stages.policies.adapted`."""
    assert policy.adapters is not None
    write_base(policy.adapters.base, folder)
    lora = policy.adapters.lora
    lora.target_modules = sorted(lora.target_modules or ())
    lora.save_pretrained(str(folder))
    state = policy.module.state_dict()
    tensors = {_in_file(name): state[name].detach().cpu().contiguous() for name in _parameters(policy.module)}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def take_adapters(policy: Policy, folder: Path, base: Base) -> None:
    """Turn the base, or one with other values of the same adapters, into the policy of `folder`.

    Raises:
        UserError: damaged files, or adapters of another network.
    """
    from peft import LoraConfig

    try:
        if policy.adapters is None:
            _inject(policy, Adapters(base, LoraConfig.from_pretrained(str(folder))))
        saved = load_file(folder / WEIGHTS)
        wanted = {_in_file(name): value for name, value in _parameters(policy.module).items()}
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the adapters of {folder} cannot be read ({reason}); make the policy again") from error
    if {key: value.shape for key, value in saved.items()} != {key: value.shape for key, value in wanted.items()}:
        raise UserError(f"{folder / WEIGHTS} does not hold the adapters of {CONFIG}; make the policy again")
    for key, parameter in wanted.items():
        parameter.data.copy_(saved[key])


def fold_adapters(policy: Policy) -> None:
    """W + alpha/rank B A in the place of every adapted W, summed in 32 bits: a whole policy, without adapters."""
    from peft.tuners.lora import Linear

    for name, layer in list(policy.module.named_modules()):
        if isinstance(layer, Linear):
            whole, added = layer.get_base_layer(), layer.get_delta_weight(layer.active_adapters[0])
            assert isinstance(whole, nn.Linear)
            whole.weight.data = (whole.weight.data.float() + added.data).to(whole.weight.dtype)
            policy.module.set_submodule(name, whole)
    policy.adapters = None


def need_peft(told: str = NEED) -> None:
    """
    Raises:
        UserError: peft cannot be imported, in the words of `told`.
    """
    try:
        import peft  # noqa: F401
    except ImportError as error:
        raise UserError(told) from error


def _inject(policy: Policy, adapters: Adapters) -> None:
    from peft import inject_adapter_in_model

    inject_adapter_in_model(adapters.lora, policy.module)
    for parameter in _parameters(policy.module).values():
        parameter.data = parameter.data.float()
    policy.adapters = adapters


def _parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The adapters' parameters."""
    return {name: value for name, value in module.named_parameters() if ".lora_" in name}


def _in_file(name: str) -> str:
    """A parameter's name as peft writes it."""
    return f"{PREFIX}{name.removesuffix(NAME)}.weight"
