"""What a call takes, what a process holds, and how tasks are drawn for what is slow."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def timed(call: Callable[..., Any], *arguments: Any) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def resident(pid: int | None = None) -> float:
    """Megabytes (1e6 bytes) of memory that a process, or this one, has in RAM."""
    pid = pid or os.getpid()
    pages = Path(f"/proc/{pid}/statm")
    if pages.is_file():
        return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) * 1024 / 1e6


def evenly_chosen(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of `items`, evenly spaced; the middle one if it is one."""
    count = min(count, len(items))
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
