"""`config.json` of a policy folder."""

from pathlib import Path

from data.checkpoint import read_json
from data.errors import UserError
from data.runs import is_run


def read_config(folder: Path) -> dict:
    """The content of `config.json` of a policy folder, which names its model type.

    Raises:
        UserError: the folder or the file is missing, or it is not a JSON object with `model_type`.
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
    config = read_json(file)
    if "model_type" not in config:
        raise UserError(f"{file} has no model_type, so it is no policy; `srpo sft STORE --out DIR` makes one")
    return config
