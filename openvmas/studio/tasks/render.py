"""In the sandbox: written music becomes a finished video (`generate.deliver`) and is measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.eval.metrics.timing import TOLERANCE, align_marks, nearest
from openvmas.eval.reports.report_values import plain as rounded
from openvmas.files import check_space
from openvmas.generate.deliver import Delivered, Hidden, Prepared, Stages, deliver, plain, space_needed
from openvmas.generate.piece import Piece
from openvmas.generate.scorer import fit_length
from openvmas.media.audio import WavReader, read_audio_blocks
from openvmas.media.containers import choose_extension
from openvmas.media.mix import MixReport
from openvmas.media.probe import VideoInfo, probe
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.music.onsets import ANALYSIS_RATE, ONSET_RATE, onset_strength
from openvmas.music.sync import energy_correlation, hit_rate, sync_z
from openvmas.planning.plan_yaml import read_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, MixOptions, Options, OutputOptions
from openvmas.studio.storage.folders import ProjectFolder, TakeFolder, read_speech
from openvmas.studio.storage.levels import hop_powers
from openvmas.studio.storage.take_sound import HEADER, peaks_of_file, read_wave, with_accents
from openvmas.vision.analysis import VideoAnalysis

BLOCK = SAMPLE_RATE_OUT  # samples of written music handed on at once


def read_blocks(path: Path, size: int = BLOCK) -> Iterator[np.ndarray]:
    """Blocks [2, n] of written music, n at most `size`."""
    start = 0
    while (block := read_wave(path, start, start + size)).shape[1]:
        yield block
        start += block.shape[1]


def finish(request: dict[str, Any], tell: Any) -> dict[str, Any]:
    """Mix, mux and measure one take. Returns the figures that its row keeps."""
    source, project = Path(request["source"]), ProjectFolder(Path(request["home"]), request["project"])
    folder = project.take(request["take"], request["attempt"])
    info = probe(source)
    plan, analysis = read_plan(request["plan"]), VideoAnalysis.load(project.analysis)
    speech = read_speech(project)
    suffix = choose_extension(info)[0]
    options = Options.of(**request["options"])
    check_space(folder.path, space_needed(info, 1))
    hidden = Hidden(
        folder.video(suffix), folder.report, folder.music, folder.path / "tune.wav", folder.mixed,
        folder.path / "alone.wav", accents=folder.accents if options.music.sweeten else None,
    )  # fmt: skip
    share = {"compose": (0.0, 0.05), "mix": (0.05, 0.6), "mux": (0.65, 0.15)}

    def progress(stage: str, done: float) -> None:
        start, length = share[stage]
        tell({"stage": "finish", "done": start + length * done})

    stages = Stages(progress)
    piece = fit_length(Piece(read_blocks(folder.wave), request["composed"]), plan)
    prepared, before = Prepared(info, analysis, plan, speech), delivered_before(request, options)
    report = deliver(piece, prepared, options, hidden, stages, request["model"], before)
    for scratch in (hidden.music, hidden.alone):
        scratch.unlink(missing_ok=True)
    write_levels(folder, None if speech is None else info)
    heard = WavReader(folder.mixed)
    folder.mixed_peaks.write_bytes(peaks_of_file(folder.mixed, heard.n_samples, HEADER).tobytes())
    measured = measure(folder.wave, plan, analysis)
    tell({"stage": "finish", "done": 1.0})
    for name in {item.name for item in fields(OutputOptions)} - {"model"}:  # where things lie is no option here
        report["options"].pop(name, None)
    report["input"]["path"] = request["name"]
    report["seconds"] |= request["seconds"] | {"finish": sum(stages.seconds.values())}
    report["measured"] = measured
    folder.report.write_text(json.dumps(plain(report), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {
        "loudness_lufs": plain(report["mix"]["loudness_lufs"]),
        "sync_z": measured["sync"]["z"],
        "suffix": suffix,
    }


def write_levels(folder: TakeFolder, info: VideoInfo | None) -> None:
    """Keep the power of a take's music and of the original; info: of the video, None where it has no sound."""
    music = (with_accents(block, folder.accents, i * BLOCK) for i, block in enumerate(read_blocks(folder.wave)))
    original = None if info is None else read_audio_blocks(info.path, SAMPLE_RATE_OUT, 2, info=info)
    folder.levels.write_text(json.dumps(hop_powers(music, original)), encoding="utf-8")


