"""One update's data: every policy query of the rollouts that tell something, with its advantage.

Shapes: N episodes of the store (of all of them, where several are joined), M queries kept, n = C*7 action tokens a
query, C actions a chunk, P proprioception.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import UserError, unknown
from data.joined import Rollouts
from data.lineage import digest
from data.store import DONE, SKIPPED, RolloutStore
from stages.learning.advantages import AdvantageSettings, Rule, relative_to_group
from stages.policies.base import ACTION_DIM, Observation
from stages.progress.curves import rises


@dataclass(frozen=True)
class Batch:
    """M queries, in the order of the store."""

    observation: Observation
    """images {camera: (M, H, W, 3) u8}, proprio (M, P) f32"""
    instructions: list[str]
    """M texts"""
    tokens: np.ndarray
    """(M, n) i16, as sampled"""
    logprob: np.ndarray
    """(M, n) f32, as recorded when sampled"""
    mask: np.ndarray
    """(M, n) bool: the token's action was executed"""
    advantage: np.ndarray
    """(M,) f32, the episode's or the query's own"""
    episode: np.ndarray
    """(M,) index of the episode in the store"""
    rise: np.ndarray | None = None
    """(M,) f32, how much the episode's progress curve rises over the query's chunk; none where the reward has none"""
    reference: np.ndarray | None = None
    """log-probs under a reference policy, f32: (M, n) of `tokens`, or (M, n, K) of every bin"""

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True)
class Selection:
    """Which episodes of a store teach something: reward and advantage (N,) f64, kept (N,) bool, how many groups there
    are, and in how many some episodes count more than others."""

    reward: np.ndarray
    advantage: np.ndarray
    kept: np.ndarray
    groups: int
    groups_kept: int
    curve: np.ndarray | None = None
    """(N, P) progress at P prefixes of every episode, where the reward has it, and curve_step (N, P), their ends"""
    curve_step: np.ndarray | None = None


def select(
    store: Rollouts, reward_label: str, settings: AdvantageSettings, rule: Rule = relative_to_group
) -> Selection:
    """Advantages of the store's reward by `rule`; episodes that were skipped for an error are in no group.

    Raises:
        UserError: episodes not done, an unknown reward label, one older than the episodes it should cover, or one made
            of each store apart.
    """
    reward = np.concatenate([_reward(part, reward_label) for part in store.parts])
    if len({(part.label_attrs("reward", reward_label) or {}).get("inputs") for part in store.parts}) > 1:
        raise UserError(f"reward '{reward_label}' of {store.path} was not made of all of them: reward them together")
    done = store.status() == DONE
    advantage, kept = np.zeros(len(store)), np.zeros(len(store), bool)
    advantage[done], kept[done] = rule(reward[done], store.success()[done], store.plan.group[done], settings)
    groups = np.unique(store.plan.group)
    telling = sum(len(np.unique(advantage[done & (store.plan.group == group)])) > 1 for group in groups)
    return Selection(reward, advantage, kept, len(groups), telling, *_curves(store, reward_label))


def _reward(store: RolloutStore, label: str) -> np.ndarray:
    """(N,) f64, finite where an episode is done."""
    status = store.status()
    done, missing = status == DONE, int((~np.isin(status, (DONE, SKIPPED))).sum())
    if missing or not done.any():
        raise UserError(
            f"{missing} of {len(store)} episodes of {store.path} are not done; run the same `srpo collect` again"
        )
    if label not in store.labels("reward"):
        if not store.labels("reward"):
            raise UserError(f"{store.path} has no reward yet; run `srpo reward {store.path}` first")
        raise unknown(f"reward label of {store.path}", label, store.labels("reward"))
    reward = np.asarray(store.group[f"reward/{label}/reward"][:], np.float64)  # type: ignore[index]
    if not np.isfinite(reward[done]).all():
        raise UserError(
            f"reward '{label}' of {store.path} misses {int((~np.isfinite(reward[done])).sum())} episodes; "
            "run `srpo encode` and `srpo reward` again"
        )
    return reward


def _curves(store: Rollouts, label: str) -> tuple[np.ndarray | None, np.ndarray | None]:
    """curve and curve_step of the reward, none where it has none."""
    groups: list[Any] = [part.group[f"reward/{label}"] for part in store.parts]
    if not all("curve" in group for group in groups):
        return None, None
    curve, step = (np.concatenate([group[name][:] for group in groups]) for name in ("curve", "curve_step"))
    return curve, step


def rollouts_digest(store: Rollouts, selection: Selection) -> str:
    """16 hex digits over everything an update learns from, without its pictures: those follow from the states."""
    parts: list[Any] = [store.attrs.get("temperature"), selection.kept, selection.advantage, store.plan.task]
    parts.append(selection.reward[selection.kept])
    parts += [] if selection.curve is None else [selection.curve[selection.kept]]
    for i in np.flatnonzero(selection.kept):
        episode = store.read(int(i), images=False)
        parts += [episode.state, episode.proprio, episode.tokens, episode.logprob]
    return digest(*parts)


def build_batch(store: Rollouts, selection: Selection) -> Batch:
    """Read the kept episodes; at least one must be kept.

    Raises:
        UserError: the store lacks what the policy saw or said.
    """
    for part in store.parts:
        for name in ("query/proprio", "query/tokens", "query/logprob", "query/image"):
            if name not in part.group:
                raise UserError(
                    f"{part.path} holds no {name}; `srpo update` needs rollouts of `srpo collect`, with images"
                )
    chunk = int(store.attrs["chunk"])
    instruction = {int(task["index"]): str(task["instruction"]) for task in store.attrs["tasks"]}
    indices = [int(i) for i in np.flatnonzero(selection.kept)]
    episodes = [store.read(i) for i in indices]
    queries = [len(episode.tokens) for episode in episodes]  # type: ignore[arg-type]
    rows = np.repeat(indices, queries)
    return Batch(
        observation=Observation(
            {camera: np.concatenate([e.images[camera] for e in episodes]) for camera in store.cameras()},
            np.concatenate([e.proprio for e in episodes]),
        ),
        instructions=[instruction[int(store.plan.task[i])] for i in rows],
        tokens=np.concatenate([e.tokens for e in episodes]),
        logprob=np.concatenate([e.logprob for e in episodes]),
        mask=np.concatenate([executed(e.steps, q, chunk) for e, q in zip(episodes, queries, strict=True)]),
        advantage=selection.advantage[rows].astype(np.float32),
        episode=rows,
        rise=_rises(selection, indices, [episode.steps for episode in episodes], queries, chunk),
    )


def _rises(
    selection: Selection, indices: list[int], steps: list[int], queries: list[int], chunk: int
) -> np.ndarray | None:
    """(M,) f32 of the kept episodes."""
    if selection.curve is None or selection.curve_step is None:
        return None
    ends = [np.minimum(np.arange(q + 1) * chunk, t) for q, t in zip(queries, steps, strict=True)]
    curves = zip(selection.curve[indices], selection.curve_step[indices], ends, strict=True)
    return np.concatenate([rises(*one) for one in curves]).astype(np.float32)


def executed(steps: int, queries: int, chunk: int) -> np.ndarray:
    """Which tokens of an episode's queries were acted out: (queries, chunk*7) bool.

    Action c of query k is control step k*chunk + c; it was executed if the episode had more steps than that.
    """
    step = np.arange(queries * chunk).reshape(queries, chunk)
    return np.repeat(step < steps, ACTION_DIM, axis=1)
