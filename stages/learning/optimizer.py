"""AdamW, how its learning rate falls, and its memory on disk."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from data.errors import UserError
from stages.learning.settings import TrainerSettings
from stages.learning.sharding import like

STATE_FILE = "trainer.safetensors"


def make_optimizer(parameters: Iterable[Tensor], settings: TrainerSettings) -> torch.optim.AdamW:
    """A new one."""
    betas = (settings.beta1, settings.beta2)
    return torch.optim.AdamW(parameters, settings.lr, betas, weight_decay=settings.weight_decay, fused=True)


def learning_rate(settings: TrainerSettings, taken: int) -> float:
    """After `taken` optimizer steps: lr / (1 + taken / lr_half), so that the noise of single updates averages out.

    Steps that shrink as 1/t are those of stochastic approximation (Robbins and Monro 1951).
    """
    return settings.lr / (1 + taken / settings.lr_half) if settings.lr_half else settings.lr


def optimizer_state(optimizer: Any, names: list[str]) -> dict[str, Tensor]:
    """AdamW's state as files hold it: `exp_avg.NAME`, `exp_avg_sq.NAME`, `step.NAME` for every trained parameter."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    named = zip(names, parameters, strict=True)
    return {f"{key}.{name}": value for name, one in named for key, value in optimizer.state[one].items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], file: Path) -> None:
    """Put a file of `optimizer_state` into a new optimizer of the same parameters.

    Raises:
        UserError: the file belongs to another network.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with safe_open(file, framework="pt") as saved:
        keys = set(saved.keys())
        if not keys:  # of an optimizer that made no step
            return
        for name, parameter in zip(names, parameters, strict=True):
            state = {key: f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
            if not keys.issuperset(state.values()) or saved.get_slice(state["exp_avg"]).get_shape() != list(
                parameter.shape
            ):
                raise UserError(f"{file} belongs to another network (at {name}); remove it to start the optimizer anew")
            loaded = {key: saved.get_tensor(full) for key, full in state.items()}
            optimizer.state[parameter] = {
                key: value.to(parameter.device) if key == "step" else like(value, parameter)
                for key, value in loaded.items()
            }
