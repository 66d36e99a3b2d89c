"""Write the tables of docs/media.md from what small files keep when they are written; --check only compares.

python tools/media_table.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.media.matrix.table import codec_table, kept_table  # noqa: E402

PAGE = ROOT / "docs" / "media.md"
TABLES = {"kept": kept_table, "codecs": codec_table}


def with_tables(page: str) -> str:
    """The page with each table between its two markers made anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/media_table.py -->", f"<!-- /{name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE} lacks the markers {begin} and {end}; put them where the table belongs")
        page = f"{before}{begin}\n" + "\n".join(make()) + f"\n{end}{after}"
    return page


def main() -> int:
    page = PAGE.read_text(encoding="utf-8")
    wanted = with_tables(page)
    if "--check" in sys.argv:
        return int(page != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
