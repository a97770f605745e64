"""The HTML of a report: one page that needs nothing but itself. Every text given here is escaped."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light; --ink: #1f2933; --soft: #5f6c7b; --line: #e3e8ee; --blue: #2f6690; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f7f9; color: var(--ink); font: 15px/1.55 system-ui, sans-serif; }
main { max-width: 1020px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 28px; font-weight: 650; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; font-weight: 650; margin: 0 0 2px; }
h3 { font-size: 14px; font-weight: 650; margin: 18px 0 6px; }
p { margin: 0 0 12px; color: var(--soft); max-width: 76ch; }
header { margin: 0 0 22px; }
header + header, section + header { margin-top: 56px; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 22px 24px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 14px 18px; }
.card b { display: block; font-size: 24px; font-weight: 650; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: 13px; }
figure { margin: 10px 0 4px; }
figure svg, figure img { width: 100%; height: auto; display: block; border-radius: 4px; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--soft); border-bottom: 1px solid var(--line); padding: 6px 10px; }
td { border-bottom: 1px solid #f0f3f6; padding: 6px 10px; vertical-align: top; overflow-wrap: break-word; }
.number { text-align: right; white-space: nowrap; }
details summary { cursor: pointer; color: var(--blue); margin: 10px 0; }
footer { color: var(--soft); font-size: 13px; margin-top: 28px; }
"""
NUMBER = ' class="number"'


def page(title: str, parts: Iterable[str], footer: str) -> str:
    """The whole document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><main>\n{chr(10).join(parts)}\n"
        f"<footer>{escape(footer)}</footer></main></body></html>\n"
    )


def header(title: str, lead: str) -> str:
    """A part of the report: a run or a store."""
    return f"<header><h1>{escape(title)}</h1>{paragraph(lead)}</header>"


def section(title: str, lead: str, *parts: str) -> str:
    """A titled box with a sentence on how to read it."""
    return f"<section><h2>{escape(title)}</h2>{paragraph(lead)}{''.join(parts)}</section>"


def paragraph(text: str) -> str:
    """A paragraph; nothing for an empty text."""
    return f"<p>{escape(text)}</p>" if text else ""


def cards(items: Iterable[tuple[str, str, str]]) -> str:
    """Key figures: (what, value, note)."""
    boxes = [
        f'<div class="card"><span>{escape(what)}</span><b>{escape(value)}</b><span>{escape(note)}</span></div>'
        for what, value, note in items
    ]
    return f'<div class="cards">{"".join(boxes)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Sequence[int] = ()) -> str:
    """A table; the columns whose positions are in `numbers` are set to the right."""

    def cells(tag: str, values: Sequence[object]) -> str:
        parts = [
            f"<{tag}{NUMBER if i in numbers else ''}>{escape(str(value))}</{tag}>" for i, value in enumerate(values)
        ]
        return f"<tr>{''.join(parts)}</tr>"

    body = "".join(cells("td", row) for row in rows)
    return f'<div class="scroll"><table><thead>{cells("th", columns)}</thead><tbody>{body}</tbody></table></div>'


def chart(svg: str) -> str:
    """An SVG drawing as it is."""
    return f"<figure>{svg}</figure>"


def picture(png: bytes, caption: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode()
    return f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">{_caption(caption)}</figure>'


def heading(text: str) -> str:
    """A small heading within a section."""
    return f"<h3>{escape(text)}</h3>"


def folded(title: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""
