"""Where a policy's files are: in a folder, or in a repository of the Hub (`owner/name`, `owner/name@revision`)."""

from fnmatch import fnmatch
from pathlib import Path

from data.checkpoint import RECORD
from data.hub import fetch, file_names, is_hub_id

DECIDING = ("*.json", "*.safetensors", "*.pt")
"""what a policy is read from, and told apart by"""
KEPT = (*DECIDING, "*.model", "*.txt", "*.py", "*.jinja", "README*", "LICENSE*")
"""what goes where it goes; code among it is for other tools: srpo copies it and never runs it"""
APART = (RECORD, "trainer*")
"""its record and an optimizer's state"""


def policy_folder(name: str | Path) -> Path:
    """A folder as it is, there or not; a Hub id's files in the local cache, fetched if need be.

    Raises:
        UserError: the files cannot be had, or their names show before they are fetched that srpo cannot train them.
    """
    if not is_hub_id(str(name)):
        return Path(name)
    from stages.policies.openvla_oft.released import check_head

    names = file_names(str(name))
    check_head(str(name), names)
    return fetch(str(name), [file for file in names if file == RECORD or _matches(file, KEPT)])


def policy_files(folder: Path, patterns: tuple[str, ...] = KEPT) -> list[Path]:
    """The files of a policy's folder, in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.is_file() and _matches(file.name, patterns))


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file at the top of the folder is meant."""
    apart = "/" in name or any(fnmatch(name, pattern) for pattern in APART)
    return not apart and any(fnmatch(name, pattern) for pattern in patterns)
