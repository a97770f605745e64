"""Whether a policy keeps the promises of `stages.policies.base`, told before any rollout is spent on it."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from data.errors import UserError
from stages.policies.base import ACTION_DIM, Observation, Policy, token_logprob
from stages.policies.loading import load_policy, save_policy, weights_digest
from stages.policies.mini import PROPRIO
from stages.policies.precision import logprob_tolerance

TEXTS = ["open the drawer", "pick up the butter and place it in the basket", "turn on the stove", "pick up the milk"]
"""of several lengths, as a batch of several tasks has them"""
TEMPERATURE = 0.7
Acted = tuple[np.ndarray, np.ndarray, np.ndarray]


def check_policy(policy: Policy) -> float:
    """Put a policy to the test on queries made up of noise.

    Returns:
        How far at most a log-prob that learning computes, all queries in one batch, is from the recorded one; further
        than an update allows (`logprob_tolerance`) it is refused.

    Raises:
        UserError: the first promise that it breaks.
    """
    trial = _Trial(policy)
    trial.check_shapes()
    trial.check_rows()
    trial.check_actions()
    gap = trial.check_learning()
    trial.check_files()
    return gap


class _Trial:
    """A policy, the queries, and what it answered to them."""

    def __init__(self, policy: Policy) -> None:
        rng, spec, count = np.random.default_rng(0), policy.spec, len(TEXTS)
        self.policy, self.spec = policy, spec
        self.hold(spec.proprio == PROPRIO, f"spec.proprio is {spec.proprio}; LIBERO gives {PROPRIO} values")
        images = {name: rng.integers(0, 256, (count, side, side, 3), np.uint8) for name, side in spec.cameras.items()}
        self.observation = Observation(images, rng.normal(size=(count, PROPRIO)).astype(np.float32))
        self.noise = rng.random((count, spec.tokens))
        self.acted = self.act(policy, np.arange(count))

    def hold(self, fact: bool, otherwise: str) -> None:
        if not fact:
            raise UserError(f"{type(self.policy).__name__}: {otherwise}")

    def act(self, policy: Policy, rows: np.ndarray) -> Acted:
        return policy.act(self.observation.rows(rows), [TEXTS[i] for i in rows], TEMPERATURE, self.noise[rows])

    def check_shapes(self) -> None:
        tokens, logprob, actions = self.acted
        count, spec = len(TEXTS), self.spec
        self.typed("tokens of act", tokens, (count, spec.tokens), np.int16)
        self.typed("logprob of act", logprob, (count, spec.tokens), np.float32)
        self.typed("actions of act", actions, (count, spec.chunk, ACTION_DIM), np.float32)
        self.hold(0 <= tokens.min() <= tokens.max() < spec.bins, f"its tokens leave 0-{spec.bins - 1}; mend act")
        self.hold(-np.inf < logprob.min() <= logprob.max() <= 0, "its log-probs are infinite or above 0; mend act")
        self.hold(np.abs(actions).max() <= 1, "its actions leave [-1, 1]; mend decode_tokens")

    def typed(self, name: str, array: np.ndarray, shape: tuple[int, ...], dtype: type) -> None:
        found, wanted = f"{array.shape} {array.dtype}", f"{shape} {np.dtype(dtype)}"
        self.hold(found == wanted, f"{name} is {found}; make it {wanted}, as its spec says")

    def check_rows(self) -> None:
        order = np.arange(len(TEXTS))[::-2]
        same = _equal([array[order] for array in self.acted], self.act(self.policy, order))
        self.hold(same, "a row of act changes with the others, or by chance; leave out dropout and batch statistics")

    def check_actions(self) -> None:
        tokens, _, actions = self.acted
        encoded = self.policy.encode_actions(actions)
        self.typed("what encode_actions gives", encoded, tokens.shape, np.int16)
        same = _equal([self.policy.decode_tokens(encoded)], [actions])
        self.hold(same, "decode_tokens(encode_actions(a)) is not a for an action a of its own; mend either")

    def check_learning(self) -> float:
        tokens, recorded, _ = self.acted
        logits = self.policy.module(**self.policy.inputs(self.observation, TEXTS))
        wanted = (*tokens.shape, self.spec.bins)
        self.hold(logits.shape == wanted, f"module gives logits {tuple(logits.shape)}; make them {wanted}")
        self.hold(logits.requires_grad, "its logits have no gradient; leave some parameter trainable")
        logprob, _ = token_logprob(logits.detach().cpu(), torch.from_numpy(tokens.astype(np.int64)), TEMPERATURE)
        gap = float(np.abs(logprob.numpy() - recorded).max())
        allowed = logprob_tolerance(self.policy.module)
        self.hold(gap <= allowed, f"in a batch log-probs are {gap:.2g} off the recorded ones; mend inputs or module")
        return gap

    def check_files(self) -> None:
        device = next(self.policy.module.parameters()).device
        with TemporaryDirectory() as root:
            first, second = Path(root) / "first", Path(root) / "second"
            first.mkdir()
            second.mkdir()
            save_policy(self.policy, first)
            loaded = load_policy(first, device)
            save_policy(loaded, second)
            same = weights_digest(first) == weights_digest(second)
        self.hold(same and loaded.spec == self.spec, "saved and loaded, its spec or files change; mend save or load")
        same = _equal(self.act(loaded, np.arange(len(TEXTS))), self.acted)
        self.hold(same, "saved and loaded, it acts otherwise; save all that decides its actions")


def _equal(some: Acted | list[np.ndarray], others: Acted | list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))
