"""A policy to measure, from its folder or with random weights, once its weights are known to fit the memory."""

import math
from pathlib import Path

import torch

from data.errors import UserError
from stages.bench.policy.random_weights import fill, outline
from stages.bench.policy.settings import PolicyBenchSettings
from stages.bench.policy.subjects import NEED, OpenVLASubject, Subject, WholeSubject
from stages.plan.machine import free_bytes
from stages.policies.adapted import base_of
from stages.policies.adapters import need_peft
from stages.policies.config import read_config
from stages.policies.loading import load_policy
from stages.policies.openvla_oft import OpenVLAPolicy
from stages.policies.openvla_oft.released import settings_of
from stages.policies.openvla_oft.weights import WeightFiles
from stages.policies.source import policy_folder

BYTES = {"bf16": 2, "fp32": 4}
REAL = "openvla-oft"
ROOM = 1.1
"""times the weights: what is surely enough to act with"""


def open_subject(policy: str | Path | None, settings: PolicyBenchSettings, device: torch.device) -> Subject:
    """What is measured, on `device`.

    Args:
        policy: folder or Hub id; none: random weights.

    Raises:
        UserError: no policy, weights larger than the free memory, no peft where it is needed, a number of images that
            the policy does not see, a folder and a size.
    """
    if policy is None:
        return _random(settings, device)
    if settings.size is not None:
        raise UserError(f"give a policy ({policy}) or --size, not both: a size is that of random weights")
    folder = policy_folder(policy)
    config = read_config(folder)
    if base_of(folder, config) is not None:
        raise UserError(f"{folder} holds adapters alone; measure the policy they belong to, or fold them: `srpo merge`")
    if config.get("model_type") != OpenVLAPolicy.model_type:
        return _whole(folder, settings, device)
    if settings.lora:
        need_peft(NEED)
    check_room(_stored(folder), device)
    loaded = load_policy(folder, device)
    assert isinstance(loaded, OpenVLAPolicy)
    return OpenVLASubject(loaded.module, (loaded.settings.images,))


def check_room(needed: float, device: torch.device, hint: str = "") -> None:
    """Refuse weights of `needed` bytes that do not fit what is free on `device`.

    Raises:
        UserError: with what would do, `hint` at its end.
    """
    free = free_bytes(device)
    if needed <= free:
        return
    others = [torch.device("cuda", i) for i in range(torch.cuda.device_count())] + [torch.device("cpu")]
    roomy = [other for other in others if other != device and free_bytes(other) > ROOM * needed]
    would = [f"--device {other} has {free_bytes(other) / 1e9:.0f} GB free" for other in roomy[:1]]
    would = would or [f"a GPU with {math.ceil(ROOM * needed / 1e9)} GB free would do"]
    told = f"{needed / 1e9:.1f} GB of weights do not fit the {free / 1e9:.1f} GB free on {device}"
    raise UserError(f"{told}; {would[0]}{hint}")


def _random(settings: PolicyBenchSettings, device: torch.device) -> Subject:
    if settings.lora:
        need_peft(NEED)
    size = settings.size or REAL
    network = outline(size)
    needed = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    check_room(needed, device, ", or take --size tiny")
    fill(network, device)
    return OpenVLASubject(network, (1, 2))


def _whole(folder: Path, settings: PolicyBenchSettings, device: torch.device) -> Subject:
    subject = WholeSubject(load_policy(folder, device))
    if settings.images not in (None, subject.images):
        raise UserError(f"{folder} sees {subject.images[0]} images, no other number; leave --images out")
    return subject


def _stored(folder: Path) -> float:
    """Bytes of a checkpoint's weights, in the precision that its config.json asks for."""
    precision = settings_of(read_config(folder), folder).precision
    if precision == "files":
        return float(sum(file.stat().st_size for file in folder.glob("model*.safetensors")))
    return float(BYTES[precision] * sum(math.prod(shape) for shape in WeightFiles(folder).shapes.values()))
