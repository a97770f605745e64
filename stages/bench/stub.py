"""Episodes without a policy: smooth random actions that depend on the episode alone, and what our pool is asked."""

from collections.abc import Sequence

import numpy as np

from data.query import Answer, Query
from data.store import Plan
from stages.sim.replay import smooth_actions
from stages.sim.tasks import Task
from stages.sim.workers.filling import Request

CHUNK = 8
"""Actions a query: LIBERO's loop draws before every action, ours once a chunk."""
LOOKS = {"full": {"agentview": 256, "robot0_eye_in_hand": 256}, "lite": {"agentview": 96}}
"""look -> camera -> pixels a side: what LIBERO's evaluations show a policy, and what a small one needs."""
INITS = 40
STARTUP = 8
"""Horizon of an episode that is only there to have a worker load what it keeps."""


def stub_actions(episode: int, horizon: int) -> np.ndarray:
    """The actions (horizon, 7) f32 of an episode, whoever runs it."""
    return smooth_actions(episode, horizon).astype(np.float32)


class Stub:
    """`data.query.Decide` without a policy; its answers are made before anything is timed."""

    def __init__(self, horizon: int, episodes: int) -> None:
        whole = -(-horizon // CHUNK) * CHUNK
        self._chunks = [stub_actions(i, whole).reshape(-1, CHUNK, 7) for i in range(episodes)]

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """The next chunk of each."""
        return [Answer(self._chunks[query.episode][query.number]) for query in queries]


def request(tasks: Sequence[Task], episodes: int, horizon: int, look: str) -> Request:
    """`episodes` of the tasks in turn, initial states in turn, pictures kept as `srpo collect` keeps them."""
    index = np.arange(episodes)
    numbers = np.array([task.index for task in tasks])
    return Request(
        tasks=list(tasks),
        plan=Plan(numbers[index % len(tasks)], index // len(tasks) % INITS, index, index),
        horizon=horizon,
        chunk=CHUNK,
        cameras=LOOKS[look],
        look=look,
        engine="fast",
        keep_images=True,
    )
