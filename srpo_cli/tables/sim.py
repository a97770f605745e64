"""What `srpo bench` prints for people."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from srpo_cli.console import interval, out, percent, table

SURER = "surer: --libero-tasks 10 --episode-tasks 3 --steps 300; LIBERO's episodes whole: --seconds 0 (minutes each)"
MARKS = ("1", "10", "50", "130")
CHECK_LEGEND = """\
torque: largest difference on equal states, Nm
1 to 130: largest difference of a joint position (m, rad) over so many control steps; arm: of the arm's over 130
nudged: how far srpo gets from itself over 130 steps if positions are nudged by 1e-15 to 1e-10: contact amplifies that
flags: control steps on which the success flag is equal, and how often it flips among them"""


def show_sim(result: Mapping[str, Any]) -> None:
    """The result of `stages.bench.sim.bench_sim`."""
    for part in (_steps(result), _episodes(result), _workers(result)):
        out.print(part)
    out.print(SURER)


def show_render(result: Mapping[str, Any]) -> None:
    """The result of `stages.bench.render.bench_render`."""
    rows = [
        [row["camera"], f"{row['size']}", row["look"], _number(row["ms"]["median"]), _span(row["ms"]), _times(row)]
        for row in sorted(result["rows"], key=lambda row: (row["camera"], row["size"]))
    ]
    tasks = ", ".join(str(task) for task in result["tasks"])
    title = f"{result['suite']} task {tasks}: a frame, drawn and read back; {result['frames']} moments a task"
    out.print(table(title, ["camera", "pixels", "look", "ms (median)", "95 %", "x LIBERO"], rows))


def show_check(result: Mapping[str, Any]) -> None:
    """The result of `stages.bench.agreement.check_suite`, as the key `check`."""
    found = result["check"]
    columns = ["task", "torque", *MARKS, "arm", "nudged", "flags"]
    title = f"{result['suite']}: srpo against LIBERO, the same actions from the same initial states"
    out.print(table(title, columns, [_agreement(row) for row in found["tasks"]]))
    out.print(CHECK_LEGEND)
    summary = found["summary"]
    out.print(
        f"proprioception: differs by {_power(summary['proprio'])} on equal states; LIBERO's step returns that of two "
        f"substeps (4 ms) before its end: up to {summary['lag']['mm']:.1f} mm, {summary['lag']['rad']:.3f} rad"
    )
    paired = summary["paired"]
    if paired["n"]:
        share = f"{percent(paired['share'])} (95 %: {interval(paired['interval'])})"
        out.print(
            f"outcomes equal: {share}, n={paired['n']}; successes: srpo {paired['ours']}, LIBERO {paired['libero']}"
        )
    else:
        out.print("paired episodes: --episodes 200")


def _steps(result: Mapping[str, Any]) -> Table:
    step = result["step"]
    bare, ratio = step["bare"]["median"], step["ratio_bare"]
    rows = [
        ["bare physics, mj_step x 25", *_cells(step["bare"]), "1", ""],
        ["srpo", *_cells(step["srpo"]), _number(ratio["median"]), _span(ratio)],
        ["LIBERO's env.step", *_cells(step["libero"]), _number(step["libero"]["median"] / bare), ""],
    ]
    worst = max(step["rows"], key=lambda row: row["ratio"])
    title = f"{result['suite']}: a control step without frames, median over tasks ({step['steps']} steps each)"
    caption = f"srpo on the task where it costs most, {worst['task']}: {_number(worst['ratio'])} x bare"
    return table(title, ["", "ms", "tasks", "x bare", "95 %"], rows, caption)


def _episodes(result: Mapping[str, Any]) -> Table:
    looks = [look for look in ("full", "lite") if look in result["episodes"][0]]
    rows = []
    for row in result["episodes"]:
        rows.append([f"{row['workers']}", "LIBERO's loop, 2 x 256 px", *_pace(row["libero"]), "1"])
        for look in looks:
            rows.append(["", f"srpo, {look}, {_cameras(row[look])}", *_pace(row[look]), _number(row[look]["ratio"])])
    tasks = ", ".join(str(task["task"]) for task in result["episodes"][0]["by_task"])
    title = f"{result['suite']} task {tasks}: episodes of {result['horizon']} control steps, random actions"
    libero = result["episodes"][-1]["libero"]
    before = _number(libero["reset_s"] + libero["settle_s"])
    caption = (
        f"LIBERO's episode: {libero['how']}; reset and settling {before} s, a step {_number(libero['step_ms'])} ms"
    )
    return table(title, ["workers", "", "s an episode", "episodes/s", "x LIBERO"], rows, caption)


def _workers(result: Mapping[str, Any]) -> Table:
    libero, step, start, pace = (result[name] for name in ("episodes", "step", "start", "parallel"))
    rows = [
        [f"memory, {look}, {row['tasks']} task{'s' * (row['tasks'] > 1)}", f"{row['resident_mb']:.0f} MB"]
        for look, held in result["memory"].items()
        for row in held
    ]
    first = libero[0]["libero"]
    rows += [
        ["memory, LIBERO's process, 1 task", f"{first['resident_mb']:.0f} MB"],
        ["reset to an initial state", f"{_number(step['reset']['median'])} ms"],
        ["the first time in a process", f"{_number(step['settle']['median'])} ms"],
        ["LIBERO's reset and ten settling steps", f"{_number(first['reset_s'] + first['settle_s'])} s"],
        ["start of a worker", f"{_number(start['worker_s']['median'])} s"],
        ["start of LIBERO's process", f"{_number(first['make_s'])} s"],
        ["srpo collect to its first control step", f"{_number(start['first_step_s']['median'])} s"],
        ["of which imports", f"{_number(start['imports_s'])} s"],
        ["control steps/s, one thread", f"{pace['one']['median']:.0f}"],
        [f"control steps/s, {pace['width']} threads", f"{pace['threads']['median']:.0f}"],
        [f"control steps/s, {pace['width']} processes", f"{pace['processes']['median']:.0f}"],
    ]
    return table("a worker", ["", "median"], rows)


def _agreement(row: Mapping[str, Any]) -> list[Any]:
    states = [row["state"][n]["all"] for n in MARKS]
    sizes = [
        _power(value) for value in (row["torque"], *states, row["state"][MARKS[-1]]["arm"], row["nudged"][MARKS[-1]])
    ]
    steps, flips = row["success_steps"], row["success_flips"]
    return [row["task"], *sizes, f"{steps - row['success_disagreements']}/{steps} {flips}x"]


def _cells(middle: Mapping[str, Any]) -> tuple[str, str]:
    return _number(middle["median"]), str(middle["n"])


def _pace(part: Mapping[str, Any]) -> tuple[str, str]:
    return _number(part["episode_s"]), _number(1 / part["episode_s"])


def _cameras(part: Mapping[str, Any]) -> str:
    """`2 x 256 px`."""
    sizes = sorted(set(part["cameras"].values()))
    return f"{len(part['cameras'])} x {' and '.join(str(size) for size in sizes)} px"


def _times(row: Mapping[str, Any]) -> str:
    return _number(row["ratio"]) if "ratio" in row else ""


def _span(middle: Mapping[str, Any]) -> str:
    """The 95 % interval; empty where there are too few samples for one."""
    return "-".join(_number(bound) for bound in middle["interval"]) if middle["interval"] else ""


def _power(value: float) -> str:
    """The order of magnitude: 3e-7."""
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}" if value else "0"


def _number(value: float) -> str:
    """Three digits that count: 0.0123, 1.23, 123, 1234."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
