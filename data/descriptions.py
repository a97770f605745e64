"""What the fields of a settings class mean: the docstrings below them, read from its source."""

import ast
import inspect
import textwrap
from dataclasses import is_dataclass


def descriptions(cls: type) -> dict[str, str]:
    """Field -> its docstring on one line, inherited fields first; fields without one are left out."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if is_dataclass(base):
            found |= _own(base)
    return found


def _own(cls: type) -> dict[str, str]:
    statement = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(statement, ast.ClassDef)
    found = {}
    for field, below in zip(statement.body, statement.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found
