"""Seconds and peak memory of work on a device, and an error told rather than raised."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

TOLD = 200
"""characters of an error"""


def timings(call: Callable[[], Any], device: torch.device, warm: int, repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls after `warm` uncounted ones; the device has ended its work before each."""
    found = []
    for _ in range(warm + repeats):
        start = now(device)
        call()
        found.append(now(device) - start)
    return found[warm:]


def now(device: torch.device) -> float:
    """Seconds, once everything given to the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def measured(about: Mapping[str, Any], call: Callable[[], dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """A row: `about`, then the figures of `call` and the most memory it took, or `error`, one line on what went wrong.

    Returns:
        Among others peak_gb: GB of GPU memory, what was there before included; None on a CPU.
    """
    cuda = device.type == "cuda"
    try:
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        found = call()
        return {**about, **found, "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9 if cuda else None}
    except Exception as error:  # whatever one figure meets (memory, a kernel), the others are still wanted
        return {**about, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:TOLD]}"}
