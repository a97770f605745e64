"""What `srpo loop --plan` prints for people."""

from collections.abc import Mapping
from typing import Any

from srpo_cli.console import out, table

Plan = Mapping[str, Any]


def show_plan(plan: Plan) -> None:
    """The result of `stages.plan.plan.plan_run`."""
    policy = plan["policy"]
    out.print(f"{plan['run']}: {plan['done']} of {plan['iterations']} iterations done", soft_wrap=True, markup=False)
    share = "all" if policy["trained"] == policy["parameters"] else f"{policy['trained'] / 1e6:.2f} M"
    out.print(f"policy: {policy['parameters'] / 1e6:,.2f} M parameters, {share} of them trained")
    _show_memory(plan["memory"])
    _show_time(plan["time"], plan["iterations"] - plan["done"])
    _show_disk(plan["disk"], plan["iterations"])


def _show_memory(memory: Plan) -> None:
    where = f"{memory['device']}, {size(memory['free'])} free"
    if "error" in memory:
        out.print(
            f"memory of an update on {where}: cannot be foreseen ({memory['error']})", soft_wrap=True, markup=False
        )
        return
    rows = [[name, size(value)] for name, value in memory["parts"].items()]
    rows.append(["all at once", size(sum(memory["parts"].values()))])
    if memory["devices"] > 1:
        rows.append(["while loading", size(memory["loading"])])
    text = f"an update, {memory['queries']} queries at a time, on {where}:"
    out.print(text, soft_wrap=True, markup=False)
    out.print(table("memory", ["what", "bytes"], rows))


def _show_time(time: Plan | None, left: int) -> None:
    if time is None:
        out.print("time: not known before the first iteration")
        return
    rows = [[stage, f"{seconds:.1f} s"] for stage, seconds in time["stages"].items()]
    rows.append(["an iteration", f"{time['iteration']:.1f} s"])
    if "evaluation" in time:
        rows.append(["an evaluation", f"{time['evaluation']:.1f} s"])
    out.print(
        table(
            "time, from the last iterations",
            ["what", "time"],
            [*rows, [f"the {max(left, 0)} to come", span(time["left"])]],
        )
    )


def _show_disk(disk: Plan, iterations: int) -> None:
    names = {
        "images": "images of an iteration",
        "records": "other files of an iteration",
        "start": "the start",
        "policy": "a saved policy",
        "optimizer": "its optimizer, the last two",
        "total": f"the run, {iterations} iterations",
        "present": "there already",
        "free": "free",
    }
    rows = [[text, size(disk[name])] for name, text in names.items()]
    out.print(table("disk", ["what", "bytes"], rows))


def size(count: float) -> str:
    """Bytes as `12.3 GB` or `4.5 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def span(seconds: float) -> str:
    """A time as `3 h 20 min`, `12 min` or `40 s`."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"
