"""The lines of `srpo loop`: one an iteration, in fixed columns, printed when the iteration is whole."""

from collections.abc import Callable
from typing import Any

from srpo_cli.console import interval, percent

HEADER = "iter  episodes  success  95 % interval  steps  groups       KL   clip  entropy  sec"
UNITS = "                                        mean     used   /token      %     nats"

Record = dict[str, Any]


class Lines:
    """Takes what every stage came to and prints through `write`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write, self._stages, self._headed = write, dict[str, Record](), False

    def tell(self, record: Record) -> None:
        """Take the metrics of a stage, in the order of the loop."""
        stage = record["stage"]
        if stage == "collect":
            self._stages = {}
        self._stages[stage] = record
        if stage == "start":
            self._write(f"start: {record['policy']} ({record['id']}, {record['weights']})")
        elif stage == "demo":
            self._write(demo_line(record))
        elif stage == "sft":
            self._write(sft_line(record))
        elif stage == "eval":
            self._write(eval_line(record))
        elif stage == "update":
            self._head()
            self._write(iteration_line(self._stages))

    def _head(self) -> None:
        if not self._headed:
            self._headed = True
            self._write(HEADER)
            self._write(UNITS)


def demo_line(demo: Record) -> str:
    """How many demonstrations there are."""
    return f"demonstrations: {demo['successes']} of {demo['n']} by the scripted expert, {demo['seconds']:.0f} s"


def sft_line(sft: Record) -> str:
    """What the imitation start was made from."""
    return (
        f"imitation start: {sft['demonstrations']} demonstrations, {sft['moments']} moments, "
        f"loss {sft['loss']:.3f}, {sft['seconds']:.0f} s"
    )


def eval_line(evaluation: Record) -> str:
    """Greedy success on held-out initial states."""
    averaged = evaluation.get("averaged", 1)
    whose = f" (mean of the last {averaged})" if averaged > 1 else ""
    return (
        f"policy {evaluation['iteration']:03d}{whose}, {evaluation['inits']} initial states: "
        f"{percent(evaluation['rate'])} of {evaluation['n']} ({interval(evaluation['interval'])})"
    )


def iteration_line(stages: dict[str, Record]) -> str:
    """One iteration: episodes, sampled success and mean length (of the first round, where there are more), groups that
    taught something, and the health of the update."""
    rolled, update = stages["collect"], stages["update"]
    health = update["health"]
    figures = (
        f"{health['approx_kl']:7.4f}  {100 * health['clip_fraction']:5.1f}  {health['entropy']:7.2f}"
        if health
        else "   no group had variance"
    )
    seconds = sum(record["seconds"] for record in stages.values())
    episodes = rolled["n"] + stages.get("refill", {"n": 0})["n"]
    success = f"{episodes:>8}  {percent(rolled['rate']):>7}  {interval(rolled['interval']):>13}"
    groups = f"{update['groups_kept']:>3}/{update['groups']:<3}"
    return f"{rolled['iteration']:>4}  {success}  {rolled['steps']:5.0f}  {groups} {figures}  {seconds:3.0f}"
