"""The one folder outside a project that srpo writes to: what can be made again (compiled models, jit code)."""

import os
from pathlib import Path

from data.errors import UserError


def cache_dir(*parts: str) -> Path:
    """The user's cache folder for srpo, created on first use.

    `SRPO_CACHE` wins, then `XDG_CACHE_HOME/srpo`, then `~/.cache/srpo`.

    Raises:
        UserError: the folder cannot be created.
    """
    own = os.environ.get("SRPO_CACHE")
    base = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "srpo"
    folder = base.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the cache folder {folder} ({error.strerror}); set SRPO_CACHE") from error
    return folder
