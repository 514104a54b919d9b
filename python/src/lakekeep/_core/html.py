"""Tables for notebooks. Everything in them is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_CELL = "padding:2px 8px;text-align:left;vertical-align:top"


def table(title: str, rows: Iterable[tuple[str, str]], good: bool = True) -> str:
    """A titled table of names and values; `good` colours its edge."""
    colour = "#2e7d32" if good else "#c62828"
    body = "".join(
        f'<tr><th style="{_CELL}">{escape(name)}</th>'
        f'<td style="{_CELL};white-space:pre-wrap">{escape(value)}</td></tr>'
        for name, value in rows
        if value
    )
    return (
        f'<div style="border-left:4px solid {colour};padding-left:8px">'
        f"<strong>{escape(title)}</strong><table>{body}</table></div>"
    )


def bytes_text(count: int) -> str:
    """A size for people."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
