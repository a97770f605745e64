"""From runs and stores to one HTML page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.runs import Run, is_run
from data.store import RolloutStore
from data.watching import Tick
from srpo_cli import __version__
from srpo_cli.report import history, page, reward_sections, sections, stores
from srpo_cli.report.overview import store_overview
from srpo_cli.report.rewarded import read_reward
from srpo_cli.report.words import store_words

FOOTER = "Made by srpo {version}: Self-Referential Policy Optimization, arXiv 2511.15605."


def report_html(sources: Sequence[str], progress: Tick | None = None) -> str:
    """A page about runs and rollout stores, in the order given; whatever is missing in one is said, not drawn.

    Raises:
        UserError: a source that is neither a run nor a store.
    """
    parts: list[str] = []
    for i, source in enumerate(sources):
        parts += run_part(Run.open(source)) if is_run(source) else store_part(RolloutStore.open(source))
        if progress:
            progress(i + 1, len(sources))
    return page.page(" · ".join(_name(source) for source in sources), parts, FOOTER.format(version=__version__))


def run_part(run: Run) -> list[str]:
    """A run: its course, its last rollouts, its settings."""
    rows = history.iterations(run.metrics())
    settings = run.settings()
    store, number = _last_store(run)
    facts = store_overview(store) if store else {}
    parts = [page.header(_name(run.folder), _lead(run, settings)), sections.headline(rows)]
    if not rows:
        parts.append(page.section("Success", "No metrics yet: metrics.jsonl is missing or empty."))
    parts += [made(rows) for made in (sections.success, sections.rewards, sections.health, sections.times) if rows]
    if store:
        parts.append(page.header(f"Rollouts of iteration {number}", store_words(facts)))
        parts += _store_sections(store, facts)
    if rows:
        parts.append(sections.numbers(rows))
    return [*parts, sections.settings(settings, facts.get("versions", {}))]


def store_part(store: RolloutStore) -> list[str]:
    """A store by itself."""
    facts = store_overview(store)
    parts = [page.header(_name(store.path), store_words(facts)), *_store_sections(store, facts)]
    return [*parts, sections.settings({}, facts.get("versions", {}))]


def _store_sections(store: RolloutStore, facts: dict[str, Any]) -> list[str]:
    label = stores.usual_label(store)
    boxes = [stores.episodes(facts), stores.rewards(store, facts, label)]
    rewarded = read_reward(store, label) if label else None
    if rewarded and len(rewarded.centres):
        return [*boxes, *reward_sections.boxes(store, rewarded)]
    return [*boxes, stores.strips(store, label)]


def _last_store(run: Run) -> tuple[RolloutStore | None, int]:
    """The newest store of a run with a finished episode and its iteration, rather a rewarded one."""
    found: tuple[RolloutStore | None, int] = (None, 0)
    for number in range(run.finished() + 1, 0, -1):
        if not RolloutStore.exists(run.rollouts(number)):
            continue
        store = RolloutStore.open(run.rollouts(number))
        if stores.usual_label(store):
            return store, number
        if found[0] is None and len(store.done()):
            found = (store, number)
    return found


def _lead(run: Run, settings: dict[str, dict[str, Any]]) -> str:
    collect = settings.get("collect", {})
    what = f"{collect['suite']}, tasks {collect.get('tasks', '?')}" if "suite" in collect else ""
    encoder, preset = settings.get("encode", {}).get("world_model"), settings.get("reward", {}).get("preset")
    how = f"reward '{preset}' in the world model {encoder}" if encoder and preset else ""
    return ", ".join(part for part in (what, how, f"{run.finished()} iterations finished") if part)


def _name(path: str | Path) -> str:
    return Path(path).name or str(path)


def write_report(sources: Sequence[str], out: Path, progress: Tick | None = None) -> dict[str, Any]:
    """Write the page; returns out, bytes, sources, and of each run what its wall time went into (`history.shares`).

    Raises:
        UserError: as `report_html`, or a file that cannot be written.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"{out} must end in .html")
    if out.is_dir() or not out.parent.is_dir():
        raise UserError(f"cannot write {out}; name a file in a folder that exists")
    text = report_html(sources, progress)
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror}); choose another file") from error
    runs = {source: history.iterations(Run.open(source).metrics()) for source in sources if is_run(source)}
    shares = {source: history.shares(rows) for source, rows in runs.items()}
    return {"out": str(out), "bytes": len(text.encode()), "sources": list(sources), "shares": shares}
