"""Which class a policy's `model_type` means: one of srpo's own, or one that another package brings.

Another package says so by an entry point of the group `srpo.policies`: its name is the model type, its value
`package.module:Class` (docs/policies.md).
"""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from data.errors import UserError, unknown

GROUP = "srpo.policies"
CLASSES = {
    "srpo_mini": ("stages.policies.mini", "MiniPolicy"),
    "openvla": ("stages.policies.openvla_oft", "OpenVLAPolicy"),
}
"""model_type of `config.json` -> where its class is, imported when one is loaded"""
T = TypeVar("T")


def policy_class(kind: str, where: str, protocol: type[T]) -> type[T]:
    """The class of a model type; srpo's own come first.

    Args:
        where: the model type was read, for the error.
        protocol: `stages.policies.base.Policy`, which the class must be a subclass of.

    Raises:
        UserError: nobody brings that model type; or see `load_foreign`.
    """
    if kind in CLASSES:
        module, name = CLASSES[kind]
        own: type[T] = getattr(import_module(module), name)
        return own
    entries = foreign()
    for entry in entries:
        if entry.name == kind:
            return load_foreign(entry, protocol)
    raise unknown(f"model_type in {where}", kind, {*CLASSES, *(entry.name for entry in entries)})


def foreign() -> list[EntryPoint]:
    """What other packages bring, by model type; nothing is imported."""
    return sorted(entry_points(group=GROUP), key=lambda entry: entry.name)


def load_foreign(entry: EntryPoint, protocol: type[T]) -> type[T]:
    """The class that another package brings.

    Raises:
        UserError: srpo or a second package brings the same model type, the class cannot be imported, is no subclass of
            `protocol`, or lacks a method of it.
    """
    said = f"policy '{entry.name}' of {origin(entry)}"
    if entry.name in CLASSES:
        raise UserError(f"{said} has the name of one of srpo's own, which is taken instead; rename it")
    rivals = [origin(other) for other in foreign() if other.name == entry.name]
    if len(rivals) > 1:
        raise UserError(f"policy '{entry.name}' is brought by {' and '.join(rivals)}; uninstall all but one")
    try:
        found = entry.load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{said} does not import ({reason}); mend {entry.value} or uninstall it") from error
    if not (isinstance(found, type) and issubclass(found, protocol)):
        raise UserError(f"{said} is no subclass of {protocol.__module__}.{protocol.__name__}; make {entry.value} one")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise UserError(f"{said} lacks {', '.join(missing)}; add to {entry.value} what docs/policies.md asks for")
    return found


def origin(entry: EntryPoint) -> str:
    """Name and version of the distribution that an entry point belongs to."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
