"""Inside eval, too, a room imports itself and the rooms before it only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_architecture import PACKAGE, imported

ORDER = ("metrics", "suites", "embedders", "systems", "benchmark", "reports", "codec")
FILES = sorted((PACKAGE / "eval").glob("*/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_of_eval_import_to_the_left_only(path: Path) -> None:
    room = path.parent.name
    assert room in ORDER, f"{room} is a new room; give it a place in ORDER"
    for name in imported(path):
        parts = name.split(".")
        if parts[:2] == ["openvmas", "eval"] and len(parts) > 2:
            assert ORDER.index(parts[2]) <= ORDER.index(room), f"{room} may not import {name}"
