"""`--processes N`: one command in N processes that learn together, each with a GPU or a share of the cores.

Each is told what `torchrun` would tell it (rank, world size, where to meet), and Accelerate reads that. Started by
`accelerate launch` instead, on several machines say, a command finds itself in such a group just the same. None
outlives the process that started it, so that the same command can be run again at once.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from data.children import die_with_parent
from data.cores import cores
from data.errors import UserError

RANK, WORLD, LOCAL_WORLD = "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
BAD_INPUT, RESULT = 2, "result.json"
POLL, GRACE = 0.1, 3.0
"""seconds between two looks, and for the first process to say itself what another one met, too"""


def in_group() -> bool:
    """Whether this process was started as one of several, by us or by `accelerate launch`."""
    return int(os.environ.get(WORLD, "1")) > 1


def processes_here() -> int:
    """How many processes of the group share this machine."""
    return int(os.environ.get(LOCAL_WORLD, "1"))


def alone(command: str) -> None:
    """Refuse a command that several processes would do several times.

    Raises:
        UserError: this process is one of several.
    """
    if in_group():
        told = (
            "`srpo loop --accelerate CONFIG` has its updates done by several" if command == "loop" else "start it once"
        )
        raise UserError(f"srpo {command} is one process, not {os.environ[WORLD]}: {told}")


def run_together(arguments: Sequence[str], count: int, told_all: Mapping[str, str] | None = None) -> int:
    """Run `srpo ARGUMENTS` in `count` processes; when one fails the others are ended, when we are killed all are.

    The first shows its output; of the others, only what one that fails says last.

    Args:
        told_all: further variables of their environment.

    Returns:
        The exit code: 0 when all are done, else that of the first to fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        failed, code = _run(arguments, count, told_all or {}, Path(folder), shown=True)
        if failed:
            print(_last_words(Path(folder), failed, code), file=sys.stderr)
        return code


def result_together(arguments: Sequence[str], count: int, told_all: Mapping[str, str]) -> dict[str, Any]:
    """As `run_together` with `--json`, without any output: what the first process prints.

    Raises:
        UserError: one of the processes says so.
        RuntimeError: one of them fails otherwise.
    """
    with tempfile.TemporaryDirectory() as folder:
        failed, code = _run([*arguments, "--json"], count, told_all, Path(folder), shown=False)
        if failed is None:
            result: dict[str, Any] = json.loads((Path(folder) / RESULT).read_text())
            return result
        words = _last_words(Path(folder), failed, code).removeprefix("srpo: ")
        raise UserError(words) if code == BAD_INPUT else RuntimeError(words)


def _run(
    arguments: Sequence[str], count: int, told_all: Mapping[str, str], folder: Path, shown: bool
) -> tuple[int | None, int]:
    """The rank of the first process to fail, if one does, and the exit code."""
    environment, port = {**os.environ, **told_all, "MASTER_ADDR": "127.0.0.1"}, _port()
    environment |= {"MASTER_PORT": port, "OMP_NUM_THREADS": str(max(1, cores() // count))}
    environment |= {WORLD: str(count), LOCAL_WORLD: str(count)}
    running = []
    for rank in range(count):
        numbers = {RANK: str(rank), "LOCAL_RANK": str(rank)}
        running.append(_start(arguments, environment | numbers, folder, rank, shown and rank == 0))
    try:
        failed = _first_failure(running)
    finally:
        _end(running)
    return failed, 0 if failed is None else _exit_code(running[failed].returncode)


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, rank: int, shown: bool
) -> "subprocess.Popen[bytes]":
    """A process whose output is seen, or kept in `folder`: what it says, and of the first its result."""
    start: partial[subprocess.Popen[bytes]] = partial(
        subprocess.Popen, [sys.executable, "-m", "srpo_cli", *arguments], env=environment
    )
    if shown:
        return start(preexec_fn=die_with_parent)
    result = folder / RESULT if rank == 0 else Path(os.devnull)
    with _words(folder, rank).open("wb") as said, result.open("wb") as printed:
        return start(preexec_fn=die_with_parent, stdout=printed, stderr=said)


def _words(folder: Path, rank: int) -> Path:
    return folder / f"{rank}.txt"


def _last_words(folder: Path, rank: int, code: int) -> str:
    last = _words(folder, rank).read_text(errors="replace").strip().splitlines()[-1:]
    return last[0] if last else f"srpo: process {rank} ended with {code}"


def _port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def _first_failure(running: Sequence["subprocess.Popen[bytes]"]) -> int | None:
    """Wait until all are done or one fails; returns its rank, the first one's if that soon fails as well."""
    while True:
        codes = [process.poll() for process in running]
        failed = [rank for rank, code in enumerate(codes) if code]
        if failed and failed[0]:
            _wait_a_little(running[0])
            return 0 if running[0].returncode else failed[0]
        if failed:
            return 0
        if None not in codes:
            return None
        time.sleep(POLL)


def _wait_a_little(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _end(running: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in running:
        process.wait()


def _exit_code(code: int) -> int:
    """A process ended by a signal has a negative code; shells say 128 more than the signal."""
    return 128 - code if code < 0 else code
