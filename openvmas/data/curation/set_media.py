"""The media that the records of a finished set were made of, where they still lie.

A set holds features and codes, not media. Where its sources lay is kept in its work folder, so that whoever wants to
watch a record again (`eval run SET/test`) finds the file.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from openvmas.data.curation.recipe import Recipe
from openvmas.data.curation.record import Record
from openvmas.data.curation.record_media import copy_member
from openvmas.data.sources.fetch import fetched_file
from openvmas.data.sources.records import find_place, is_address
from openvmas.files import atomic_path, write_text

NAME = "sources.json"  # in the work folder: name of each source and its root, relative to the set


def keep_places(recipe: Recipe, output: Path) -> None:
    """Write down where the sources of a build lie."""
    roots = {source.name: find_place(source, recipe.folder).root.absolute() for source in recipe.sources}
    found = {name: os.path.relpath(root, output.absolute()) for name, root in roots.items()}
    write_text(output / "work" / NAME, json.dumps(found, indent=1, sort_keys=True) + "\n")


def find_media(folder: Path, record: Record) -> Path | None:
    """The file of a record of the set in `folder`; None where it is gone. A member of a tar is unpacked once."""
    work, uri = folder / "work", record.origin.uri
    if is_address(uri):
        return fetched_file(work / "media", uri)
    try:
        roots = json.loads((work / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # of a set from before 0.6, or whose work folder was deleted
        return None
    if record.origin.source not in roots:
        return None
    root = folder / roots[record.origin.source]
    archive, mark, member = uri.partition("!")
    if not (mark and "tar.offset" in record.facts):
        return root / uri if (root / uri).is_file() else None
    if not (root / archive).is_file():
        return None
    target = work / "unpacked" / f"{record.id}{Path(member).suffix}"
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as hidden:
            copy_member(root / archive, member, record, hidden)
    return target
