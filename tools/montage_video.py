"""Montages as real video files: the editor renders the plan, the track's sound under it, the truth beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from video_editor import Edit, label_takes

from openvmas.data.montage.editor import Montage
from openvmas.errors import OutputError


def render(
    montage: Montage, media: Path, sound: np.ndarray, sample_rate: int, path: Path,
    size: tuple[int, int] = (480, 270), overwrite: bool = False,
) -> None:  # fmt: skip
    """Write an mp4 and `NAME.truth.json`.

    media: the folder that the bank's paths are below. sound: [C, L] float32, the span of the track. The files are
    written beside their places and renamed when whole. Raises OutputError if the target exists already.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; remove it, name another file or ask for overwriting.")
    takes = [replace(take, path=str(media / take.path)) for take in montage.takes]
    edit = Edit(takes, montage.fps, size, seed=len(takes))
    part = path.with_name(path.stem + ".part.mp4")
    n_samples = round(edit.labels.duration * sample_rate)
    padded = np.pad(sound[:, :n_samples], ((0, 0), (0, max(n_samples - sound.shape[1], 0))))
    try:
        edit.write(part, sound=np.ascontiguousarray(padded, np.float32), sample_rate=sample_rate)
        text = json.dumps(to_json(montage), indent=1, sort_keys=True) + "\n"
        part.with_suffix(".truth.json").write_text(text, encoding="utf-8")
        part.with_suffix(".truth.json").replace(path.with_suffix(".truth.json"))
        part.replace(path)
    finally:
        for left in (part, part.with_suffix(".truth.json")):
            left.unlink(missing_ok=True)


def to_json(montage: Montage) -> dict[str, object]:
    """JSON of a montage: labels of the picture, the anchor of each event, track, style and pictures."""
    placed = [
        {k: _rounded(v) for k, v in asdict(event).items() if not (isinstance(v, float) and math.isnan(v))}
        for event in montage.placed
    ]
    truth = {k: _rounded(v) for k, v in asdict(label_takes(montage.takes, montage.fps)).items()}
    return truth | {
        "song": montage.music,
        "start": round(montage.start, 3),
        "end": round(montage.end, 3),
        "style": montage.style,
        "match": round(montage.match, 3),
        "pictures": sorted({take.path for take in montage.takes}),
        "placed": placed,
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(float(value), 4)
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
