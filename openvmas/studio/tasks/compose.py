"""In a worker: the music of one take, written block by block so that it can be heard while it is being made."""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.fitting.composer import FittingComposer
from openvmas.generate.deliver import plain
from openvmas.generate.piece import Composer, Notes, Piece
from openvmas.generate.scorer import Scorer, fit_length
from openvmas.media.audio import WavReader, write_wav
from openvmas.planning.conditioning import build_condition
from openvmas.planning.music_edit import MusicEdit
from openvmas.planning.plan_yaml import read_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder, read_speech
from openvmas.studio.storage.take_sound import SoundWriter, n_written, read_wave
from openvmas.studio.tasks.keeping import JOIN, keep_locked
from openvmas.timeline import Clock
from openvmas.vision.analysis import VideoAnalysis

GENERATE = tuple(item.name for item in fields(GenerateOptions))
INPAINTING_SHARE = 0.9  # of the work of a redo that goes into the new part, before the first block


@dataclass(frozen=True)
class TakeRequest:
    """A take to be composed: its row and folder. earlier: files of the take that it starts from.

    arranged: of the kind "arrange", the arguments of `FittingComposer.rearrange`.
    """

    kind: str
    row: dict[str, Any]
    folder: TakeFolder
    earlier: TakeFolder | None
    arranged: dict[str, Any] | None = None


def compose(scorer: Scorer, part: TakeRequest, project: ProjectFolder, tell: Callable[[float], None]) -> dict[str, Any]:
    """Write the music of a take.

    Returns the composer's report as `composed`, the `seconds` to the condition, to the first block, and in all, as
    `changed` the spans of samples that differ from the take before, empty where all may, and as `music` the recording
    that was played, with its joins, or None.
    """
    began = time.perf_counter()
    seconds: dict[str, float] = {}

    def note(name: str) -> None:
        seconds.setdefault(name, round(time.perf_counter() - began, 3))

    def on_block(done: float) -> None:
        note("first_block")
        tell(done)

    plan = read_plan(part.row["plan"])
    changed: list[tuple[int, int]] = []
    music: MusicEdit | None = None
    part.folder.path.mkdir(parents=True, exist_ok=True)
    if part.kind == "mix":
        assert part.earlier is not None
        report = json.loads(part.earlier.report.read_text(encoding="utf-8"))["composer"]
        keep(part.earlier, part.folder)
    else:
        condition = replace(build_condition(plan, VideoAnalysis.load(project.analysis)), speech=read_speech(project))
        note("condition")
        piece, spans = begin(scorer.composer, part, condition, plan, tell)
        n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(plan.duration)
        begun = INPAINTING_SHARE if spans else 0.0
        kept = json.loads(part.row["part"] or "null") or {}
        blocks = lay_in(scorer.composer, piece, part, condition, spans, changed) if spans else None
        if kept.get("kept") and part.earlier is not None:
            piece = keep_locked(piece, part.earlier, kept["kept"], part.folder.path / "new.f32")
        write(fit_length(blocks or piece, plan), part.folder, n_samples, on_block, begun)
        if piece.codes is not None:
            np.save(part.folder.codes, piece.codes)
        if piece.notes is not None:
            write_notes(piece.notes, part, changed)
        report, music = piece.report, piece.music
    note("compose")
    return {"composed": plain(report), "seconds": seconds, "changed": changed, "music": music}


def begin(
    composer: Composer, part: TakeRequest, condition: Condition, plan: ScorePlan, tell: Callable[[float], None]
) -> tuple[Piece, list[tuple[int, int]]]:
    """A piece that is all new, or an earlier take with some parts written anew, one after the other; and the steps
    [start, end) of each such part."""
    chosen = {name: value for name, value in json.loads(part.row["options"]).items() if name in GENERATE}
    options = GenerateOptions(**{**chosen, "seed": part.row["seed"]})
    written = json.loads(part.row["part"] or "null") or {}
    if part.arranged is not None:
        assert isinstance(composer, FittingComposer)
        return composer.rearrange(condition, plan, **part.arranged), []
    if part.earlier is None or written.get("kept"):
        return composer.compose(condition, plan, options), []
    codes = np.load(part.earlier.codes) if part.earlier.codes.exists() else None
    notes = composer.open_notes(part.earlier.notes) if part.earlier.notes.exists() else None
    times = written.get("spans") or [(written["start"], written["end"])]
    spans = [
        (round(first * float(condition.rate)), min(round(last * float(condition.rate)), condition.n_steps))
        for first, last in times
    ]
    piece, seams = Piece(), []
    for index, (start, end) in enumerate(spans):

        def told(done: float, index: int = index) -> None:
            tell(INPAINTING_SHARE * (index + done) / len(spans))

        piece = composer.inpaint(codes, start, end, condition, plan, options, told, notes)
        seams += piece.report.get("seams", [])
        codes, notes = piece.codes, piece.notes
    piece.report |= {"seams": seams} if seams else {}
    return piece, spans


