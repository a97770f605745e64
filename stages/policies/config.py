"""`config.json` of a policy folder."""

import json
from pathlib import Path

from data.errors import UserError
from data.runs import is_run


def read_config(folder: Path) -> dict:
    """The content of `config.json` of a policy folder.

    Raises:
        UserError: the folder or the file is missing, or it is not a JSON object.
    """
    file = folder / "config.json"
    if not folder.is_dir():
        raise UserError(
            f"no policy folder {folder}; `srpo sft STORE --out {folder}` makes one, owner/name is on the Hub"
        )
    if is_run(folder):
        raise UserError(f"{folder} is a run, no policy; give one of {folder}/policies")
    if not file.is_file():
        raise UserError(f"{folder} holds no config.json, so it is no policy; `srpo sft STORE --out DIR` makes one")
    return read_json(file)


def read_json(file: Path) -> dict:
    """A JSON object from a file that exists.

    Raises:
        UserError: it is not one.
    """
    try:
        found = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{file} must hold a JSON object, not a {type(found).__name__}")
    return found
