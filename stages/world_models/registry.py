"""World models by name, by folder, by file or by Hub id."""

import re
from importlib import import_module
from pathlib import Path

from data.errors import UserError, unknown
from data.hub import lasting_name
from stages.world_models.base import EncoderOptions, WorldModel

WORLD_MODELS = {"efficientnet-lite0": "efficientnet", "pixels": "pixels"}
"""Name -> the module of this package whose `load(name, options)` makes it. Folders and Hub ids: see `module_of`."""
OWN = "mini"
"""The one that `srpo pretrain` made in a run; `stages.encode` knows its folder."""


def load_world_model(name: str, options: EncoderOptions | None = None) -> WorldModel:
    """The world model called `name`, or saved in a folder (config.json), a `.pt` file of V-JEPA 2, or on the Hub.

    Raises:
        UserError: no such world model, options that it cannot take, weights that do not fit.
    """
    options = options or EncoderOptions()
    for what, value in (("frames", options.frames), ("size", options.size)):
        if value is not None and value < 1:
            raise UserError(f"{what} of {name} must be at least 1, not {value}")
    module = import_module(f"stages.world_models.{module_of(name)}")
    model: WorldModel = module.load(name, options)
    return model


def module_of(name: str) -> str:
    """The module that loads `name`.

    Raises:
        UserError: neither a known name nor a folder, file or Hub id.
    """
    if name in WORLD_MODELS:
        return WORLD_MODELS[name]
    path = Path(name)
    if path.suffix in (".pt", ".pth"):
        if not path.is_file():
            raise UserError(f"there is no file {path}; give the path of a .pt file of V-JEPA 2")
        return "vjepa2"
    if path.is_dir() or name.count("/") == 1:
        from stages.world_models.hub import config_of

        return "vjepa2" if config_of(name).get("model_type") == "vjepa2" else "transformers_models"
    raise UserError(
        f"{unknown('world model', name, (*WORLD_MODELS, OWN))}, a folder, a .pt file or owner/name on the Hub"
    )


def check_world_model(name: str, options: EncoderOptions | None = None) -> None:
    """Find out whether there is such a world model; with options, whether it loads so.

    Raises:
        UserError: as `module_of` or `load_world_model`.
    """
    if name == OWN:
        return
    if options:
        load_world_model(name, options)
    else:
        module_of(name)


def lasting_world_model(name: str) -> str:
    """What `name` is called wherever one stands: the absolute path of a folder or file, other names as they are."""
    return name if name in (*WORLD_MODELS, OWN) else lasting_name(name)


def label_of(name: str) -> str:
    """The label that embeddings by `name` go under: the last part of a path or Hub id, as a plain name."""
    stem = Path(name).name.removesuffix(".pt").removesuffix(".pth")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-") or "embedding"
