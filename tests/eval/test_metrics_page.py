"""docs/eval/metrics.md says of every measure what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from openvmas.eval.metrics import diversity, retrieval
from openvmas.eval.metrics.measure_table import MEASURES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "eval" / "metrics.md"


def rows() -> dict[str, tuple[str, str]]:
    """Unit and better direction on the page, by name."""
    found: dict[str, tuple[str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            names, unit, better, says = (cell.strip() for cell in line.strip("|").split("|"))
            assert says
            found |= dict.fromkeys(re.findall(r"`(\w+)`", names), (unit, better))
    return found


def test_every_measure_stands_on_the_page_with_its_unit_and_direction() -> None:
    page = rows()
    assert {name: page.get(name) for name in MEASURES} == {n: (m.unit, m.better) for n, m in MEASURES.items()}


def test_the_page_names_nothing_else() -> None:
    assert set(rows()) == set(MEASURES)


def test_every_measure_of_sets_seeds_tags_and_similarities_has_a_row() -> None:
    found = diversity.evaluate(np.eye(3), np.eye(3)) | diversity.evaluate_seeds(np.ones((2, 2, 2)))
    assert {*found, *retrieval.evaluate(np.eye(3)), *retrieval.evaluate_tags(np.eye(3), np.eye(3))} <= set(MEASURES)
