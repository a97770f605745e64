"""`srpo bench policy`: acting, the health of its ratios, and learning, each figure on its own."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from data.watching import Tick
from stages.bench.policy.acting import act, ratio
from stages.bench.policy.learning import learn
from stages.bench.policy.opening import open_subject
from stages.bench.policy.settings import PolicyBenchSettings
from stages.bench.policy.subjects import OpenVLASubject, Subject
from stages.bench.policy.timing import measured, now
from stages.world_models.preparing import device_of

LEGEND = {
    "ms_query": "milliseconds of the network a query, images prepared before; interval: 95 %, null below six samples",
    "tokens_s": "action tokens a second",
    "peak_gb": "the most GPU memory, weights included, in GB of 1e9 bytes; null on a CPU",
    "ratio": "|ratio - 1| of sampled tokens, the same queries computed `batch` and `other` at a time; 0 is best",
    "update": "an optimizer step on 8 episodes x 15 queries: clipped surrogate, adapters f32 in TF32 products",
}


def bench_policy(policy: str | Path | None, settings: PolicyBenchSettings, tick: Tick | None = None) -> dict[str, Any]:
    """Measure everything; what fails (memory, a kernel) is a row with `error` instead of figures.

    Args:
        policy: folder or Hub id; none: OpenVLA-OFT with random weights.
        settings: what and how often.
        tick: told of every measurement done.

    Returns:
        JSON-able: policy, size, machine; network: parameters, parts (of each), dtype, weights_gb, seconds (to build or
        load); act: rows of batch, images and what `acting.act` returns; ratio: rows of images, batch, other and what
        `acting.ratio` returns; learner: what (is trained), parameters, tensors; update: rows of images, micro,
        checkpointing and what `learning.learn` returns; legend. Rows, and learner, have peak_gb or error.

    Raises:
        UserError: see `opening.open_subject`; no such device.
    """
    device = torch.device(device_of(settings.device))
    start = now(device)
    subject = open_subject(policy, settings, device)
    bench = _Bench(subject, settings, tick)
    result: dict[str, Any] = {
        "policy": policy and str(policy),
        "size": None if policy else settings.size or "openvla-oft",
        "machine": _machine(device),
        "network": _network(subject) | {"seconds": now(device) - start},
        "act": list(bench.acting()),
        "ratio": list(bench.ratios()),
    }
    if settings.lora:
        result |= bench.learning()
    return result | {"legend": LEGEND}


class _Bench:
    """The parts of a run, whose measurements are counted together."""

    def __init__(self, subject: Subject, settings: PolicyBenchSettings, tick: Tick | None) -> None:
        self._subject, self._settings, self._tick = subject, settings, tick
        self._images = settings.images or subject.images
        self._sizes = sorted(set(settings.batches), reverse=True)
        self._updates = [(m, on) for m in settings.micro for on in subject.checkpointing] if settings.lora else []
        self._done = 0
        self._total = len(self._images) * len(settings.batches) + len(self._sizes)
        self._total += len(self._updates) + bool(self._updates)

    def acting(self) -> Iterator[dict[str, Any]]:
        """Every number of images with every batch."""
        for images in self._images:
            for batch in self._settings.batches:
                call = partial(act, self._subject, batch, images, self._settings.repeats)
                yield self._row({"batch": batch, "images": images}, call)

    def ratios(self) -> Iterator[dict[str, Any]]:
        """The largest batch against each of them, itself included."""
        images, most = self._images[0], self._sizes[0]
        for other in self._sizes:
            about = {"images": images, "batch": most, "other": other}
            yield self._row(about, partial(ratio, self._subject, images, most, other))

    def learning(self) -> dict[str, Any]:
        """The keys learner and update."""
        trained: dict[str, nn.Parameter] = {}
        learner = self._row({}, partial(self._learner, trained))
        rows = []
        for micro, again in self._updates if trained else ():
            about = {"images": self._images[0], "micro": micro, "checkpointing": again}
            rows.append(self._row(about, partial(learn, self._subject, trained, self._images[0], micro, again)))
        return {"learner": learner, "update": rows}

    def _learner(self, trained: dict[str, nn.Parameter]) -> dict[str, Any]:
        trained |= self._subject.trainable(self._settings.lora)
        adapters = f"LoRA adapters of rank {self._settings.lora} on the language model"
        return {
            "what": adapters if isinstance(self._subject, OpenVLASubject) else "all weights",
            "parameters": sum(parameter.numel() for parameter in trained.values()),
            "tensors": len(trained),
        }

    def _row(self, about: dict[str, Any], call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        row = measured(about, call, self._subject.device)
        self._done += 1
        if self._tick:
            self._tick(self._done, self._total, ", ".join(f"{key} {value}" for key, value in about.items()))
        return row


def _machine(device: torch.device) -> dict[str, Any]:
    found = {"torch": torch.__version__, "transformers": transformers.__version__, "device": str(device)}
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 1e9
        return found | {"name": torch.cuda.get_device_name(device), "memory_gb": memory}
    threads = torch.get_num_threads()
    return found | {"name": f"CPU, {threads} thread{'s' * (threads > 1)}"}


def _network(subject: Subject) -> dict[str, Any]:
    weights = list(subject.module.parameters())
    parts = {name: sum(p.numel() for p in part.parameters()) for name, part in subject.module.named_children()}
    return {
        "parameters": sum(p.numel() for p in weights),
        "parts": parts,
        "dtype": str(weights[0].dtype).removeprefix("torch."),
        "weights_gb": sum(p.numel() * p.element_size() for p in weights) / 1e9,
    }
