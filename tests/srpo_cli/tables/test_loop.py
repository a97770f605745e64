"""The lines of `srpo loop`: columns stand under their heads, and an iteration without a usable group says so."""

from srpo_cli.tables.loop import HEADER, Lines

COLLECT = {
    "iteration": 3,
    "stage": "collect",
    "n": 64,
    "rate": 0.5,
    "interval": (0.38, 0.62),
    "steps": 120.4,
    "seconds": 20.0,
}
HEALTH = {"approx_kl": 0.0123, "clip_fraction": 0.05, "entropy": 0.7}
UPDATE = {"iteration": 3, "stage": "update", "groups": 8, "groups_kept": 7, "health": HEALTH, "seconds": 10.0}


def told(*records: dict) -> list[str]:
    written: list[str] = []
    lines = Lines(written.append)
    for record in records:
        lines.tell(record)
    return written


def test_an_iteration_is_one_line_in_columns() -> None:
    *_, line = told(COLLECT, UPDATE)
    assert line.split() == ["3", "64", "50.0", "%", "38.0-62.0", "%", "120", "7/8", "0.0123", "5.0", "0.70", "30"]
    for head, value in (("iter", "3"), ("success", "50.0 %"), ("steps", "120"), ("entropy", "0.70"), ("sec", "30")):
        end = HEADER.index(head) + len(head)
        assert line[:end].endswith(value), (head, line)


def test_further_rounds_are_counted() -> None:
    refill = {"iteration": 3, "stage": "refill", "n": 24, "rate": 0.1, "seconds": 7.0}
    *_, line = told(COLLECT, refill, UPDATE | {"groups": 11, "groups_kept": 8})
    assert line.split() == ["3", "88", "50.0", "%", "38.0-62.0", "%", "120", "8/11", "0.0123", "5.0", "0.70", "37"]
    *_, line = told(COLLECT, refill, UPDATE, COLLECT, UPDATE)
    assert line.split()[1] == "64"


def test_the_head_comes_once() -> None:
    assert sum(text == HEADER for text in told(COLLECT, UPDATE, COLLECT, UPDATE)) == 1


def test_no_usable_group() -> None:
    assert "no group had variance" in told(COLLECT, UPDATE | {"groups_kept": 0, "health": {}})[-1]


def test_evaluations() -> None:
    record = {"iteration": 6, "stage": "eval", "inits": "heldout", "rate": 0.7, "n": 20, "interval": (0.481, 0.855)}
    assert told(record) == ["policy 006, heldout initial states: 70.0 % of 20 (48.1-85.5 %)"]
    assert told(record | {"averaged": 5})[0].startswith("policy 006 (mean of the last 5), heldout initial states: ")
