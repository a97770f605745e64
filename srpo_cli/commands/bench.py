"""`srpo bench`: how fast or how good a part is, beside what a user would take instead, in one run."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from srpo_cli.console import emit, err, out, progress
from srpo_cli.options import Assign, Json, Share, Stores, Suite, Tasks
from srpo_cli.tables.sim import show_check, show_render, show_sim

COLLECT = (sys.executable, "-m", "srpo_cli", "collect")
AnyLook = Annotated[str, typer.Option(help="lite, full or both.")]
LiberoTasks = Annotated[int, typer.Option(help="On how many of the tasks LIBERO steps, or draws, too.")]

group = typer.Typer(
    help="Measure a part: how fast, or how good it is.\n\nExample: `srpo bench sim --suite libero_goal`",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@group.command("sim")
def bench_sim(
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    look: AnyLook = "both",
    libero_tasks: LiberoTasks = 2,
    episode_tasks: Annotated[int, typer.Option(help="On how many of the tasks whole episodes are run.")] = 1,
    workers: Annotated[
        int | None,
        typer.Option(help="The most processes (LIBERO's take 2 GB each); default: one a core.", show_default=False),
    ] = None,
    steps: Annotated[int, typer.Option(help="Control steps a task.")] = 100,
    episodes: Annotated[
        int | None,
        typer.Option(
            help="Our episodes a worker; default 3. With --check: paired episodes in all; default 0.",
            show_default=False,
        ),
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Control steps an episode; default: the suite's.", show_default=False)
    ] = None,
    seconds: Annotated[
        float, typer.Option(help="When LIBERO's loop is stopped in its episode; 0: never, it is run whole.")
    ] = 15.0,
    check: Annotated[bool, typer.Option("--check", help="Instead, whether it agrees with LIBERO.")] = False,
    json: Json = False,
) -> None:
    """Measure the simulator of a suite beside LIBERO and bare physics: two to five minutes.

    A control step (ours, bare `mj_step`, LIBERO's env.step without cameras); whole episodes, a random policy: LIBERO's
    loop (every camera drawn before every action) against ours; memory, start, threads against processes.

    With `--json`, `episode_s` is seconds an episode: the wall time of many, by all workers, divided by their number.
    `ratio_bare` is our step over bare physics, `ratio_episode` how many times as many episodes as LIBERO we run.

    Example: `srpo bench sim --suite libero_goal`
    """
    if check:
        _check(suite, tasks, episodes or 0, json)
        return
    from data.settings import build
    from stages.bench.settings import SimSettings
    from stages.bench.sim import bench_sim

    given = {"suite": suite, "tasks": tasks, "look": look, "libero_tasks": libero_tasks, "episode_tasks": episode_tasks}
    given |= {"workers": workers, "steps": steps, "horizon": horizon, "seconds": seconds}
    settings = build(SimSettings, given | {"episodes": 3 if episodes is None else episodes}, "bench")
    with progress("bench sim", "planned s") as tick:
        result = bench_sim(settings, COLLECT, tick)
    emit(result, json, show_sim)


@group.command("render")
def bench_render(
    suite: Suite = "libero_object",
    tasks: Tasks = "all",
    look: AnyLook = "both",
    libero_tasks: LiberoTasks = 2,
    frames: Annotated[int, typer.Option(help="Moments drawn a task.")] = 10,
    json: Json = False,
) -> None:
    """Measure a frame, ours and LIBERO's.

    Example: `srpo bench render --suite libero_goal --look full`
    """
    from data.settings import build
    from stages.bench.render import bench_render
    from stages.bench.settings import RenderSettings

    given = {"suite": suite, "tasks": tasks, "look": look, "libero_tasks": libero_tasks, "frames": frames}
    settings = build(RenderSettings, given, "bench")
    with progress("bench render", "tasks") as tick:
        result = bench_render(settings, tick)
    emit(result, json, show_render)


@group.command("progress")
def bench_progress(
    stores: Stores,
    world_models: Annotated[
        str, typer.Option(metavar="A,B", help="World models: names, folders or Hub ids, as for `srpo encode`.")
    ] = "pixels,efficientnet-lite0",
    image: Annotated[Path | None, typer.Option(metavar="OUT.png", help="The result as a picture.")] = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Judge progress signals: every world model and distance on the episodes of some stores, with intervals.

    Encodings are kept in the stores, so that a second run only adds what is new. Good stores hold successes and
    failures at every stage: `srpo demo demos.zarr --tasks 0,2,4,7,9 --per-task 60 --noise 0.1 --set mistakes=0.7`.

    Settings (--set): cameras, prefixes, moments, variation, resamples.

    Example: `srpo bench progress demos.zarr --world-models pixels,efficientnet-lite0,mini --image progress.png`
    """
    from data.settings import build, parse_assignments
    from srpo_cli.report.pictures import check_target
    from srpo_cli.tables.progress import draw_progress, show_progress
    from stages.bench.progress import ProgressSettings, bench_progress

    if image:
        check_target(image, ".png")
    given = {"world_models": world_models, **parse_assignments(assign)}
    settings = build(ProgressSettings, given, "bench progress")
    with progress("bench progress", "steps") as tick:
        result = bench_progress(stores, settings, tick)
    if image:
        draw_progress(result, image)
    emit(result, json, show_progress)


@group.command("policy")
def bench_policy(
    policy: Annotated[
        Path | None,
        typer.Argument(
            metavar="POLICY",
            help="A policy: its folder, or owner/name[@revision] on the Hub; none: random weights.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Of random weights: openvla-oft (default; hours on a CPU) or tiny.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto: a GPU where there is one.")] = "auto",
    batches: Annotated[str, typer.Option(metavar="B,B", help="Queries at a time.")] = "1,8,32",
    images: Annotated[
        str | None,
        typer.Option(
            metavar="N,N", help="Images a query; default: the policy's; random weights: 1,2.", show_default=False
        ),
    ] = None,
    lora: Annotated[int, typer.Option(help="Rank of the adapters that an update trains; 0: measure no update.")] = 32,
    micro: Annotated[str, typer.Option(metavar="B,B", help="Queries a forward pass of an update.")] = "8",
    repeats: Annotated[int, typer.Option(help="How often acting is timed.")] = 10,
    json: Json = False,
) -> None:
    """Measure how fast a policy acts and learns on this device, and whether its log-probs depend on the batch.

    Without a policy: an OpenVLA-OFT with random weights in bf16, made on the device, no files. Updates of OpenVLA-OFT
    train LoRA adapters (`pip install peft`), with and without gradient checkpointing; the mini policy trains whole.
    What fails, such as a batch too large for the memory, is told beside the rest.

    Example: `srpo bench policy --size tiny --batches 1,4 --lora 0`
    """
    from data.settings import build
    from srpo_cli.tables.policy import show_policy
    from stages.bench.policy.bench import bench_policy
    from stages.bench.policy.settings import PolicyBenchSettings

    given: dict[str, Any] = {"size": size, "device": device, "batches": batches, "images": images}
    given |= {"lora": lora, "micro": micro, "repeats": repeats}
    settings = build(PolicyBenchSettings, given, "bench policy")
    with progress("bench policy", "figures") as tick:
        result = bench_policy(policy, settings, tick)
    emit(result, json, show_policy)


@group.command("learning")
def bench_learning(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Where the runs go, made or gone on with.")],
    arm: Annotated[
        list[str],
        typer.Option(help="A reward (binary, paper, siirl, cosine, path) or 'NAME: section.key=value ...'; repeat it."),
    ] = ["binary", "paper", "siirl", "cosine", "path"],
    seeds: Annotated[str, typer.Option(help="As 0-2 or 0,1,5.")] = "0-2",
    start: Annotated[str, typer.Option(help="normal, or sparse: one demonstration a task.")] = "normal",
    preset: Annotated[str, typer.Option(help="A preset that comes with srpo, or a TOML file.")] = "laptop",
    iterations: Annotated[int, typer.Option(help="Of every run.")] = 40,
    shard: Share = "0/1",
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Compare ways to learn: every arm with every seed, from a start that the arms of a seed share.

    Rewards differ between arms, the world model is the preset's in all of them (`--set encode.world_model=...`).
    Writes OUT/learning.jsonl (a line an iteration) and OUT/learning.png. Stopped at any moment, the same command goes
    on; a second process with another `--shard` does other runs (`taskset -c 0 srpo bench learning ...` keeps each on
    cores of its own).

    Example: `srpo bench learning out --preset quick --start sparse --arm binary --arm path --set task.tasks=2,6,9`
    """
    from data.shards import Shard
    from srpo_cli.tables.learning import draw_learning, show_learning, summary
    from srpo_cli.tables.loop import Lines
    from stages.bench.learning.runs import bench_learning
    from stages.bench.learning.settings import Arm, LearningSettings
    from stages.sim.tasks import parse_range

    arms = [Arm.parse(text) for text in arm]
    settings = LearningSettings(arms, parse_range(seeds, 1000, "seeds"), start, preset, iterations, assign)
    console = err if json else out
    lines = Lines(lambda text: console.print(text, soft_wrap=True, markup=False))

    def begin(name: str) -> None:
        console.print(f"run {name}", style="bold")

    runs = bench_learning(folder, settings, progress, lines.tell, begin, Shard.parse(shard))
    if runs:
        draw_learning(runs, folder / "learning.png")
    emit({"out": str(folder), "arms": summary(runs)}, json, lambda result: show_learning(result["arms"]))


def _check(suite: str, tasks: str, episodes: int, json: bool) -> None:
    from stages.bench.agreement import check_suite

    with progress("bench sim --check", "tasks") as tick:
        result: Mapping[str, Any] = check_suite(suite, tasks, episodes, tick)
    emit({"suite": suite, "check": result}, json, show_check)
