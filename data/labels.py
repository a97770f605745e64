"""Labels: what a stage writes goes beside what it wrote with other settings, never over it."""

import re
from collections.abc import Mapping
from typing import Any

from data.errors import UserError
from data.lineage import digest
from data.store import RolloutStore


def choose_label(store: RolloutStore, stage: str, asked: str | None, name: str, content: Mapping[str, Any]) -> str:
    """Where in `store` a stage writes what is described by `content`, a part of the label's attributes.

    Returns:
        `asked`; without it NAME, or NAME-<6 hex digits of the content> where NAME holds something else.

    Raises:
        UserError: `asked` is no plain name, or holds something else.
    """
    label = asked or name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", label):
        raise UserError(f"label '{label}' is not a plain name; use letters, digits, '.', '_' and '-'")
    present = store.label_attrs(stage, label)
    if present is None or all(present.get(key) == value for key, value in content.items()):
        return label
    if asked:
        raise UserError(f"{stage} label '{label}' of {store.path} holds other settings; choose another --label")
    return f"{name}-{digest(content)[:6]}"
