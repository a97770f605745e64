"""Content decides: equal content, equal digest; any change, another."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data.lineage import digest, digest_files


@dataclass(frozen=True)
class Point:
    x: float = 1.0


def test_equal_content_equal_digest() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(np.arange(3)) == digest(np.array([0, 1, 2]))
    assert digest(Point()) == digest({"x": 1.0})
    assert digest(np.float64(1.5)) == digest(1.5)
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.arange(6).reshape(2, 3).T.copy())


@pytest.mark.parametrize(
    "other",
    [(np.arange(3, dtype=np.int32),), (np.arange(3)[:, None],), (np.arange(4),), (np.arange(3), 0), (b"012",)],
)
def test_other_content_other_digest(other: tuple) -> None:
    assert digest(*other) != digest(np.arange(3))


def test_parts_do_not_run_together() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_what_has_no_content_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        digest(object())


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("2")
    files = [tmp_path / "a", tmp_path / "b"]
    first = digest_files(files)
    assert digest_files(files[::-1]) == first
    (tmp_path / "b").write_text("3")
    assert digest_files(files) != first
