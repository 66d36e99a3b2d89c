"""Figures of reports: in types that JSON has, and in Markdown tables that read well in a terminal too."""

from __future__ import annotations

import functools
import math
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import openvmas

if TYPE_CHECKING:  # intervals need SciPy, reports of videos do not
    from openvmas.eval.metrics.statistics import Interval


def plain(value: Any, form: str = ".6g") -> Any:
    """The value with dataclasses as objects, arrays as lists, and NaN or infinities as None.

    form: to which numbers are rounded: ".6g" for 6 significant digits, ".4f" for 4 places.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), form)
    if isinstance(value, Mapping):
        return {str(key): plain(item, form) for key, item in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item, form) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:{form}}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


@functools.cache
def version_text() -> str:
    """The version that makes a page, with the commit where it runs from a checkout: two of one version may differ."""
    root = Path(openvmas.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return openvmas.__version__
    try:
        asked = ["git", "-C", str(root), "describe", "--always", "--dirty"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return openvmas.__version__
    commit = found.stdout.strip()
    return f"{openvmas.__version__} ({commit})" if found.returncode == 0 and commit else openvmas.__version__


def number(value: float, digits: int) -> str:
    """A figure for a table; empty where nothing can be said. Never "-0.00"."""
    if not math.isfinite(value):
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def span(interval: Interval, digits: int) -> str:
    """Limits of an interval, empty where there are none."""
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return ""
    return f"{number(interval.low, digits)} to {number(interval.high, digits)}"


def interval_cells(interval: Interval, digits: int) -> list[str]:
    """A figure and its limits."""
    return [number(interval.value, digits), span(interval, digits)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of even width, the first aligned left, the others right."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
        ]
        return "| " + " | ".join(parts) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])
