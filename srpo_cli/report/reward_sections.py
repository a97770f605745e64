"""The boxes of a report about one reward label: what it measured against, what it ranks, maps, curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from data.errors import UserError
from data.store import RolloutStore
from srpo_cli.report import page
from srpo_cli.report.reward_charts import embedding_maps, progress_curves
from srpo_cli.report.reward_facts import with_views
from srpo_cli.report.reward_text import failure_row, rank_row, reference_row
from srpo_cli.report.rewarded import Rewarded

FILM_COUNT = 2
OPEN_TASKS = 3
"""filmstrips of more tasks than these are folded"""


def boxes(store: RolloutStore, rewarded: Rewarded) -> list[str]:
    """References and failures, filmstrips, maps and curves of a label that measured distances."""
    facts = with_views(store, rewarded)
    return [references(facts), filmstrips(store, facts["tasks"]), maps(rewarded, facts), curves(facts)]


def references(facts: Mapping[str, Any]) -> str:
    """A row a task: what its failures were measured against, and how they did; every failure, folded."""
    tasks = facts["tasks"]
    lead = (
        "Centres stand for the successes of a task (the references); a failure's reward falls with the distance of "
        "its embedding to the nearest centre. Distances and rewards: lowest, median, highest of the failures."
    )
    columns = ("task", "instruction", "successes", "left out", "centres", "stand for", "failures", "distance", "reward")
    rows = [[*reference_row(task, facts["settings"]["centre"]), *failure_row(task)[1:]] for task in tasks]
    parts = [page.table(columns, rows, (0, 2, 3, 4, 6, 7, 8))]
    ranks = [(task["task"], *rank_row(row)) for task in tasks for row in task["ranked"]]
    if ranks:
        named = ("task", "episode", "initial state", "reward", "distance", "nearest reference (distance)")
        parts.append(page.folded(f"All {len(ranks)} failures, best first", page.table(named, ranks, range(6))))
    return page.section("References and failures", lead, *parts)


def filmstrips(store: RolloutStore, tasks: Sequence[Mapping[str, Any]], count: int = FILM_COUNT) -> str:
    """Of each task the reference nearest to its centre, the best and the worst failures."""
    lead = (
        "Six moments of an episode, evenly spread from its first state to its last; rendered from the stored states. "
        "A typical success is the one nearest to its centre. Failures that rank high should look nearer to the goal "
        "than those that rank low."
    )
    try:
        parts = _draw_films(store, tasks, count)
    except UserError as error:
        return page.section("What the reward ranks", f"Pictures could not be rendered here: {error}")
    return page.section("What the reward ranks", lead, *parts)


def maps(rewarded: Rewarded, facts: Mapping[str, Any]) -> str:
    """The embeddings of each task on their plane."""
    tasks = [task for task in facts["tasks"] if task["map"]]
    if not tasks or rewarded.embedding is None:
        return ""
    lead = (
        f"A dot an episode, at the first two principal components of its task's embeddings '{facts['embedding']}'. "
        f"The reward measures distances in all {rewarded.embedding.shape[1]} dimensions, of which a map shows two."
    )
    drawn = embedding_maps(tasks, rewarded.reward, rewarded.success, facts["settings"]["alpha"])
    return page.section("Maps of the embeddings", lead, page.chart(drawn))


def curves(facts: Mapping[str, Any]) -> str:
    """Progress over time of chosen episodes, or how to have it."""
    tasks = [task for task in facts["tasks"] if task["curves"]]
    if not tasks:
        how = f"Run the `srpo encode` that made '{facts['embedding']}' again with --set prefixes=16 to see curves here."
        return page.section("Progress over time", how)
    lead = (
        "An episode cut short is embedded as if it had ended there; its distance to the nearest centre, flipped and "
        "scaled over all such cuts of the task: 1 the nearest, 0 the farthest (the paper's appendix B)."
    )
    columns = ("task", "curve", "episode", "reward", "progress at the end")
    rows = [
        (task["task"], line["kind"], line["episode"], f"{line['reward']:.3f}", f"{line['progress'][-1]:.2f}")
        for task in tasks
        for line in task["curves"]
    ]
    table = page.folded(f"The {len(rows)} episodes", page.table(columns, rows, (0, 2, 3, 4)))
    return page.section("Progress over time", lead, page.chart(progress_curves(tasks)), table)


def _draw_films(store: RolloutStore, tasks: Sequence[Mapping[str, Any]], count: int) -> list[str]:
    from srpo_cli.report.films import FILM_SIZE, films, task_words
    from srpo_cli.report.pictures import EpisodeView

    view, parts = EpisodeView(store), []
    for task in tasks:
        strips = [(film.words, view.strip(film.episode, size=FILM_SIZE)) for film in films(task, count)]
        shown = [page.picture(strip.png(), f"{words}. {strip.words()}") for words, strip in strips]
        if len(tasks) > OPEN_TASKS:
            parts.append(page.folded(task_words(task), "".join(shown)))
        else:
            parts += [page.heading(task_words(task)), *shown]
    return parts
