"""Settings: types as TOML has them, unknown keys refused with the nearest name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from data.errors import UserError, unknown
from data.settings import build, load_preset, parse_assignments, preset_names


@dataclass(frozen=True)
class Example:
    lr: float = 1e-3
    epochs: int = 2
    shuffle: bool = True
    name: str = "a"
    loss: Literal["token", "episode"] = "token"
    limit: float | None = None
    betas: tuple[float, ...] = (0.9, 0.99)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("lr=3e-4", "lr", 3e-4),
        ("epochs=4", "epochs", 4),
        ("shuffle=false", "shuffle", False),
        ("name=lr", "name", "lr"),
        ("loss=episode", "loss", "episode"),
        ("limit=0.1", "limit", 0.1),
        ("limit=none", "limit", None),
        ("betas=0.8, 0.95", "betas", (0.8, 0.95)),
    ],
)
def test_set_reads_texts(text: str, key: str, value: object) -> None:
    changed = build(Example, parse_assignments([text]))
    assert getattr(changed, key) == value
    assert type(getattr(changed, key)) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epocs=4", "did you mean 'epochs'"),
        ("epochs=1.5", "takes int"),
        ("epochs=two", "takes int"),
        ("lr=fast", "takes float"),
        ("shuffle=1", "takes bool"),
        ("loss=batch", "'token' | 'episode'"),
        ("lr", "key=value"),
        ("=3", "key=value"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        build(Example, parse_assignments([text]))
    assert message in str(raised.value)


def test_values_from_toml_keep_their_types() -> None:
    made = build(Example, {"lr": 1, "betas": [0.5, 0.6], "epochs": 3})
    assert made == Example(lr=1.0, betas=(0.5, 0.6), epochs=3)
    with pytest.raises(UserError, match="takes int"):
        build(Example, {"epochs": True})


def test_unknown_names_tell_the_nearest() -> None:
    assert "did you mean 'libero_object'?" in str(unknown("suite", "libero_objct", ["libero_goal", "libero_object"]))
    assert "did you mean" not in str(unknown("suite", "zzz", ["libero_goal"]))


def test_every_preset_is_a_table_of_sections() -> None:
    assert {"laptop", "quick"} <= set(preset_names())
    for name in preset_names():
        assert all(isinstance(section, dict) for section in load_preset(name).values())


def test_missing_and_broken_presets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'laptop'"):
        load_preset("laptp")
    with pytest.raises(UserError, match="no preset file"):
        load_preset(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("[collect\n")
    with pytest.raises(UserError, match="not valid TOML"):
        load_preset(str(broken))


def test_a_setting_above_all_sections(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 3\n[task]\ntasks = '2'\n")
    with pytest.raises(UserError, match=r"mine.toml: seed = 3 stands above all sections; put it below its \[section\]"):
        load_preset(str(file))


def test_assignments() -> None:
    assert parse_assignments(["a=1", "b = x=y"]) == {"a": "1", "b": "x=y"}
