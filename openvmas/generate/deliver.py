"""From a piece of music to a finished video: mixed with the original sound, put beside the picture, and reported."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

from openvmas import __version__
from openvmas.files import explain_write_errors
from openvmas.generate.outputs import Hidden
from openvmas.generate.piece import Piece
from openvmas.generate.report import CHANNELS, Prepared, Stages, describe_making, plain, watched
from openvmas.media.audio import read_audio_blocks, write_wav
from openvmas.media.containers import sound_codec
from openvmas.media.mix import MixReport, mix
from openvmas.media.mux import mux
from openvmas.media.probe import VideoInfo
from openvmas.settings import SAMPLE_RATE_OUT, Options


def deliver(
    piece: Piece, prepared: Prepared, options: Options, files: Hidden, stages: Stages, model: dict[str, str]
) -> dict[str, Any]:
    """Take a piece, mix it and write one finished video with all that is wanted beside it; returns its report.

    piece: as long as the picture. files: where to write. model: name, version, licence and hash of what composed.
    Raises OutputError.
    """
    info = prepared.info
    with explain_write_errors(files.video.parent):
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
        with stages.run("mux") as progress:
            provenance = {"generated_by": f"OpenVMAS {__version__}", "model": model}
            # A file that is passed on does not say where things lay on its maker's disk; the sidecar does.
            groups = (options.plan, options.generate, options.mix)
            chosen = {key: value for group in groups for key, value in dataclasses.asdict(group).items()}
            muxed = mux(
                info.path, info, files.mixed, files.video,
                music=music_alone if options.mix.separate_track else None,
                metadata=provenance | {"options": chosen}, overwrite=True, progress=progress,
            )  # fmt: skip
        making = describe_making(prepared, piece.report, mixed, muxed, stages)
        report = provenance | {"options": options.flat()} | making
        files.sidecar.write_text(json.dumps(plain(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return report


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
