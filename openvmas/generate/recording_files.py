"""Files that are written beside a video that plays a recording: the edit list of its joins, and whom to thank."""

from __future__ import annotations

import dataclasses

from openvmas.generate.deliver import Hidden, Prepared
from openvmas.generate.piece import Piece
from openvmas.media.edit_list import write_edit


def note_recording(prepared: Prepared, piece: Piece, files: Hidden) -> Prepared:
    """Write the joins of a piece, and its credits where a licence is stated. Raises OutputError.

    Returns what was prepared with the recording in its plan, so that it can be edited and played again.
    """
    assert piece.music is not None
    edit, track = piece.music.seen_from(files.video.parent), piece.report["track"]
    if files.credits is not None and track["licence"]:
        files.credits.write_text(track["attribution"] + "\n", encoding="utf-8", errors="backslashreplace")
    if files.joins is not None:
        write_edit(files.joins, piece.report["parts"], edit.file, 1 / prepared.info.frame_interval)
    return dataclasses.replace(prepared, plan=dataclasses.replace(prepared.plan, music=edit))
