"""Repositories of the Hugging Face Hub, `owner/name` or `owner/name@revision`: their files in the local cache."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from data.errors import UserError

ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
T = TypeVar("T")


def is_hub_id(name: str) -> bool:
    """Whether `name` can only be a repository's: it looks like one, and neither it nor its owner is a folder here."""
    return bool(ID.fullmatch(name)) and not Path(name).exists() and not Path(name.partition("/")[0]).is_dir()


def lasting_name(name: str) -> str:
    """What `name` is called wherever one stands: a folder's absolute path; Hub ids and the empty name as they are."""
    return name if not name or is_hub_id(name) else str(Path(name).resolve())


def fetch(name: str, patterns: Sequence[str]) -> Path:
    """The folder in the cache with a repository's files that match `patterns`, fetched if need be.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import snapshot_download

    repository, revision = split(name)
    return Path(_had(name, lambda: str(snapshot_download(repository, revision=revision, allow_patterns=[*patterns]))))


def file_names(name: str) -> list[str]:
    """The names of a repository's files; where the Hub is out of reach, of those in the cache.

    Raises:
        UserError: neither is to be had.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repository, revision = split(name)
    try:
        info = HfApi().model_info(repository, revision=revision)
        return [file.rfilename for file in info.siblings or []]
    except (HfHubHTTPError, HFValidationError) as error:
        raise _unavailable(name, error) from error
    except Exception:  # no connection: what that raises changes with the client's version
        cached = _had(name, lambda: snapshot_download(repository, revision=revision, local_files_only=True))
        return sorted(str(file.relative_to(cached)) for file in Path(cached).rglob("*") if file.is_file())


def fetch_file(name: str, file: str) -> Path:
    """One file of a repository, in the cache, fetched if need be.

    Raises:
        UserError: it cannot be had.
    """
    from huggingface_hub import hf_hub_download

    repository, revision = split(name)
    return Path(_had(name, lambda: hf_hub_download(repository, file, revision=revision)))


def split(name: str) -> tuple[str, str | None]:
    """`owner/name@revision` -> the repository and the revision, none where it is not said."""
    repository, _, revision = name.partition("@")
    return repository, revision or None


def _had(name: str, get: Callable[[], T]) -> T:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return get()
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise _unavailable(name, error) from error


def _unavailable(name: str, error: Exception) -> UserError:
    why = str(error).strip().splitlines()[0]
    return UserError(
        f"cannot fetch {name} from the Hub ({type(error).__name__}: {why}); give a folder that exists, or log in"
    )
