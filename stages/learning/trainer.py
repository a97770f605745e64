"""The policy-gradient step under Accelerate: epochs of minibatches over one batch, and its optimizer's memory on disk.

Every process takes its share of each minibatch; a minibatch's loss is one weighted mean over all executed tokens in it,
whatever the number of processes and the size of the micro-batches it is computed in. Where an Accelerate config asks
for FSDP, the processes share weights, gradients and the optimizer's memory out as well: see `stages.learning.sharding`.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor

from data.errors import UserError
from data.watching import Tick
from stages.learning.activations import FRUGAL, Activations, activations_of
from stages.learning.adapting import become
from stages.learning.algorithms import ALGORITHMS
from stages.learning.averaging import token_weights
from stages.learning.batch import Batch
from stages.learning.checkpoints import Checkpoints, Halfway
from stages.learning.objectives import KL_ESTIMATORS, k3, masked_sum, probability_ratio
from stages.learning.optimizer import STATE_FILE, learning_rate, make_optimizer, optimizer_state, restore_optimizer
from stages.learning.settings import TrainerSettings
from stages.learning.sharding import gathered, shard, sharding_asked, state_dict_of, whole_of
from stages.policies.base import ACTION_DIM, Policy, log_probabilities, token_logprob
from stages.policies.loading import save_policy
from stages.policies.precision import full_precision, logprob_tolerance


class Trainer:
    """Trains `policy.module` in place; its optimizer goes on where `state` (a policy folder) left off."""

    def __init__(
        self,
        policy: Policy,
        settings: TrainerSettings,
        state: Path | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """
        Args:
            policy: once its weights are shared out among processes it can do nothing but be trained and saved.
            checkpoints: to go on from (weights, optimizer, and how far it was), and to make.

        Raises:
            UserError: the trainer state in `state` belongs to another network; mixed precision in fp16; see `sharding`.
        """
        self.policy, self.settings, self.checkpoints = policy, settings, checkpoints
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        if self.accelerator.mixed_precision not in ("no", "bf16"):
            raise UserError(f"mixed_precision is no or bf16, not {self.accelerator.mixed_precision}: mend the config")
        self.so_far, state = self._last(state)
        self.sharding, device = sharding_asked(), self.accelerator.device
        if self.sharding:
            shard(policy.module, policy.blocks(), self.sharding, device, self.accelerator.mixed_precision)
        self.names = [name for name, parameter in policy.module.named_parameters() if parameter.requires_grad]
        parameters = [parameter for parameter in policy.module.parameters() if parameter.requires_grad]
        self.module, self.optimizer = policy.module, make_optimizer(parameters, settings)
        if state is not None and (state / STATE_FILE).is_file():
            restore_optimizer(self.optimizer, self.names, state / STATE_FILE)
        if not self.sharding:
            self.module, self.optimizer = self.accelerator.prepare(self.module, self.optimizer)

    @full_precision()
    def fit(self, batch: Batch, temperature: float, seed: int, progress: Tick | None = None) -> dict[str, float]:
        """Run all epochs over `batch`, or fewer with `max_kl`; nothing is changed if the first minibatch is refused.

        Args:
            temperature: that of the rollouts. seed: >= 0, decides the minibatches.

        Returns:
            The health set: token means over all minibatches stepped on, `samples_per_second` in queries.

        Raises:
            UserError: recorded log-probs that this policy does not reproduce, or a loss that is not finite.
        """
        s, start = self.settings, time.monotonic()
        so_far, self.so_far = self.so_far, Halfway()
        before, stopped = so_far.totals.get("queries", 0.0), False
        weight = token_weights(batch.mask, batch.episode, s.average)
        minibatches = list(_minibatches(len(batch), s.minibatch, s.epochs, seed))
        for name, rows in minibatches[len(so_far.norms) :]:
            with activations_of(self.policy.module, self.policy.blocks(), self._activations()):
                sums = self._gradient(batch, rows, weight, temperature, name)
            if not so_far.norms:
                so_far.first = self._check(sums)
            elif s.max_kl is not None and _mean(sums, "kl") > s.max_kl:
                stopped = True
                break
            so_far.norms.append(self._step(name))
            so_far.totals = {key: so_far.totals.get(key, 0.0) + value for key, value in sums.items()}
            if self.checkpoints and self.checkpoints.due(so_far):
                fill = self.saver()
                if self.accelerator.is_main_process:
                    self.checkpoints.save(fill, so_far)
            if progress:
                progress(len(so_far.norms), len(minibatches), f"KL {_mean(so_far.totals, 'kl'):.4f}")
        self.accelerator.unwrap_model(self.module, keep_fp32_wrapper=False)  # rollouts are not in mixed precision
        return _health(so_far.totals, so_far.norms, batch) | {
            **so_far.first,
            "stopped_early": float(stopped),
            "samples_per_second": (so_far.totals["queries"] - before) / (time.monotonic() - start),
        }

    def _last(self, state: Path | None) -> tuple[Halfway, Path | None]:
        """How far the last checkpoint was, whose weights the policy gets, and its folder; the start and `state`, if
        there is none."""
        found = self.checkpoints.last() if self.checkpoints else None
        if not found:
            return Halfway(), state
        folder, so_far = found
        become(self.policy, folder)
        return so_far, folder

    def saver(self) -> Callable[[Path], None]:
        """What writes the policy and the optimizer's state into an existing folder, in the first process; every process
        must ask for it, because each may hold a part."""
        first, wanted = self.accelerator.is_main_process, self.policy.module.state_dict()
        if self.policy.adapters is not None:
            wanted = {name: wanted[name] for name in self.names}
        weights = gathered(wanted, first) if self.sharding else {}
        state = gathered(optimizer_state(self.optimizer, self.names), first)

        def fill(folder: Path) -> None:
            with state_dict_of(self.policy.module, weights):
                save_policy(self.policy, folder)
            save_file(state, folder / STATE_FILE, metadata={"format": "pt"})

        return fill

    def _activations(self) -> Activations:
        """The more frugal of what the settings and an Accelerate config with FSDP say."""
        asked: Activations = "keep"
        if self.sharding and self.sharding.activation_checkpointing:
            more = getattr(self.sharding, "activation_checkpointing_offload", False)  # since Accelerate 1.15
            asked = "offload" if more else "recompute"
        return max(self.settings.activations, asked, key=FRUGAL.index)

    def _gradient(
        self, batch: Batch, rows: np.ndarray, weight: np.ndarray, temperature: float, name: str
    ) -> dict[str, float]:
        """Accumulate one minibatch's gradient; returns sums over its executed tokens, all processes together."""
        tokens = float(batch.mask[rows].sum())
        whole = float((weight[rows] * batch.mask[rows].sum(1)).sum())
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        share = rows[rank::world]
        most = -(-len(rows) // world)  # so that all processes take as many, and gather weights together
        micros = np.array_split(share, -(-most // self.settings.microbatch))
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        for i, micro in enumerate(micros):
            sync = i + 1 == len(micros) or self.sharding is not None  # which else kept gradients whole till the last
            with nullcontext() if sync else self.accelerator.no_sync(self.module):
                part = self._forward(batch, micro if len(micro) else rows[:1], weight, temperature, bool(len(micro)))
                self.accelerator.backward(part["loss"] * world / whole)
            for key, value in part.items():
                value = value.detach().double()
                merge = torch.maximum if key.startswith("max_") else torch.add
                sums[key] = merge(sums[key], value) if key in sums else value
        gathered = {key: self.accelerator.gather(value.reshape(1)) for key, value in sums.items()}
        result = {k: float(v.max() if k.startswith("max_") else v.sum()) for k, v in gathered.items()}
        if not np.isfinite(result["loss"]):
            raise UserError(f"the loss is {result['loss']} at {name}; nothing was saved: lower --set lr or grad_norm")
        return result | {"weight": whole, "tokens": tokens, "queries": float(len(rows))}

    def _forward(
        self, batch: Batch, rows: np.ndarray, weight: np.ndarray, temperature: float, counts: bool
    ) -> dict[str, Tensor]:
        """Sums over the executed tokens of `rows`; all zero (but with a gradient) unless `counts`."""
        s = self.settings
        tokens, old = self._tensor(batch.tokens[rows].astype(np.int64)), self._tensor(batch.logprob[rows])
        mask, advantage = self._tensor(batch.mask[rows] & counts), self._tensor(batch.advantage[rows, None])
        inputs = self.policy.inputs(batch.observation.rows(rows), [batch.instructions[i] for i in rows])
        logits = self.module(**inputs)
        new, entropy = token_logprob(logits, tokens, temperature)
        loss, clipped = ALGORITHMS[s.algorithm].loss(new, old, advantage, s)
        watched = {"kl": k3(old, new), "clipped": clipped.float(), "entropy": entropy}
        if batch.reference is not None:
            here = log_probabilities(logits, temperature) if s.kl_estimator == "exact" else new
            watched["reference_kl"] = KL_ESTIMATORS[s.kl_estimator](here, self._tensor(batch.reference[rows]))
            loss = loss + s.kl_coef * watched["reference_kl"]
        if s.entropy_coef:
            loss = loss - s.entropy_coef * entropy
        with torch.no_grad():
            gap = torch.where(mask, new - old, 0).abs()
            ratio = torch.where(mask, probability_ratio(new, old) - 1, 0).abs()
            gripper = masked_sum(entropy[:, ACTION_DIM - 1 :: ACTION_DIM], mask[:, ACTION_DIM - 1 :: ACTION_DIM])
        return {
            "loss": masked_sum(loss * self._tensor(weight[rows, None].astype(np.float32)), mask),
            **{name: masked_sum(value.detach(), mask) for name, value in watched.items()},
            "gripper_entropy": gripper * ACTION_DIM,
            "max_gap": gap.max(),
            "max_ratio": ratio.max(),
        }

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.accelerator.device)

    def _check(self, sums: dict[str, float]) -> dict[str, float]:
        """How well recorded log-probs are reproduced before the first step: the largest gap, and of a ratio from 1."""
        allowed = self.settings.max_logprob_gap or logprob_tolerance(self.module, self.accelerator.mixed_precision)
        if sums["max_gap"] > allowed:
            raise UserError(
                f"recomputed log-probs differ from the recorded ones by up to {sums['max_gap']:.2g}; the rollouts were "
                "collected with another policy or another srpo: collect again with this policy"
            )
        return {"first_ratio_deviation": sums["max_ratio"], "first_logprob_gap": sums["max_gap"]}

    def _step(self, name: str) -> float:
        """Clip the gradient and step; returns its norm before clipping."""
        norm = float(whole_of(self.accelerator.clip_grad_norm_(self.module.parameters(), self.settings.grad_norm)))
        if not np.isfinite(norm):
            raise UserError(f"the gradient is {norm} at {name}; nothing was saved: lower --set lr or grad_norm")
        if self.settings.lr_half:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, self._taken())
        self.optimizer.step()
        return norm

    def _taken(self) -> int:
        """Optimizer steps so far, those of earlier updates included."""
        state: dict[str, Any] = next(iter(self.optimizer.state.values()), {})
        return int(state.get("step", 0))


def _minibatches(queries: int, size: int, epochs: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Every epoch's permutation of range(queries), cut in parts of `size`, each with its name."""
    rng = np.random.default_rng(seed)
    count = -(-queries // size)
    for epoch in range(epochs):
        order = rng.permutation(queries)
        for k in range(count):
            yield f"minibatch {k + 1} of {count} in epoch {epoch + 1}", order[k * size : (k + 1) * size]


def _health(totals: dict[str, float], norms: list[float], batch: Batch) -> dict[str, float]:
    reference = {"reference_kl": _mean(totals, "reference_kl")} if "reference_kl" in totals else {}
    return {
        "loss": totals["loss"] / totals["weight"],
        "approx_kl": _mean(totals, "kl"),
        **reference,
        "clip_fraction": _mean(totals, "clipped"),
        "entropy": _mean(totals, "entropy"),
        "gripper_entropy": _mean(totals, "gripper_entropy"),
        "advantage_mean": float(batch.advantage.mean()),
        "advantage_std": float(batch.advantage.std()),
        "grad_norm": float(np.mean(norms)),
        "optimizer_steps": float(len(norms)),
    }


def _mean(totals: dict[str, float], key: str) -> float:
    return totals[key] / totals["tokens"]
