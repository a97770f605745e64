"""Content hashes: what decides that a result is up to date, instead of file times."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np


def digest(*parts: Any) -> str:
    """A 16-digit hex sha256 of the content of `parts`.

    A part is a numpy array (dtype, shape and bytes count), bytes, a path's text, a dataclass, or anything JSON knows;
    mappings are hashed independently of their order.
    """
    state = hashlib.sha256()
    for part in parts:
        state.update(_content(part))
        state.update(b"\0")
    return state.hexdigest()[:16]


def digest_files(paths: Iterable[Path]) -> str:
    """A 16-digit hex sha256 over the names and bytes of files, in the order of their names."""
    state = hashlib.sha256()
    for path in sorted(paths, key=lambda p: p.name):
        state.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    return state.hexdigest()[:16]


def _content(part: Any) -> bytes:
    if isinstance(part, bytes):
        return part
    if isinstance(part, np.ndarray):
        return f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()
    return json.dumps(part, sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot hash a {type(value).__name__}")