def lay_in(
    composer: Composer, piece: Piece, part: TakeRequest, condition: Condition, spans: list[tuple[int, int]],
    changed: list[tuple[int, int]],
) -> Piece | None:  # fmt: skip
    """The music of the earlier take with the new parts laid in, so that nothing else is played again.

    changed: is filled with the samples that are new. None where the composer can only play the whole.
    """
    if part.earlier is None:
        return None
    found = [composer.render_part(piece, condition, start, end) for start, end in spans]
    parts = [one for one in found if one is not None]
    if len(parts) < len(spans):
        return None
    changed += [(first, first + sound.shape[1]) for first, sound in parts]
    read = functools.partial(read_wave, part.earlier.wave)
    return Piece(laid(read, n_written(part.earlier.wave), parts), piece.report, piece.notes, piece.codes)


def laid(
    read: Callable[[int, int], np.ndarray], n_samples: int, parts: list[tuple[int, np.ndarray]]
) -> Iterator[np.ndarray]:
    """Music in blocks, with parts (first sample, [2, n]) laid in; read(start, stop) gives it as it was."""
    for start in range(0, n_samples, SAMPLE_RATE_OUT):
        stop = min(start + SAMPLE_RATE_OUT, n_samples)
        block = read(start, stop).copy()
        for first, sound in parts:
            low, high = max(start, first), min(stop, first + sound.shape[1])
            if low < high:
                new, old = sound[:, low - first : high - first], block[:, low - start : high - start]
                share = share_of_part(first, first + sound.shape[1], n_samples, low, high)
                # What is the same in both stays so to the bit.
                block[:, low - start : high - start] = np.where(new == old, old, share * new + (1 - share) * old)
        yield block


def share_of_part(first: int, last: int, n_samples: int, low: int, high: int) -> np.ndarray:
    """Share of a new part of samples first .. last-1 at samples low .. high-1: it comes and goes within JOIN, but for
    the ends of the music."""
    places = np.arange(low, high)
    rise = np.ones(high - low) if first <= 0 else (places - first + 1) / JOIN
    fall = np.ones(high - low) if last >= n_samples else (last - places) / JOIN
    return np.clip(np.minimum(rise, fall), 0, 1).astype(np.float32)


def write_notes(notes: Notes, part: TakeRequest, changed: list[tuple[int, int]]) -> None:
    """Write MIDI and a ZIP of the stems; samples hardly get smaller, so nothing is compressed.

    changed: the spans of samples that differ from the take before, of whose stems the rest is taken.
    """
    folder = part.folder
    notes.save(folder.notes)
    notes.save_midi(folder.midi)
    with tempfile.TemporaryDirectory(dir=folder.path) as name, zipfile.ZipFile(folder.stems, "w") as archive:
        stems = Path(name)
        if changed and part.earlier is not None and part.earlier.stems.exists():
            lay_stems(notes, stems, part.earlier.stems, changed)
        else:
            notes.save_stems(stems)
        for path in sorted(stems.glob("*.wav")):
            archive.write(path, path.name)


def lay_stems(notes: Notes, folder: Path, earlier: Path, changed: list[tuple[int, int]]) -> None:
    """Write stems into a folder: those of a ZIP with the changed spans laid in."""
    for index, span in enumerate(changed):
        (folder / str(index)).mkdir()
        notes.save_stems(folder / str(index), span)
    with zipfile.ZipFile(earlier) as archive:
        before = {name.partition("-")[2]: name for name in archive.namelist()}  # without their place in the score
        for path in sorted((folder / "0").iterdir()):
            parts = []
            for index, (first, last) in enumerate(changed):
                parts.append((first, WavReader(folder / str(index) / path.name).read(0, last - first)))
            name = before.get(path.name.partition("-")[2])
            old = WavReader(archive.extract(name or archive.namelist()[0], folder / "old"))
            read = old.read if name else (lambda start, stop: np.zeros((2, stop - start), np.float32))
            write_wav(folder / path.name, laid(read, old.n_samples, parts), SAMPLE_RATE_OUT)


def write(
    blocks: Iterable[np.ndarray], folder: TakeFolder, n_samples: int, tell: Callable[[float], None], begun: float
) -> None:
    """Append the blocks to the take's files; `tell` is called with the share that is done, from `begun` on."""
    writer = SoundWriter(folder)
    try:
        for block in blocks:
            writer.write(block)
            tell(begun + (1 - begun) * writer.n_samples / n_samples)
    finally:
        writer.close()


def keep(earlier: TakeFolder, folder: TakeFolder) -> None:
    """Link the same music into another take, without copying it."""
    for name in ("wave", "peaks", "shades", "loudness", "codes", "notes", "midi", "stems"):
        source, target = getattr(earlier, name), getattr(folder, name)
        if source.exists():
            target.unlink(missing_ok=True)
            os.link(source, target)
