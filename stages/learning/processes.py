"""`--processes N`: one command in N processes that learn together, each with a GPU or a share of the cores.

Each is told what `torchrun` would tell it (rank, world size, where to meet), and Accelerate reads that. Started by
`accelerate launch` instead, on several machines say, a command finds itself in such a group just the same.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from data.cores import cores

RANK, WORLD, LOCAL_WORLD = "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"
POLL, GRACE = 0.1, 3.0
"""seconds between two looks, and for the first process to say itself what another one met, too"""


def in_group() -> bool:
    """Whether this process was started as one of several, by us or by `accelerate launch`."""
    return int(os.environ.get(WORLD, "1")) > 1


def processes_here() -> int:
    """How many processes of the group share this machine."""
    return int(os.environ.get(LOCAL_WORLD, "1"))


def run_together(arguments: Sequence[str], count: int) -> int:
    """Run `srpo ARGUMENTS` in `count` processes; when one fails the others are ended.

    The first shows its output; of the others, only what one that fails says last.

    Returns:
        The exit code: 0 when all are done, else that of the first to fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        told = [Path(folder) / f"{rank}.txt" for rank in range(count)]
        port = _port()
        running = [_start(arguments, rank, count, port, told[rank]) for rank in range(count)]
        try:
            failed = _first_failure(running)
        finally:
            _end(running)
        if failed is None:
            return 0
        if failed:
            last = told[failed].read_text(errors="replace").strip().splitlines()[-1:]
            print(*last or [f"srpo: process {failed} ended with {running[failed].returncode}"], file=sys.stderr)
        return _exit_code(running[failed].returncode)


def _start(arguments: Sequence[str], rank: int, count: int, port: str, told: Path) -> "subprocess.Popen[bytes]":
    threads = str(max(1, cores() // count))
    group = {RANK: str(rank), "LOCAL_RANK": str(rank), WORLD: str(count), LOCAL_WORLD: str(count)}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": threads}
    command, env = [sys.executable, "-m", "srpo_cli", *arguments], os.environ | group | place
    if rank == 0:
        return subprocess.Popen(command, env=env)
    with told.open("wb") as file:
        return subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=file)


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
