"""Files that a command writes: hidden until all are whole. Heavy modules are imported when they are used."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openvmas.generate.outputs import Outputs


@contextlib.contextmanager
def result_of(source: str, target: Path, overwrite: bool) -> Iterator[Path]:
    """Checks the target, then gives a hidden file to write; renames it at the end. Raises OutputError."""
    from openvmas.files import explain_write_errors
    from openvmas.generate.outputs import Outputs

    with Outputs(source, overwrite) as outputs, explain_write_errors(target.parent):
        yield outputs.reserve(target)
        outputs.commit()


def reserve(outputs: Outputs, json_path: str | None, markdown: str | None) -> dict[str, Path]:
    """The hidden files to write to. Raises OutputError."""
    asked = (("json", json_path, "--json"), ("page", markdown, "--markdown"))
    return {kind: outputs.reserve(path, option) for kind, path, option in asked if path}


def write(targets: dict[str, Path], page: str, data: dict[str, Any], table: str = "") -> None:
    """The page, the figures and another page with the table into the reserved files. Raises OutputError."""
    from openvmas.files import explain_write_errors

    texts = {"page": page, "json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "table": table}
    for kind, hidden in targets.items():
        with explain_write_errors(hidden.parent):
            hidden.write_text(texts[kind], encoding="utf-8")
