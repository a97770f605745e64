"""`srpo settings`: every setting of a run, what it means and what a preset makes of it."""

from typing import Annotated

import typer

from srpo_cli.console import emit, out
from srpo_cli.options import Assign, Json


def command(
    preset: Annotated[str, typer.Argument(help="laptop, quick, openvla or a TOML file.")] = "laptop",
    section: Annotated[
        str | None, typer.Option(help="One section: task, demo, sft, collect, reward, ...", show_default=False)
    ] = None,
    assign: Assign = [],
    json: Json = False,
) -> None:
    """Print every setting of a run with its meaning, type, value and default, as a preset to change and use.

    `srpo loop --set section.key=value` changes one. The stage's own command takes the same without the section, but for
    those marked as a loop's own.

    Example: `srpo settings quick > mine.toml`, then `srpo loop runs/mine --preset mine.toml`

    Example: `srpo settings --section update`
    """
    from data.errors import unknown
    from srpo_cli.tables.settings import as_preset
    from stages.recipe import SECTIONS, load_recipe, task_settings

    if section is not None and section not in (*SECTIONS, "task"):
        raise unknown("section", section, (*SECTIONS, "task"))
    recipe = load_recipe(preset, assign)
    task = task_settings(preset, assign)
    values = recipe.sections() | {"task": task}
    text = as_preset(recipe, task, section)
    emit(
        {section: values[section]} if section else recipe.sections(),
        json,
        lambda _: out.print(text, end="", soft_wrap=True, markup=False),
    )
