"""A user's notes on a take: whether it is a favourite, and a few words."""

from __future__ import annotations

import json
from typing import Any

from openvmas.files import write_text
from openvmas.studio.storage.folders import TakeFolder

DEFAULTS: dict[str, Any] = {"favourite": False, "note": ""}


class TakeRemarks:
    """The remarks on one take, in a file of its folder."""

    def __init__(self, folder: TakeFolder) -> None:
        self._path = folder.path.parent / "remarks.json"  # of the take, not of one attempt

    def read(self) -> dict[str, Any]:
        """All remarks."""
        try:
            return DEFAULTS | json.loads(self._path.read_text(encoding="utf-8"))
        except OSError:
            return dict(DEFAULTS)

    def change(self, changes: dict[str, Any]) -> None:
        """Replace some of them."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self._path, json.dumps(self.read() | changes))
