"""The runs of `srpo bench learning`: one run directory for every start, arm and seed, gone on with where it stands.

OUT/starts/START-SEED          the demonstrations, the imitation start and its evaluation, shared by all arms
OUT/runs/START-ARM-SEED        one run of `srpo loop`
OUT/learning.jsonl             a line for every run and iteration

Several processes, on as many machines as see OUT, do the runs of a shard each. Whoever needs a start first makes it.
"""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from data.errors import UserError
from data.runs import Run, replace_folder, write_atomically
from data.shards import WHOLE, Shard
from data.watching import Tell, Watch
from stages.bench.learning.curves import Row, curve
from stages.bench.learning.settings import LearningSettings
from stages.loop import run_loop, run_settings
from stages.world_models.registry import check_world_model

Runs = dict[tuple[str, str], dict[int, list[Row]]]
"""(start, arm) -> seed -> rows"""
Begin = Callable[[str], None]
"""Called with the name of a run when it begins or goes on."""


def bench_learning(
    out: Path, settings: LearningSettings, watch: Watch, tell: Tell, begin: Begin, shard: Shard = WHOLE
) -> Runs:
    """Do the runs of this shard that are not whole yet; returns the rows of all runs that OUT holds.

    Raises:
        UserError: an OUT that is something else, or holds runs with other settings; whatever a stage refuses.
    """
    jobs = [(arm, seed) for seed in settings.seeds for arm in settings.arms]
    recipes = [settings.recipe(seed, arm) for arm, seed in jobs]
    for seen in {recipe.encode for recipe in recipes if recipe.reward.needs_embedding}:
        check_world_model(seen.world_model, seen)
    _check_place(out)
    for arm, seed in jobs[shard.index :: shard.count]:
        folder = out / "runs" / run_name(settings.start, arm.name, seed)
        begin(folder.name)
        recipe = settings.recipe(seed, arm)
        run = Run.start(folder, *run_settings(recipe))
        if run.finished() == 0:
            _share_start(out, settings, seed, run, watch, tell)
        run_loop(folder, recipe, settings.iterations, watch, _later(tell))
        write_rows(out)
    return write_rows(out)


def _later(tell: Tell) -> Tell:
    """Without iteration 0, which is told when the start is made."""
    return lambda record: tell(record) if record["iteration"] else None


def run_name(start: str, arm: str, seed: int) -> str:
    """The folder of a run; `read_rows` takes it apart again."""
    return f"{start}-{arm}-{seed}"


def write_rows(out: Path) -> Runs:
    """Write OUT/learning.jsonl from the metrics of all runs; returns them."""
    runs = read_rows(out)
    lines = [
        json.dumps({"start": start, "arm": arm, "seed": seed, **asdict(row)})
        for (start, arm), seeds in runs.items()
        for seed, rows in seeds.items()
        for row in rows
    ]
    write_atomically(out / "learning.jsonl", "".join(line + "\n" for line in lines))
    return runs


def read_rows(out: Path) -> Runs:
    """The rows of every run under OUT that has some."""
    runs: Runs = {}
    for file in sorted((out / "runs").glob("*/metrics.jsonl")):
        start, _, rest = file.parent.name.partition("-")
        arm, _, seed = rest.rpartition("-")
        rows = curve(Run.open(file.parent).metrics())
        if len(rows) > 1:
            runs.setdefault((start, arm), {})[int(seed)] = rows
    return runs


def _check_place(out: Path) -> None:
    if out.exists() and any(p.name not in ("starts", "runs", "learning.jsonl", "learning.png") for p in out.iterdir()):
        raise UserError(f"{out} holds something else than a `srpo bench learning`; choose another folder")
    (out / "starts").mkdir(parents=True, exist_ok=True)


def _share_start(out: Path, settings: LearningSettings, seed: int, run: Run, watch: Watch, tell: Tell) -> None:
    """Give a run the demonstrations, the policy and the metrics of its seed's start, which is made where it is missing.

    The settings that decide it are the same in all arms, so that the loop finds what it would have made.
    """
    start = Run(out / "starts" / f"{settings.start}-{seed}")
    with _alone(start.folder.with_suffix(".lock")):
        run_loop(start.folder, settings.recipe(seed), 0, watch, tell)
    for name in ("demos.zarr", "policies/000", "eval/000.zarr"):
        if (start.folder / name).is_dir() and not (run.folder / name).exists():
            partial = run.folder / f"{Path(name).name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(start.folder / name, partial)
            replace_folder(partial, run.folder / name)
    for line in start.metrics():
        run.log(0, line["stage"], {key: value for key, value in line.items() if key not in ("iteration", "stage")})


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process is inside; the system lets go for one that dies."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
