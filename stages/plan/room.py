"""What an update holds in memory on every device, part by part."""

from dataclasses import dataclass

from data.cores import cores
from stages.plan.machine import Machine
from stages.plan.memory import step_memory
from stages.plan.subject import gathered_bytes
from stages.policies.base import Policy
from stages.recipe import Recipe
from stages.sim.tasks import select_tasks

WORKER = 350e6
"""bytes of a simulator process, of the look lite with ten tasks loaded (docs/measured.md)"""


@dataclass(frozen=True)
class Room:
    """Bytes on every device at the worst moment of an update."""

    queries: int
    """of the largest micro-batch"""
    parts: dict[str, float]
    """by what they are for"""
    loading: float
    """before: a policy is loaded whole, and shared out then; with `kl_coef` another one, to keep near to, beside it"""

    @property
    def peak(self) -> float:
        """Their sum, or more before."""
        return max(sum(self.parts.values()), self.loading)


def room(policy: Policy, recipe: Recipe, machine: Machine, microbatch: int | None = None) -> Room:
    """What the update of a recipe takes on a machine.

    Args:
        policy: see `subject.planned_policy`.
        microbatch: instead of the recipe's.
    """
    queries = largest_part(-(-recipe.update.minibatch // machine.devices), microbatch or recipe.update.microbatch)
    tasks = select_tasks(recipe.collect.suite, recipe.collect.tasks)
    kept = recipe.update.activations
    if kept == "offload" and machine.shared:
        kept = "recompute"  # to the same memory
    step = step_memory(policy, queries, [task.instruction for task in tasks], kept)
    whole = {"weights": step.weights, "gradients": step.gradients, "optimizer": step.optimizer}
    parts = {name: value / machine.devices for name, value in whole.items()}
    if machine.devices > 1:
        parts["gathered"] = gathered_bytes(policy)
    parts["activations"] = step.activations
    if machine.shared:
        parts["rollouts"] = _rollouts(recipe, policy, len(tasks))
        parts["simulators"] = (recipe.collect.workers or cores()) * WORKER
    return Room(queries, parts, loading=step.weights * (2 if recipe.update.kl_coef else 1))


def smaller(policy: Policy, recipe: Recipe, machine: Machine, needed: Room) -> Room | None:
    """The update in smaller micro-batches, halved until it fits; none: that alone is not enough."""
    queries = needed.queries // 2 if needed.peak - needed.parts["activations"] < machine.free else 0
    while queries:
        found = room(policy, recipe, machine, queries)
        if found.peak <= machine.free:
            return found
        queries //= 2
    return None


def largest_part(total: int, most: int) -> int:
    """The largest of as few near equal parts of `total` as have no more than `most` each."""
    parts = -(-total // most)
    return -(-total // parts)


def _rollouts(recipe: Recipe, policy: Policy, tasks: int) -> float:
    """The images of an iteration's queries, which an update has in main memory, twice while it puts them together."""
    settings, spec = recipe.collect, policy.spec
    horizon = settings.horizon or select_tasks(settings.suite, settings.tasks)[0].horizon
    episodes = tasks * settings.groups * settings.samples * (1 + settings.refill)
    queries = episodes * -(-horizon // spec.chunk)
    return 2.0 * queries * sum(3 * side * side for side in spec.cameras.values())
