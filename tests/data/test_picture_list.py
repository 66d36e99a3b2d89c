"""The list of the montage corpus's pictures: each named once with a licence that allows it, held-out ones in place."""

from __future__ import annotations

import csv
import hashlib
import re
from pathlib import Path

LIST = Path(__file__).resolve().parents[2] / "docs" / "montage-pictures.csv"
FREE = re.compile(r"(?:L?GPL-[23]|CC0|CC-BY(?:-SA)?-[234]|BSD-3|Apache-2|Expat|public[- ]domain)")
OLD = 124  # pictures of the first list


def rows() -> list[dict[str, str]]:
    with LIST.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_named_once_with_a_free_licence():
    found = rows()
    paths = [row["path"] for row in found]
    assert len(set(paths)) == len(paths) >= 500
    assert all(re.fullmatch(r"[a-z][\w.+-]*/[^\\]+\.(jpg|png|webp)", path) and ".." not in path for path in paths)
    assert [row for row in found if not FREE.match(row["licence"]) or re.search("-N[CD]", row["licence"])] == []


def test_pictures_once_held_out_stay_held_out():
    """A picture's place decides its side (every fifth is held out), so the old ones may not move."""
    paths = [row["path"] for row in rows()]
    old = "\n".join(paths[:OLD])
    assert hashlib.sha256(old.encode()).hexdigest()[:16] == "f0a7ce11a1a93aa2"
    assert paths[OLD:] == sorted(paths[OLD:])
