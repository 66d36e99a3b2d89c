"""In a worker: one take's music, written block by block so that it is heard while it is being made."""

from __future__ import annotations

import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.report import plain
from openvmas.generate.scorer import NoteComposer, Scorer, exactly
from openvmas.planning.planner import ScorePlan, read_plan, to_condition
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder
from openvmas.studio.tasks.preview_sound import SoundWriter
from openvmas.timeline import Clock
from openvmas.vision.analysis import VideoAnalysis

GENERATE = tuple(item.name for item in fields(GenerateOptions))
REWRITE_SHARE = 0.9  # of the work of a redo that goes into the new part, before the first block


@dataclass(frozen=True)
class Part:
    """What a take is made of beside its own row. earlier: files of the take that it starts from."""

    kind: str
    row: dict[str, Any]
    folder: TakeFolder
    earlier: TakeFolder | None


def compose(scorer: Scorer, part: Part, project: ProjectFolder, tell: Callable[[float], None]) -> dict[str, Any]:
    """Write the music of a take. Returns what the composer reports, with the seconds it took: to the condition, to the
    first block, and in all."""
    began = time.perf_counter()
    seconds: dict[str, float] = {}

    def note(name: str) -> None:
        seconds.setdefault(name, round(time.perf_counter() - began, 3))

    def hear(done: float) -> None:
        note("first_block")
        tell(done)

    plan = read_plan(part.row["plan"])
    n_samples = Clock(Fraction(SAMPLE_RATE_OUT)).count(plan.duration)
    report: dict[str, Any] = {}
    part.folder.path.mkdir(parents=True, exist_ok=True)
    if part.kind == "mix":
        assert part.earlier is not None
        report = json.loads(part.earlier.report.read_text(encoding="utf-8"))["composer"]
        keep(part.earlier, part.folder)
    else:
        condition = to_condition(plan, VideoAnalysis.load(project.analysis))
        note("condition")
        codes: list[np.ndarray] = []
        blocks = begin(scorer, part, condition, plan, report, codes, tell)
        write(exactly(blocks, n_samples), part.folder, n_samples, hear, 0.0 if part.kind == "score" else REWRITE_SHARE)
        if codes:
            np.save(part.folder.codes, np.concatenate(codes, axis=1))
        if isinstance(scorer.composer, NoteComposer):
            write_notes(scorer.composer, part.folder, scorer.composer.write(condition, options_of(part), plan))
    if "seams" in report:
        report["seams"] = [seam if isinstance(seam, dict) else vars(seam) for seam in report["seams"]]
    note("compose")
    return {"composed": plain(report), "seconds": seconds}


def begin(
    scorer: Scorer,
    part: Part,
    condition: Condition,
    plan: ScorePlan,
    report: dict[str, Any],
    codes: list[np.ndarray],
    tell: Callable[[float], None],
) -> Iterator[np.ndarray]:
    """Blocks of the music: all of it anew, or an earlier take with one part written anew."""
    composer: Any = scorer.composer
    options = options_of(part)
    if isinstance(composer, NoteComposer):
        return composer.stream(condition, options, report, plan)
    if part.kind != "redo":
        wanted = {"codes": codes} if hasattr(composer, "rewrite") else {}
        return composer.stream(condition, options, report, **wanted)
    assert part.earlier is not None
    span = json.loads(part.row["part"])
    start, end = (round(span[name] * float(condition.rate)) for name in ("start", "end"))
    old = np.load(part.earlier.codes)
    made = composer.rewrite(
        old, condition, start, min(end, condition.n_steps), options, report,
        progress=lambda done: tell(REWRITE_SHARE * done),
    )  # fmt: skip
    codes.append(made)
    return composer.render(made, condition)


def options_of(part: Part) -> GenerateOptions:
    chosen = {name: value for name, value in json.loads(part.row["options"]).items() if name in GENERATE}
    return GenerateOptions(**{**chosen, "seed": part.row["seed"]})


def write_notes(composer: NoteComposer, folder: TakeFolder, piece: Any) -> None:
    """MIDI, and a ZIP of the parts one by one; samples hardly get smaller, so nothing is compressed."""
    composer.save_midi(piece, folder.midi)
    with tempfile.TemporaryDirectory(dir=folder.path) as stems, zipfile.ZipFile(folder.stems, "w") as archive:
        composer.save_stems(piece, Path(stems))
        for path in sorted(Path(stems).iterdir()):
            archive.write(path, path.name)


def write(
    blocks: Iterator[np.ndarray], folder: TakeFolder, n_samples: int, tell: Callable[[float], None], begun: float
) -> None:
    """Append the blocks to the take's files; `tell` hears the share that is done, from `begun` on."""
    writer = SoundWriter(folder.wave, folder.peaks)
    try:
        for block in blocks:
            writer.write(block)
            tell(begun + (1 - begun) * writer.n_samples / n_samples)
    finally:
        writer.close()


def keep(earlier: TakeFolder, folder: TakeFolder) -> None:
    """The same music under another take, without copying it."""
    for name in ("wave", "peaks", "codes", "midi", "stems"):
        source, target = getattr(earlier, name), getattr(folder, name)
        if source.exists():
            target.unlink(missing_ok=True)
            os.link(source, target)