def delivered_before(request: dict[str, Any], options: Options) -> Delivered | None:
    """The take that this one differs from in some spans only, if it was mixed with the same options."""
    if not request.get("changed") or options.music.sweeten:
        return None
    folder = TakeFolder(Path(request["earlier"]))
    report = json.loads(folder.report.read_text(encoding="utf-8"))
    mixed, alone = (read_mix_report(report.get(name)) for name in ("mix", "mix_alone"))
    names = {item.name for item in fields(MixOptions)}
    flat, old = options.flat(), report["options"]
    if mixed is None or any(flat.get(name) != old.get(name) for name in names) or old.get("sweeten"):
        return None
    spans = tuple((int(low), int(high)) for low, high in request["changed"])
    return Delivered(folder.mixed, mixed, spans, folder.music if alone else None, alone)


def read_mix_report(values: dict[str, Any] | None) -> MixReport | None:
    """A report on a mix out of JSON; None where there is none, or where nothing was heard in it."""
    if values is None or values["music_lufs"] is None or values["loudness_lufs"] is None:
        return None
    changed: dict[str, Any] = {"ducked": tuple((start, end) for start, end in values["ducked"])}
    return MixReport(**(values | changed))


def read_mono(path: Path) -> np.ndarray:
    """Written music in mono at the rate that analyses want: [L] float32, in memory that one minute needs."""
    import soxr

    stream = soxr.ResampleStream(SAMPLE_RATE_OUT, ANALYSIS_RATE, 1, dtype="float32", quality="MQ")
    blocks = read_blocks(path, 60 * BLOCK)
    parts = [stream.resample_chunk(block.mean(axis=0, dtype=np.float32)) for block in blocks]
    parts.append(stream.resample_chunk(np.zeros(0, np.float32), last=True))
    return np.concatenate(parts)


def measure(path: Path, plan: ScorePlan, analysis: VideoAnalysis) -> dict[str, Any]:
    """Measures of the fit of music and picture: of the whole, of sections and of every moment that counts."""
    wave = read_mono(path)
    heard = analyze_music(wave, ANALYSIS_RATE)
    strength = onset_strength(wave, ANALYSIS_RATE)
    end = float(analysis.duration)
    hits = np.array([hit.time for hit in plan.hits if hit.source == "user"])
    cut_to = {
        "cut_to_beat": align_marks(analysis.cuts, heard.beats, end),
        "cut_to_onset": align_marks(analysis.cuts, heard.onsets, end),
    }
    return rounded(
        {
            "tempo": float(plan.tempo),
            **{name: getattr(heard, name) for name in ("onsets", "onset_strengths", "beats", "downbeats")},
            "visual_beats": analysis.visual_beats,
            "cuts": analysis.cuts,
            "hits": hits,
            "sync": vars(sync_z(strength, analysis.visual_beats, analysis.duration)),
            "energy_correlation": energy_correlation(analysis.events.energy, heard.events.energy),
            **{
                name: {"within": found.within, "chance": found.chance, "median": found.median}
                for name, found in cut_to.items()
            },
            "moments": moments(analysis, hits, heard.onsets),
            "tolerance": TOLERANCE,
            "sections": [measure_section(section, plan, analysis, heard, strength) for section in plan.sections],
        },
        ".4f",
    )


def moments(analysis: VideoAnalysis, hits: np.ndarray, onsets: np.ndarray) -> list[dict[str, Any]]:
    """Every own hit, cut and other visual beat with the distance of the nearest onset; each moment once."""
    found: dict[float, str] = {}
    for kind, times in (("visual_beat", analysis.visual_beats), ("cut", analysis.cuts), ("hit", hits)):
        found |= {round(float(time), 4): kind for time in times}
    times = np.array(sorted(found))
    errors = nearest(times, onsets)
    return [
        {"time": time, "kind": found[time], "error": error, "fits": abs(error) <= TOLERANCE + 1e-9}
        for time, error in zip(times.tolist(), errors.tolist(), strict=True)
    ]


def measure_section(
    section: Any, plan: ScorePlan, analysis: VideoAnalysis, heard: MusicAnalysis, strength: np.ndarray
) -> dict[str, Any]:
    """The measures of one section."""
    rate = float(ONSET_RATE)
    part = strength[round(section.start * rate) : round(section.end * rate)]
    inside = (analysis.visual_beats >= section.start) & (analysis.visual_beats < section.end)
    beats = analysis.visual_beats[inside] - section.start
    hits = np.array([hit.time for hit in plan.hits if section.start <= hit.time < section.end])
    steps = slice(*(round(time * float(analysis.events.rate)) for time in (section.start, section.end)))
    sync = sync_z(part, beats, section.end - section.start)
    return {
        "start": section.start,
        "end": section.end,
        "sync_z": sync.z if sync.n_beats else math.nan,
        "hit_rate": hit_rate(hits, heard.onsets) if len(hits) else math.nan,
        "energy_correlation": energy_correlation(analysis.events.energy[steps], heard.events.energy[steps]),
    }
