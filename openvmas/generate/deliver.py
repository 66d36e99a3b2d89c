"""From a piece of music to a finished video: mixed with the original sound, put beside the picture, and reported."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from openvmas import __version__
from openvmas.files import explain_write_errors, hidden_name
from openvmas.generate.outputs import Hidden
from openvmas.generate.piece import Piece
from openvmas.generate.report import CHANNELS, SPEECH_RATE, Prepared, Stages, describe_making, plain, watched
from openvmas.media.audio import other_audio, read_audio_blocks, write_wav
from openvmas.media.containers import sound_codec
from openvmas.media.mix import MixReport, mix
from openvmas.media.mux import mux
from openvmas.media.probe import VideoInfo
from openvmas.music.speech import find_speech
from openvmas.settings import SAMPLE_RATE_OUT, Options


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
