"""`srpo loop --plan`: what a run will take, against what there is; and the refusal of a run that cannot fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.runs import Run
from stages.demo import check_expert
from stages.plan.disk import Disk, disk_of, free_disk, used_bytes
from stages.plan.live import bytes_of
from stages.plan.machine import GB, Machine, this_machine
from stages.plan.pace import pace
from stages.plan.room import Room, room, smaller
from stages.plan.subject import count, planned_policy
from stages.policies.base import Policy
from stages.recipe import Recipe

RANK = 32
"""of the adapters that are proposed where training all weights takes too much; OpenVLA-OFT's own"""


def plan_run(folder: str | Path, recipe: Recipe, iterations: int, machine: Machine | None = None) -> dict[str, Any]:
    """What a run takes; nothing is made.

    Args:
        folder: of the run, there or not.
        iterations: in all.
        machine: that the updates would run on, whose disk is not judged unless it is this one; none: this one.

    Returns:
        JSON-able: run, done and iterations; policy: parameters, trained, weights (bytes); memory: device, devices,
        queries (of a micro-batch), parts (bytes by what for), loading (bytes before), peak (the worse one), free, or
        `error` where the step cannot be foreseen; time: see `pace.pace`, or None; disk: images, records (bytes of an
        iteration), start, policy, optimizer, evaluation, demos, total, present, free; problems: a line for each thing
        that does not fit, with what would do.

    Raises:
        UserError: a policy that cannot be had, demonstrations of tasks that the expert does not know, settings that fit
            nothing.
    """
    run, machine = Run(folder), machine or this_machine()
    if not recipe.run.policy and not run.policies():
        check_expert(recipe.demo)
    policy = planned_policy(run, recipe)
    memory, problems = _memory(run, policy, recipe, machine)
    disk, told = _disk(run, recipe, policy, iterations)
    done, every = run.finished(), recipe.eval.every
    weights = bytes_of(policy.module.parameters())
    parameters = {"parameters": count(policy.module), "trained": count(policy.module, trained=True), "weights": weights}
    return {
        "run": str(folder),
        "done": done,
        "iterations": iterations,
        "policy": parameters,
        "memory": {"device": machine.name, "devices": machine.devices, "free": machine.free, **memory},
        "time": pace(run.metrics(), done, iterations, every),
        "disk": disk,
        "problems": problems + (told if machine.here else []),
    }


def check_room(folder: str | Path, recipe: Recipe, iterations: int, machine: Machine) -> None:
    """Refuse a run that does not fit the memory of a machine's device or the disk.

    Raises:
        UserError: with what would do; see `plan_run` for the rest.
    """
    if Run(folder).finished() < iterations and (problems := plan_run(folder, recipe, iterations, machine)["problems"]):
        raise UserError("; ".join(problems))


def _memory(run: Run, policy: Policy, recipe: Recipe, machine: Machine) -> tuple[dict[str, Any], list[str]]:
    try:
        needed = room(policy, recipe, machine)
    except UserError:
        raise
    except Exception as error:  # a network of someone else's may do what tensors without values cannot
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}, []
    found = {"queries": needed.queries, "parts": needed.parts, "loading": needed.loading, "peak": needed.peak}
    return found, [] if needed.peak <= machine.free else [_too_large(run, policy, recipe, machine, needed)]


def _too_large(run: Run, policy: Policy, recipe: Recipe, machine: Machine, needed: Room) -> str:
    told = f"an update takes {needed.peak / GB:.3g} GB, {machine.free / GB:.3g} GB are free on {machine.name}"
    if less := smaller(policy, recipe, machine, needed):
        where = "in another run, from this one's last policy, " if run.policies() else ""
        return f"{told}: {where}update.microbatch={less.queries} would do ({less.peak / GB:.3g} GB)"
    if recipe.update.lora_rank is None and not run.policies():
        adapted = replace(recipe, update=replace(recipe.update, lora_rank=RANK))
        less = room(planned_policy(run, adapted), adapted, machine)
        if less.peak <= machine.free:
            return f"{told}: update.lora_rank={RANK} would do ({less.peak / GB:.3g} GB)"
    return f"{told}: take a device with {needed.peak / GB:.3g} GB free"


def _disk(run: Run, recipe: Recipe, policy: Policy, iterations: int) -> tuple[dict[str, Any], list[str]]:
    module, spec = policy.module, policy.spec
    whole, trained = bytes_of(module.parameters()), bytes_of(p for p in module.parameters() if p.requires_grad)
    saved = whole if policy.adapters is None else trained
    disk = disk_of(run, recipe, (whole, saved, 2 * trained), spec.chunk, spec.cameras)
    total = disk.total(iterations, recipe.run, recipe.eval)
    present, free = used_bytes(run.folder), free_disk(run.folder)
    found = {**vars(disk), "total": total, "present": present, "free": free}
    if total - present <= free:
        return found, []
    told = f"{iterations} iterations take {(total - present) / GB:.3g} GB more, {free / GB:.3g} GB are free on the disk"
    return found, [f"{told} of {run.folder}: {_mend(disk, recipe, iterations, present + free, bool(present))}"]


def _mend(disk: Disk, recipe: Recipe, iterations: int, most: float, begun: bool) -> str:
    """The settings, which a run that has begun cannot change, or the number of iterations that a disk has room for."""
    policies: dict[str, Any] = {"keep_policies": max(iterations, 1)}
    images: dict[str, Any] = {"keep_images": 1}
    for changes in () if begun else (policies, images, policies | images):
        total = disk.total(iterations, replace(recipe.run, **changes), recipe.eval)
        if total <= most:
            settings = " and ".join(f"run.{key}={value}" for key, value in changes.items())
            return f"{settings} would do ({total / GB:.3g} GB)"
    fits = [n for n in range(1, iterations) if disk.total(n, recipe.run, recipe.eval) <= most]
    return f"--iterations {fits[-1]} fits" if fits else "make room, or choose another disk"
