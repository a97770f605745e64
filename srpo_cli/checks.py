"""What `srpo doctor` looks at: each check is a function that says what it found, and how to mend what is wrong."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path

from data.cache import cache_dir
from data.errors import UserError

PACKAGES = ("torch", "transformers", "accelerate", "zarr", "numpy", "numba", "opencv-python", "typer", "rich")
STANDS_IN = {"opencv-python": "opencv-python-headless"}
"""Package -> another that brings the same module; machines without a display have it instead."""
RENDER_SECONDS = 120
FREE_GB = 2.0


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str
    mend: str = ""
    details: tuple[str, ...] = ()


def run_checks(policy: Path | None = None) -> list[Check]:
    """All checks, in the order in which they are mended; a failed one does not stop the rest.

    Args:
        policy: folder of a policy to check as well.
    """
    checks = [python, packages, simulation, assets, rendering, accelerator, disk, cache, policies]
    found = [_guarded(check.__name__, check) for check in checks]
    return [*found, _guarded("policy", partial(contract, policy))] if policy else found


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except UserError as error:
        found, _, mend = str(error).partition("; ")
        return Check(name, False, found, mend)
    except ImportError as error:
        return Check(name, False, str(error), "make install")


def python() -> Check:
    """The interpreter, within what srpo is tested with."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Check("python", (3, 11) <= sys.version_info < (3, 14), found, "use Python 3.11, 3.12 or 3.13")


def packages() -> Check:
    """Versions, for a report of a problem."""
    names = [STANDS_IN[name] if name in STANDS_IN and _version(name) is None else name for name in PACKAGES]
    missing = [name for name in names if _version(name) is None]
    found = ", ".join(f"{name} {_version(name) or 'missing'}" for name in names)
    return Check("packages", not missing, found, "make install")


def simulation() -> Check:
    """mujoco, robosuite and the provider of LIBERO, inside the window where LIBERO's tasks behave."""
    from stages.sim.provider import check_versions

    return Check("simulation", True, ", ".join(f"{name} {version}" for name, version in check_versions().items()))


def assets() -> Check:
    """LIBERO's meshes and textures."""
    from stages.sim.provider import assets_root

    return Check("assets", True, str(assets_root()))


def rendering() -> Check:
    """One frame in a child process, so that a driver that crashes or hangs does not take doctor along."""
    program = "from srpo_cli.checks import render_once; render_once()"
    environment = {"MUJOCO_GL": "egl", "LP_NUM_THREADS": "0", **os.environ}
    backend = environment["MUJOCO_GL"]
    try:
        child = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=RENDER_SECONDS
        )
    except subprocess.TimeoutExpired:
        return Check("rendering", False, f"{backend}: no frame within {RENDER_SECONDS} s", "try MUJOCO_GL=osmesa")
    lines = (child.stdout if child.returncode == 0 else child.stderr).strip().splitlines() or ["no output"]
    found, _, mend = lines[-1].partition("; ")
    return Check("rendering", child.returncode == 0, f"{backend}: {found}", mend or "try MUJOCO_GL=osmesa")


def render_once() -> None:
    """Draw the first libero_object task and print how long it took (runs in the child)."""
    import time

    from stages.sim.simulator import Simulator
    from stages.sim.tasks import select_tasks

    try:
        simulator = Simulator(select_tasks("libero_object", "0")[0], "lite")
        simulator.reset(0)
        simulator.render("agentview", 96)
        start = time.perf_counter()
        frame = simulator.render("agentview", 96)
    except UserError as error:
        sys.exit(str(error))
    if frame.max() == frame.min():
        sys.exit("the frame is one flat colour; update the graphics driver or try MUJOCO_GL=osmesa")
    print(f"a 96 px frame in {1000 * (time.perf_counter() - start):.1f} ms")


def accelerator() -> Check:
    """What torch can use."""
    import torch

    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("accelerator", True, ", ".join(cards) or f"none; torch on {torch.get_num_threads()} CPU threads")


def disk() -> Check:
    """Room for runs in the current folder."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return Check("disk", free > FREE_GB, f"{free:.0f} GB free here", f"free {FREE_GB:.0f} GB or use another disk")


def cache() -> Check:
    """Compiled task models, settled states and jit code; `srpo doctor --clear-cache` removes them."""
    from stages.sim.models.entries import survey

    folder = cache_dir()
    current, old = survey()
    found = f"{folder}: {_megabytes(folder):.0f} MB, {len(current)} tasks ready"
    return Check("cache", os.access(folder, os.W_OK), found, "set SRPO_CACHE", tuple(_cache_lines(current, old)))


def policies() -> Check:
    """The kinds of policies: srpo's own, and those of other packages, which are imported."""
    from stages.policies.base import Policy
    from stages.policies.registry import CLASSES, foreign, load_foreign, origin

    entries = foreign()
    for entry in entries:
        load_foreign(entry, Policy)  # type: ignore[type-abstract]
    return Check("policies", True, ", ".join([*CLASSES, *(f"{entry.name} ({origin(entry)})" for entry in entries)]))


def contract(folder: Path) -> Check:
    """Whether a policy keeps the promises that collecting and learning rely on."""
    from stages.policies.check import check_policy
    from stages.policies.loading import load_policy

    gap = check_policy(load_policy(folder))
    return Check("policy", True, f"{folder} keeps the contract; its log-probs reproduce within {gap:.1e}")


def _cache_lines(current: list[Path], old: list[Path]) -> Iterator[str]:
    """A line a suite, and one for what is out of date."""
    from stages.sim.tasks import SUITES, suite_tasks

    for suite in SUITES:
        entries = [entry for entry in current if entry.name.startswith(f"{suite}-")]
        if entries:
            size = sum(map(_megabytes, entries))
            yield f"{suite:<16} {len(entries):>2} of {len(suite_tasks(suite))} tasks, both looks, {size:.0f} MB"
    if old:
        size = sum(map(_megabytes, old))
        yield f"{'out of date':<16} {len(old):>2} entries, {size:.0f} MB; srpo doctor --clear-cache removes everything"


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def clear_cache() -> float:
    """Remove everything in the cache folder; returns the MB freed. All of it is made again when needed.

    What another process is just writing may stay.
    """
    folder = cache_dir()
    before = _megabytes(folder)
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    return before - _megabytes(folder)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
