"""A policy that answers the queries of many episodes at once, each with its own seed and instruction.

Legend: B queries, C actions a chunk, H x W pixels, P proprioception size.
"""

from collections.abc import Callable, Sequence

import numpy as np

from data.query import Answer, Query
from stages.policies.base import Observation, Policy
from stages.policies.noise import query_noise
from stages.sim.settings import RolloutSettings
from stages.sim.workers.filling import Request


class Actor:
    """`data.query.Decide` of a policy.

    Args:
        policy: what decides.
        instructions: (N,) the instruction of every episode.
        seeds: (N,) int, the seed of every episode; with the number of the query it fixes what is sampled.
        temperature: 0 takes the likeliest tokens.
        look_first: called with the first observation and its instructions (a `Policy.first_look`); none: nothing is.
    """

    figures: dict[str, float]
    """What `look_first` said, once it did."""

    def __init__(
        self,
        policy: Policy,
        instructions: Sequence[str],
        seeds: np.ndarray,
        temperature: float,
        look_first: Callable[[Observation, Sequence[str]], dict[str, float]] | None = None,
    ) -> None:
        self._policy, self._instructions, self._seeds = policy, instructions, seeds
        self._temperature, self._look_first = temperature, look_first
        self.figures = {}

    def __call__(self, queries: Sequence[Query]) -> list[Answer]:
        """Answer B queries in one call of the policy; tokens and log-probs are to be recorded."""
        spec = self._policy.spec
        images = {name: np.stack([query.images[name] for query in queries]) for name in spec.cameras}
        observation = Observation(images, np.stack([query.proprio for query in queries]))
        noise = np.stack([query_noise(int(self._seeds[q.episode]), q.number, spec.tokens) for q in queries])
        instructions = [self._instructions[query.episode] for query in queries]
        if self._look_first:
            self.figures, self._look_first = self._look_first(observation, instructions), None
        rows = zip(*self._policy.act(observation, instructions, self._temperature, noise), strict=True)
        return [Answer(actions, {"tokens": tokens, "logprob": logprob}) for tokens, logprob, actions in rows]


def make_actor(policy: Policy, request: Request, settings: RolloutSettings) -> Actor:
    """The actor that a request for rollouts with `settings` needs.

    Raises:
        UserError: see `Policy.check_scene`.
    """
    if settings.preflight:
        policy.check_scene(settings.suite, settings.look)
    look = policy.first_look if settings.preflight else None
    return Actor(policy, request.instructions(), request.plan.seed, settings.temperature, look)


def episode_seeds(seed: int, episodes: int) -> np.ndarray:
    """The seeds of a plan, (N,) int64 >= 0, the i-th a function of (seed, i) alone."""
    words = [np.random.SeedSequence([seed, i]).generate_state(1, np.uint64)[0] >> np.uint64(1) for i in range(episodes)]
    return np.array(words, np.int64)
