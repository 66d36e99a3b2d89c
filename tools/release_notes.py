"""Print the section of CHANGELOG.md for a tag: `python tools/release_notes.py v0.2.0`.

The version is written once, in `openvmas/__init__.py`, so that an archive, a clone without tags and a container all
build the same version. A tag only says it again: exit code 2 where tag, code and CHANGELOG.md do not agree.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def version() -> str:
    """The version that the code bears."""
    found = re.search(r'^__version__ = "(.+)"$', (ROOT / "openvmas/__init__.py").read_text(encoding="utf-8"), re.M)
    assert found is not None
    return found[1]


def notes(tag: str, changes: str, code: str) -> str:
    """The text below the heading of a tag's version. Raises ValueError where tag, code and changes differ."""
    if tag != f"v{code}":
        raise ValueError(
            f"the tag {tag} does not say the version of the code, {code}; tag v{code}, or change the code."
        )
    found = re.search(rf"^## {re.escape(code)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changes, re.M | re.S)
    if found is None or not found[1].strip():
        raise ValueError(f"CHANGELOG.md has no section {code} with a date and lines; write it from Unreleased.")
    return found[1].strip() + "\n"


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python tools/release_notes.py TAG", file=sys.stderr)
        return 2
    try:
        print(notes(sys.argv[1], (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), version()), end="")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
