"""From a piece of music to a finished video: mixed with the original sound, put beside the picture, and reported."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from openvmas import __version__
from openvmas.files import explain_write_errors, hidden_name
from openvmas.generate.outputs import Hidden
from openvmas.generate.piece import Piece
from openvmas.media.audio import other_audio, read_audio_blocks, write_wav
from openvmas.media.containers import sound_codec
from openvmas.media.mix import MixReport, mix
from openvmas.media.mux import MuxReport, mux
from openvmas.media.probe import VideoInfo
from openvmas.music.speech import find_speech
from openvmas.planning.schema import ScorePlan, write_plan
from openvmas.settings import SAMPLE_RATE_OUT, Options
from openvmas.vision.analysis import VideoAnalysis

SPEECH_RATE = 16_000  # Hz, of what the voice detector is given
CHANNELS = 2
Progress = Callable[[str, float], None]  # stage, and how much of it is done (0 to 1)


@dataclass(frozen=True)
class Prepared:
    """Everything that variations of one video share. speech: probability [T] at 50 Hz, None without original sound."""

    info: VideoInfo
    analysis: VideoAnalysis
    plan: ScorePlan
    speech: np.ndarray | None


class Stages:
    """Tells the progress function what is going on and keeps each stage's time in `seconds`."""

    def __init__(self, progress: Progress | None) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress or (lambda stage, done: None)

    @contextlib.contextmanager
    def run(self, stage: str) -> Iterator[Callable[[float], None]]:
        began = time.perf_counter()
        self._progress(stage, 0.0)
        yield functools.partial(self._progress, stage)
        self._progress(stage, 1.0)
        self.seconds[stage] = round(time.perf_counter() - began, 3)


def watched(
    blocks: Iterable[np.ndarray], duration: Fraction, sample_rate: int, progress: Callable[[float], None]
) -> Iterator[np.ndarray]:
    """Pass blocks on; `progress` is called with the share of the duration that has passed."""
    total, done = float(duration) * sample_rate, 0
    for block in blocks:
        done += block.shape[1]
        progress(min(done / total, 1.0))
        yield block


def summarize(analysis: VideoAnalysis) -> dict[str, Any]:
    """An analysis without its curves and features, in types that JSON has."""
    return plain(
        {
            "duration": analysis.duration,
            "fps": analysis.fps,
            "shots": [dataclasses.asdict(shot) for shot in analysis.shots],
            "cuts": analysis.cuts,
            "flashes": analysis.flashes,
            "visual_beats": analysis.visual_beats,
            "visual_beat_strengths": analysis.visual_beat_strengths,
            "camera_share": analysis.camera_share,
        }
    )


def describe_making(
    prepared: Prepared, composed: dict[str, Any], mixed: MixReport, muxed: MuxReport, stages: Stages
) -> dict[str, Any]:
    """Content of the sidecar beside version, model and options."""
    info = prepared.info
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "input": {k: v for k, v in dataclasses.asdict(info).items() if k != "clock"} | {"path": Path(info.path).name},
        "duration": float(info.duration),
        "tempo": float(prepared.plan.tempo),
        "plan": write_plan(prepared.plan),
        "fit": dataclasses.asdict(prepared.plan.fit),
        "unknown_words": prepared.plan.unknown_words,
        "composer": composed,
        "mix": dataclasses.asdict(mixed),
        "container": {"format": muxed.container, "sound": muxed.codec, "dropped": muxed.dropped},
        "seconds": dict(stages.seconds),
    }


def plain(value: Any) -> Any:
    """Convert to types that JSON has: numpy numbers and fractions as numbers, infinities as None."""
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part) for part in value]
    if isinstance(value, (np.generic, Fraction)):
        value = float(value) if isinstance(value, Fraction) else value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def deliver(
    piece: Piece, prepared: Prepared, options: Options, files: Hidden, stages: Stages, model: dict[str, str]
) -> dict[str, Any]:
    """Take a piece, mix it and write one finished video with all that is wanted beside it; returns its report.

    piece: as long as the picture. files: where to write. model: name, version, licence and hash of what composed.
    Raises OutputError.
    """
    info, folder = prepared.info, files.video.parent
    with explain_write_errors(folder), tempfile.TemporaryDirectory(prefix=hidden_name("-"), dir=folder) as scratch:
        with stages.run("compose") as progress:
            write_wav(files.music, watched(piece, info.duration, SAMPLE_RATE_OUT, progress), SAMPLE_RATE_OUT)
            if piece.notes is not None and files.midi:
                piece.notes.save_midi(files.midi)
            if piece.notes is not None and files.stems:
                piece.notes.save_stems(files.stems)
        with stages.run("mix") as progress:
            original = None
            if prepared.speech is not None:
                original = read_audio_blocks(info.path, SAMPLE_RATE_OUT, CHANNELS, info=info)
            mixed = mix(
                files.music, original, info.duration, options.mix, prepared.speech,
                output=files.mixed, codec=sound_codec(files.video), progress=progress,
            )  # fmt: skip
            music_alone = mix_alone(files, mixed, info, options)
            kept = mix_others(files, prepared, options, Path(scratch))
        with stages.run("mux") as progress:
            provenance = {"generated_by": f"OpenVMAS {__version__}", "model": model}
            # A file that is passed on does not say where things lay on its maker's disk; the sidecar does.
            groups = (options.plan, options.generate, options.mix)
            names = {item.name for group in groups for item in dataclasses.fields(group)}
            chosen = {name: value for name, value in options.flat().items() if name in names}
            muxed = mux(
                info.path, info, files.mixed, files.video,
                music=music_alone if options.mix.separate_track else None, kept_audio=kept,
                metadata=provenance | {"options": chosen}, overwrite=True, progress=progress,
            )  # fmt: skip
        making = describe_making(prepared, piece.report, mixed, muxed, stages)
        report = provenance | {"options": options.flat()} | making
        words = json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n"
        files.sidecar.write_text(words, encoding="utf-8", errors="backslashreplace")  # names need not be UTF-8
    return report


def mix_others(files: Hidden, prepared: Prepared, options: Options, scratch: Path) -> dict[int, Path | None]:
    """Index of each other audio stream that is kept → its mix with the music, None where it stays untouched."""
    info, how = prepared.info, options.mix.keep_all_audio
    kept: dict[int, Path | None] = {index: None for index in other_audio(info.path)} if how else {}
    for index in kept if how == "music" else ():
        blocks = read_audio_blocks(info.path, SPEECH_RATE, 1, SPEECH_RATE, info, index)
        speech = find_speech(blocks, SPEECH_RATE)
        original = read_audio_blocks(info.path, SAMPLE_RATE_OUT, CHANNELS, info=info, stream_index=index)
        kept[index] = output = scratch / f"{index}.wav"
        mix(
            files.music, original, info.duration, options.mix, speech,
            output=output, codec=sound_codec(files.video),
        )  # fmt: skip
    return kept


def mix_alone(files: Hidden, mixed: MixReport, info: VideoInfo, options: Options) -> Path:
    """The music by itself at the asked loudness: the mix where nothing else is in it."""
    if files.audio is None and not options.mix.separate_track:
        return files.mixed
    alone = files.audio or files.alone
    if mixed.has_original:
        mix(files.music, None, info.duration, options.mix, output=alone)
    else:
        shutil.copyfile(files.mixed, alone)
    return alone
