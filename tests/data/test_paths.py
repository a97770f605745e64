"""Removing a store: under another name first, and what an interrupted removal left."""

from pathlib import Path

from data.paths import bury


def test_bury(tmp_path: Path) -> None:
    store, grave = tmp_path / "000.zarr", tmp_path / "000.zarr.packed"
    for folder in (store, grave):
        (folder / "step").mkdir(parents=True)
        (folder / "zarr.json").write_text("{}")
    bury(store)
    assert not any(tmp_path.iterdir())
    (grave / "step").mkdir(parents=True)
    bury(store)
    assert not any(tmp_path.iterdir())
