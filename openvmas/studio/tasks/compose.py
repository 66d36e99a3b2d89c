"""In a worker: the music of one take, written block by block so that it can be heard while it is being made."""

from __future__ import annotations

import collections
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.deliver import plain
from openvmas.generate.piece import Composer, Notes, Piece
from openvmas.generate.scorer import Scorer, fit_length
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan, read_plan
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder
from openvmas.studio.storage.take_sound import SoundWriter
from openvmas.timeline import Clock
from openvmas.vision.analysis import VideoAnalysis

GENERATE = tuple(item.name for item in fields(GenerateOptions))
INPAINTING_SHARE = 0.9  # of the work of a redo that goes into the new part, before the first block


@dataclass(frozen=True)
class TakeRequest:
    """A take to be composed: its row and folder. earlier: files of the take that it starts from."""

    kind: str
    row: dict[str, Any]
    folder: TakeFolder
    earlier: TakeFolder | None


def compose(scorer: Scorer, part: TakeRequest, project: ProjectFolder, tell: Callable[[float], None]) -> dict[str, Any]:
    """Write the music of a take.

    Returns the composer's report as `composed`, and the `seconds` to the condition, to the first block, and in all.
    """
    began = time.perf_counter()
    seconds: dict[str, float] = {}

    def note(name: str) -> None:
        seconds.setdefault(name, round(time.perf_counter() - began, 3))

    def on_block(done: float) -> None:
        note("first_block")
        tell(done)

    plan = read_plan(part.row["plan"])
    part.folder.path.mkdir(parents=True, exist_ok=True)
    if part.kind == "mix":
        assert part.earlier is not None
        report = json.loads(part.earlier.report.read_text(encoding="utf-8"))["composer"]
        keep(part.earlier, part.folder)
    else:
        condition = build_condition(plan, VideoAnalysis.load(project.analysis))
        note("condition")
        piece = fit_length(begin(scorer.composer, part, condition, plan, tell), plan)
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(plan.duration)
        begun = INPAINTING_SHARE if part.earlier else 0.0
        write(piece, part.folder, n_samples, on_block, begun)
        if piece.codes is not None:
            np.save(part.folder.codes, piece.codes)
        if piece.notes is not None:
            write_notes(piece.notes, part.folder)
        report = piece.report
    note("compose")
    return {"composed": plain(report), "seconds": seconds}


def begin(
    composer: Composer, part: TakeRequest, condition: Condition, plan: ScorePlan, tell: Callable[[float], None]
) -> Piece:
    """A piece that is all new, or an earlier take with some parts written anew, one after the other."""
    chosen = {name: value for name, value in json.loads(part.row["options"]).items() if name in GENERATE}
    options = GenerateOptions(**{**chosen, "seed": part.row["seed"]})
    if part.earlier is None:
        return composer.compose(condition, plan, options)
    codes = np.load(part.earlier.codes) if part.earlier.codes.exists() else None
    written = json.loads(part.row["part"])
    spans = written.get("spans") or [(written["start"], written["end"])]
    piece, seams = Piece(), []
    for index, (first, last) in enumerate(spans):
        start, end = (round(time * float(condition.rate)) for time in (first, last))

        def told(done: float, index: int = index) -> None:
            tell(INPAINTING_SHARE * (index + done) / len(spans))

        piece = composer.inpaint(codes, start, min(end, condition.n_steps), condition, plan, options, progress=told)
        seams += piece.report.get("seams", [])
        if index + 1 < len(spans):
            collections.deque(piece, maxlen=0)  # its codes are complete when its sound is
            codes = piece.codes
    piece.report |= {"seams": seams} if seams else {}
    return piece


def write_notes(notes: Notes, folder: TakeFolder) -> None:
    """Write MIDI and a ZIP of the parts one by one; samples hardly get smaller, so nothing is compressed."""
    notes.save_midi(folder.midi)
    with tempfile.TemporaryDirectory(dir=folder.path) as stems, zipfile.ZipFile(folder.stems, "w") as archive:
        notes.save_stems(Path(stems))
        for path in sorted(Path(stems).iterdir()):
            archive.write(path, path.name)


def write(
    blocks: Iterable[np.ndarray], folder: TakeFolder, n_samples: int, tell: Callable[[float], None], begun: float
) -> None:
    """Append the blocks to the take's files; `tell` is called with the share that is done, from `begun` on."""
    writer = SoundWriter(folder.wave, folder.peaks, folder.loudness)
    try:
        for block in blocks:
            writer.write(block)
            tell(begun + (1 - begun) * writer.n_samples / n_samples)
    finally:
        writer.close()


def keep(earlier: TakeFolder, folder: TakeFolder) -> None:
    """Link the same music into another take, without copying it."""
    for name in ("wave", "peaks", "loudness", "codes", "midi", "stems"):
        source, target = getattr(earlier, name), getattr(folder, name)
        if source.exists():
            target.unlink(missing_ok=True)
            os.link(source, target)
