"""A package from elsewhere, made visible as an installation does: its modules and a dist-info folder on the path."""

import shutil
import tomllib
from pathlib import Path

EXAMPLE = Path(__file__).parent / "elsewhere"


def install(site: Path, name: str, points: dict[str, str]) -> None:
    """Declare the entry points of a distribution NAME 0.1 in the folder `site`."""
    folder = site / f"{name.replace('-', '_')}-0.1.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = "".join(f"{kind} = {value}\n" for kind, value in points.items())
    (folder / "entry_points.txt").write_text(f"[srpo.policies]\n{lines}")


def install_example(site: Path) -> None:
    """The example of docs/policies.md, as its pyproject.toml says."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    install(site, project["name"], project["entry-points"]["srpo.policies"])
    shutil.copy(EXAMPLE / "pooled_policy.py", site)
