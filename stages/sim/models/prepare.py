"""Building the cache entries of several tasks before they are needed, in processes that end afterwards.

Building imports robosuite and LIBERO and leaves 1.7 GB of memory behind, takes seconds that no watchdog should count,
and would be done once by every worker.
"""

import subprocess
import sys
from collections.abc import Iterable

from data.cache import cache_dir
from data.children import child_command
from data.errors import UserError
from stages.sim.models.entries import entry_name, is_current, load_entry
from stages.sim.tasks import Task, suite_tasks

BAD_INPUT = 2


def prepare(tasks: Iterable[Task], processes: int) -> int:
    """Build what is missing or out of date of these tasks' entries; returns how many.

    Raises:
        UserError: as building says.
        RuntimeError: a process failed; with what it said.
    """
    missing = [task for task in tasks if not is_current(cache_dir("models") / entry_name(task))]
    shares = [missing[i::processes] for i in range(min(processes, len(missing)))]
    children = [_start([(task.suite, task.index) for task in share]) for share in shares]
    try:
        for child in children:
            _finish(child)
    finally:
        for child in children:
            child.kill()
            child.wait()
    return len(missing)


def _start(tasks: list[tuple[str, int]]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        child_command("stages.sim.models.prepare", tasks),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(child: subprocess.Popen[str]) -> None:
    said, _ = child.communicate()
    if child.returncode == BAD_INPUT:
        raise UserError(said.strip().splitlines()[-1])
    if child.returncode:
        raise RuntimeError(f"building task models ended with {child.returncode}:\n{said}")


def main(tasks: list[tuple[str, int]]) -> None:
    """The entry of a process: build these (suite, number)."""
    try:
        for suite, index in tasks:
            load_entry(suite_tasks(suite)[index])
    except UserError as error:
        print(error, flush=True)
        sys.exit(BAD_INPUT)
