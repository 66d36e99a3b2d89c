"""The table of all reported measures (`measures.toml`): title, unit, better side, digits and group of each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measure:
    """Presentation of a figure. better: "higher", "lower" or "" where neither is. digits: after the point."""

    title: str
    unit: str = ""
    better: str = ""
    digits: int = 2
    group: str = ""

    @property
    def sign(self) -> int:
        """1 where higher is better, -1 where lower is, 0 where neither is."""
        return {"higher": 1, "lower": -1, "": 0}[self.better]


MEASURES: dict[str, Measure] = {
    name: Measure(**fields)
    for name, fields in tomllib.loads(Path(__file__).with_name("measures.toml").read_text(encoding="utf-8")).items()
}


def base(name: str) -> str:
    """The measure of a figure: a value that depends on an embedder is called MEASURE:EMBEDDER."""
    return name.partition(":")[0]


def in_order(names: Iterable[str]) -> list[str]:
    """The names that are in MEASURES, in its order; values by several embedders stand together."""
    order = {name: i for i, name in enumerate(MEASURES)}
    return sorted((name for name in names if base(name) in order), key=lambda name: (order[base(name)], name))
