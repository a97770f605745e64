"""Settings: frozen dataclasses filled from presets and `--set key=value`, where an unknown key is an error."""

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from data.errors import UserError, unknown

T = TypeVar("T")
PRESETS = Path(__file__).parent / "presets"


NOT_CONTENT = {"workers", "slots", "watchdog", "skip_errors", "preflight", "save_every", "activations"}
"""Settings of any stage that change how work goes, not what it comes to: free to change when it goes on."""


def build(cls: type[T], values: Mapping[str, Any], where: str = "settings") -> T:
    """Fill the dataclass `cls` from `values`; what `values` leaves out keeps its default.

    Raises:
        UserError: a key that `cls` does not have (with the nearest name), a value of the wrong type, or one that the
            class's own `__post_init__` refuses.
    """
    hints = typing.get_type_hints(cls)
    known = [f.name for f in fields(cls)]  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise unknown(f"setting of {where}", key, known)
    return cls(**{key: convert(value, hints[key], f"{where}.{key}") for key, value in values.items()})


def from_options(cls: type[T], options: Mapping[str, Any], where: str, defaults: Mapping[str, Any] | None = None) -> T:
    """Fill `cls` from the options of a command (its `locals()`): those that are its settings, then `assign` (`--set`).
    What they leave out comes from `defaults`.

    Raises:
        UserError: as `build` and `parse_assignments`.
    """
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    given = {name: value for name, value in options.items() if name in known}
    return build(cls, {**(defaults or {}), **given, **parse_assignments(options["assign"])}, where)


def content(settings: Any) -> dict[str, Any]:
    """The settings of a dataclass that decide what comes out, by name."""
    return {key: value for key, value in dataclasses.asdict(settings).items() if key not in NOT_CONTENT}


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`["lr=1e-4", ...]` as a dictionary of texts.

    Raises:
        UserError: a text without `=`.
    """
    pairs = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set takes key=value, not '{text}'")
        pairs[key.strip()] = value.strip()
    return pairs


def load_preset(name: str) -> dict[str, dict[str, Any]]:
    """The sections of a preset: one of those in `data/presets` by name, or a TOML file by path.

    Raises:
        UserError: no such preset, or a file that is not TOML.
    """
    path = Path(name) if name.endswith(".toml") else PRESETS / f"{name}.toml"
    if not path.is_file():
        if name.endswith(".toml"):
            raise UserError(f"no preset file {path}; `srpo settings > {path.name}` writes one to change")
        raise unknown("preset", name, preset_names())
    return read_sections(path)


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """Settings by section, from a TOML file.

    Raises:
        UserError: a file that is not TOML, or a setting outside any section.
    """
    try:
        sections = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    for name, values in sections.items():
        if not isinstance(values, dict):
            raise UserError(f"{path}: {name} = {values!r} stands above all sections; put it below its [section]")
    return sections


def preset_names() -> list[str]:
    """The presets that come with srpo."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; texts are read the way TOML reads them, so that `--set` and presets agree.

    Raises:
        UserError: the value does not fit.
    """
    for option in typing.get_args(hint) if _is_union(hint) else (hint,):
        try:
            return _as(value, option)
        except (TypeError, ValueError):
            continue
    raise UserError(f"{where} takes {type_name(hint)}, not {value!r}")


def _as(value: Any, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if hint is type(None):
        if value is None or value in ("", "none"):
            return None
        raise ValueError
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        raise ValueError
    if origin in (tuple, list):
        items = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        inner = typing.get_args(hint)[0]
        return origin(_as(item, inner) for item in items)
    if hint is bool:
        return _as_bool(value)
    if hint is int and (isinstance(value, bool) or (isinstance(value, float) and not value.is_integer())):
        raise ValueError
    if hint in (int, float) and isinstance(value, str | int | float) and not isinstance(value, bool):
        return hint(value)
    if hint is str and isinstance(value, str):
        return value
    if origin is dict and isinstance(value, Mapping):
        key_hint, item_hint = typing.get_args(hint)
        return {_as(k, key_hint): _as(v, item_hint) for k, v in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, hint):  # type: ignore[arg-type]
        return value
    raise TypeError


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    raise ValueError


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def type_name(hint: Any) -> str:
    """A type as a person writes its values: `int or none`, `'even' | 'hard'`, `float,float,...`."""
    if hint is type(None):
        return "none"
    if _is_union(hint):
        return " or ".join(type_name(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) in (tuple, list):
        inner = type_name(typing.get_args(hint)[0])
        return f"{inner},{inner},..."
    if typing.get_origin(hint) is typing.Literal:
        return " | ".join(repr(option) for option in typing.get_args(hint))
    return getattr(hint, "__name__", str(hint))
