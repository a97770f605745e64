"""Where a policy's files are: in a folder, or in a repository of the Hub (`owner/name`, `owner/name@revision`)."""

from pathlib import Path

from data.hub import fetch, is_hub_id

SMALL = ("*.json", "*.pt")
FILES = (*SMALL, "model*.safetensors")
"""What policies are read from; neither code nor an optimizer's state."""


def policy_folder(name: str | Path) -> Path:
    """A folder as it is, there or not; a Hub id's files in the local cache, fetched if need be.

    Raises:
        UserError: the files cannot be had, or show before the weights are fetched that srpo cannot train them.
    """
    if not is_hub_id(str(name)):
        return Path(name)
    from stages.policies.openvla_oft.released import check_head

    check_head(fetch(str(name), SMALL))
    return fetch(str(name), FILES)
