"""How work tells its progress: what a stage calls, whoever shows it."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

Tick = Callable[..., None]
"""`tick(done, total, note)`, the note a short text that may be left out"""
Watch = Callable[[str, str], AbstractContextManager[Tick]]
"""`with watch(title, unit) as tick`: shows the progress of one part of something longer"""
Tell = Callable[[dict[str, Any]], None]
"""called with what a part came to: a stage of a loop as it stands in metrics.jsonl, a policy's evaluation, ..."""
