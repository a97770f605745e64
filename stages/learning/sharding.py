"""Weights, gradients and AdamW's memory shared out among processes (FSDP2), where an Accelerate config asks for it.

torch's `fully_shard` is called here and not by Accelerate, which does so on accelerators alone: several GPUs run the
code that two processes on a CPU run. A parameter that is shared out is a DTensor, of which every process has a part.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import FullyShardedDataParallelPlugin
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from data.errors import UserError
from stages.learning.processes import in_group

ASKED, VERSION, OFFLOAD = "ACCELERATE_USE_FSDP", "FSDP_VERSION", "FSDP_OFFLOAD_PARAMS"
"""what `accelerate launch` tells the processes of a config with `distributed_type: FSDP`"""


def sharding_asked() -> FullyShardedDataParallelPlugin | None:
    """The FSDP part of the Accelerate config that this process was started with; none: every process holds all.

    Raises:
        UserError: another version than 2, parameters in main memory, values that Accelerate refuses.
    """
    if not in_group() or os.environ.get(ASKED, "").lower() != "true":
        return None
    if os.environ.get(VERSION, "1") != "2":
        raise UserError("the Accelerate config asks for FSDP 1: set fsdp_version: 2 in its fsdp_config")
    if os.environ.get(OFFLOAD, "").lower() == "true":
        raise UserError("the Accelerate config keeps parameters in main memory: set fsdp_offload_params: false")
    try:
        return FullyShardedDataParallelPlugin()
    except ValueError as error:
        raise UserError(f"the Accelerate config's fsdp_config cannot be used: {error}") from error


def shard(
    module: nn.Module,
    blocks: Sequence[str],
    plugin: FullyShardedDataParallelPlugin,
    device: torch.device,
    precision: str,
) -> None:
    """Share the parameters of `module` out, in place: those of each block together, which are gathered while it runs,
    and all others.

    Args:
        blocks: names in `module` of what is called as a module.
        device: that each process computes on.
        precision: of Accelerate, no or bf16 (weights are gathered in it; the parts, their gradients and AdamW's memory
            keep their own).
    """
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()  # of another memory format fully_shard takes none
    bf16 = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    given: dict[str, Any] = {"mesh": init_device_mesh(device.type, (int(os.environ["WORLD_SIZE"]),))}
    given["mp_policy"] = bf16 if precision == "bf16" else MixedPrecisionPolicy()
    for name in sorted(blocks, key=lambda name: -name.count(".")):  # those within others first
        fully_shard(module.get_submodule(name), reshard_after_forward=plugin.reshard_after_forward, **given)
    fully_shard(module, **given)
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # nothing is changed in place


def whole_of(tensor: Tensor) -> Tensor:
    """All of a tensor; every process must ask, where it is shared out."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, the same in all processes, on the device of `other` and shared out as that is."""
    if isinstance(other, DTensor):
        local = tensor.to(other.device)
        return distribute_tensor(local, other.device_mesh, other.placements, src_data_rank=None)
    return torch.empty_like(other).copy_(tensor)


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """All tensors whole and on the CPU, one after the other; empty but with `keep`. Every process must ask."""
    found = {}
    for name, tensor in tensors.items():
        full = whole_of(tensor.detach())
        if keep:
            found[name] = full.cpu().contiguous()
    return found


@contextmanager
def state_dict_of(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within it `module.state_dict()` has `weights` instead of its own of these names."""

    def replace(_module: nn.Module, state: dict[str, Tensor], _prefix: str, _metadata: Any) -> None:
        state.update({name: weights[name] for name in state.keys() & weights.keys()})

    handle = module.register_state_dict_post_hook(replace)
    try:
        yield
    finally:
        handle.remove()
