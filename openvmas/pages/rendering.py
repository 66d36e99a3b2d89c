"""HTML pages: the templates of `openvmas/pages/templates`, filled with plain values by Jinja2.

A page runs no script, loads nothing from elsewhere and shows light and dark. Every value is escaped unless a template
made it. Only reports import this module; scoring a video does not load Jinja2.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def clock(seconds: float) -> str:
    """A time as on a clock: 0:07.5, or 1:02:03.0 from an hour on."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    tail = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def length(seconds: float) -> str:
    """A duration with its unit: 12.1 s, or 2:03.4 min."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{clock(seconds)} {'h' if seconds >= 3600 else 'min'}"


def number(value: float | None, form: str, unit: str = "") -> str:
    """A figure with a true minus sign, or a dash for None."""
    return "–" if value is None else f"{value:{form}}{unit}".replace("-", "−")


@functools.cache
def environment() -> Environment:
    """The templates, with escaping on and an error for every name that has no value."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates"), encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"clock": clock, "duration": length, "number": number, "px": "{:.1f}".format}
    return made


def render(template: str, **values: Any) -> str:
    """A whole page as text."""
    return environment().get_template(template).render(**values)


def draw(macro: str, *values: Any) -> str:
    """One macro of charts.html, as text that templates do not escape again (a `Markup`)."""
    return getattr(environment().get_template("charts.html").module, macro)(*values)
