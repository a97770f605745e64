"""The device that an update would run on, and how much of it is free."""

from dataclasses import dataclass
from pathlib import Path

import torch

from data.errors import UserError

GB = 1e9
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Machine:
    """Devices that are alike, and what of each is free."""

    name: str
    """in words"""
    free: float
    """bytes of memory a device"""
    devices: int = 1
    """that share weights, gradients and optimizer (FSDP)"""
    shared: bool = False
    """whether simulators and rollouts are in the same memory: a CPU"""
    here: bool = True
    """whether it is this one"""


def this_machine(processes: int = 1, shares_out: bool = False) -> Machine:
    """The devices that `srpo update` takes: the first GPU or the CPU, or one GPU or a part of the CPU for each process.

    Args:
        shares_out: whether processes share weights, gradients and optimizer out.
    """
    devices = processes if shares_out else 1
    if torch.cuda.is_available():
        return Machine(torch.cuda.get_device_name(), free_bytes(torch.device("cuda")), devices)
    return Machine("the CPU", free_bytes(torch.device("cpu")) / processes, devices, shared=True)


def imagined(memory: float, devices: int) -> Machine:
    """GPUs of `memory` GB each.

    Raises:
        UserError: no memory, no device.
    """
    if memory <= 0 or devices < 1:
        raise UserError(f"--memory must be above 0 GB and --devices 1 or more, not {memory:g} and {devices}")
    return Machine(
        f"{devices} x {memory:g} GB" if devices > 1 else f"a GPU of {memory:g} GB", memory * GB, devices, here=False
    )


def free_bytes(device: torch.device) -> float:
    """Memory of a device that nobody uses; of a CPU, what this process may still take (`cgroup_free` included)."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    lines = Path("/proc/meminfo").read_text().splitlines()
    available = next(1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return min(available, cgroup_free(Path("/proc/self/cgroup").read_text(), CGROUPS))


def cgroup_free(groups: str, mount: Path) -> float:
    """Bytes left below the memory limit of this process's control group; infinite without one.

    Args:
        groups: the content of /proc/self/cgroup, version 1 or 2.
        mount: where the control groups are.
    """
    for line in groups.splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds == "":
            folder, names = mount, ("memory.max", "memory.current", "inactive_file")
        elif kinds == "memory":
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            folder = mount / "memory"
        else:
            continue
        for place in (folder / path.lstrip("/"), folder):
            if (place / names[0]).is_file():
                return _left(place, *names)
    return float("inf")


def _left(folder: Path, limit: str, used: str, cache: str) -> float:
    most = (folder / limit).read_text().strip()
    if most == "max":
        return float("inf")
    stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    return int(most) - int((folder / used).read_text()) + int(stat.get(cache, 0))
