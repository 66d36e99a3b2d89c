"""From a piece of music to a finished video: mixed with the original sound, put beside the picture, and reported."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np

from openvmas import __version__
from openvmas.errors import OptionError, OutputError
from openvmas.files import beside, explain_write_errors, hidden_name, is_being_written, sweep
from openvmas.generate.piece import Piece
from openvmas.media.audio import other_audio, read_audio_blocks, write_wav
from openvmas.media.containers import check_container, choose_extension, sound_codec
from openvmas.media.mix import MixReport, mix
from openvmas.media.mux import MuxReport, mux
from openvmas.media.probe import VideoInfo
from openvmas.music.speech import find_speech
from openvmas.planning.plan_yaml import write_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, Options
from openvmas.vision.analysis import VideoAnalysis

SOUND_BYTES = SAMPLE_RATE_OUT * 2 * 4  # per second of stereo float samples
N_SOUNDS = 5  # music, original, sum, mix and music alone lie on disk at the same time
COMPRESSED_BYTES = 64_000  # per second of a finished file's sound, two tracks
SPARE_BYTES = 16_000_000
CREDITS = ".credits.txt"  # ending of the file beside a video that says whom to thank


@dataclass(frozen=True)
class Target:
    """Where one variation goes. audio, midi, stems (a folder): of the music alone, if they are wanted.

    accents: what --sweeten adds, alone. joins: of a recording, as an edit list. has_credits: whom to thank for a
    recording is written beside the video.
    """

    video: Path
    audio: Path | None
    midi: Path | None = None
    stems: Path | None = None
    accents: Path | None = None
    joins: Path | None = None
    has_credits: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def sidecar(self) -> Path:
        return self.video.with_suffix(".json")


@dataclass(frozen=True)
class Hidden:
    """Where one variation is written before it is moved to its names; the sounds are float WAV files.

    music: as composed. mixed: the finished sound. audio: the music alone if it is wanted, alone: the same as scratch.
    midi: its notes, stems: a folder for its parts, accents: what --sweeten adds, joins: an edit list, credits: whom to
    thank, if they are wanted.
    """

    video: Path
    sidecar: Path
    audio: Path | None
    music: Path
    mixed: Path
    alone: Path
    midi: Path | None = None
    stems: Path | None = None
    accents: Path | None = None
    joins: Path | None = None
    credits: Path | None = None


class Outputs:
    """A `with` block inside which results are written to hidden files beside their targets.

    `commit` moves them to their names; leaving the block without it, by an error or an interrupt, leaves nothing.
    Scratch data lies there too and not in the system's temporary folder, which on many machines is memory.
    """

    def __init__(self, source: str | Path, overwrite: bool) -> None:
        self._source = Path(source)
        self._overwrite = overwrite
        self._targets: dict[Path, Path] = {}
        self._scratch: list[Path] = []
        self._folders: dict[Path, Path] = {}

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._scratch:
            with contextlib.suppress(PermissionError):  # Windows keeps what is still mapped; the next run sweeps it
                path.unlink(missing_ok=True)
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def reserve_folder(self, target: str | Path, option: str) -> Path:
        """Reserve a folder of files: it may be there, but without --overwrite only empty. Raises OutputError."""
        target = Path(target)
        check_name(target, option)
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist; create it or choose another with {option}.")
        if target.exists() and not target.is_dir():
            raise OutputError(f"{target} is a file; give the name of a folder with {option}.")
        if target.is_dir() and any(target.iterdir()) and not self._overwrite:
            raise OutputError(f"{target} is not empty; give --overwrite to replace its files or another with {option}.")
        hidden = target.with_name(hidden_name())
        self._folders[target] = hidden  # before it is there: an interrupt may come at any moment
        with explain_write_errors(target.parent):
            hidden.mkdir()
        return hidden

    def reserve(self, target: str | Path, option: str = "--output") -> Path:
        """Check that a result can be written at `target` and return the hidden file to write it to.

        option: the one that names another place, for the message. Raises OutputError.
        """
        target = Path(target)
        check_name(target, option)
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist; create it or choose another with {option}.")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give a file name with {option}.")
        if target.exists() and target.samefile(self._source):
            raise OutputError(f"{target} is the input itself; give another name with {option}.")
        if target.exists() and not self._overwrite:
            raise OutputError(f"{target} exists already; give --overwrite to replace it or another name with {option}.")
        if any(same_place(target, other) for other in self._targets):
            raise OutputError(f"{target} would be written twice; give another name with {option}.")
        sweep(target.parent)
        if is_being_written(target):
            raise OutputError(
                f"{target} is being written by another run; wait for it or give another name with {option}."
            )
        hidden = self._hide(target)
        self._targets[target] = hidden
        return hidden

    def reserve_all(self, target: Target) -> Hidden:
        """The door for everything that one variation writes. Raises OutputError."""
        return Hidden(
            video=self.reserve(target.video),
            sidecar=self.reserve(target.sidecar),
            audio=self.reserve(target.audio, "--audio-out") if target.audio else None,
            music=self.scratch(target.video, ".music.wav"),
            mixed=self.scratch(target.video, ".mixed.wav"),
            alone=self.scratch(target.video, ".alone.wav"),
            midi=self.reserve(target.midi, "--midi-out") if target.midi else None,
            stems=self.reserve_folder(target.stems, "--stems-out") if target.stems else None,
            accents=self.reserve(target.accents, "--sweeten-out") if target.accents else None,
            joins=self.reserve(target.joins, "--joins-out") if target.joins else None,
            credits=self.reserve(target.video.with_suffix(CREDITS)) if target.has_credits else None,
        )

    def scratch(self, target: str | Path, suffix: str) -> Path:
        """A hidden file beside `target` that is deleted at the end of the block."""
        return self._hide(Path(target).with_suffix(suffix))

    def _hide(self, target: Path) -> Path:
        hidden = target.with_name(hidden_name(target.suffix, target.name))
        self._scratch.append(hidden)  # before it is there: an interrupt may come at any moment
        with explain_write_errors(target.parent):
            hidden.touch(exist_ok=False)
        return hidden

    def _claim(self, target: Path) -> None:
        """Take a name that nothing has; what another run wrote there in the meantime stays. Raises OutputError."""
        if self._overwrite:
            return
        try:
            target.open("xb").close()
        except FileExistsError as error:
            raise OutputError(
                f"{target} has been written by another run in the meantime; give another name with --output."
            ) from error

    def commit(self) -> None:
        """Move every result to its name, the first reserved last: that it is there means that all are."""
        moved: list[Path] = []
        try:
            for folder, hidden in self._folders.items():
                with explain_write_errors(folder.parent):
                    folder.mkdir(exist_ok=True)
                    for file in sorted(hidden.iterdir()):
                        os.replace(file, folder / file.name)
                        moved.append(folder / file.name)
            for target, hidden in reversed(self._targets.items()):
                if target.name.endswith(CREDITS) and not hidden.stat().st_size:
                    continue  # nobody is to be thanked
                with explain_write_errors(target.parent):
                    self._claim(target)
                    os.replace(hidden, target)
                moved.append(target)
        except BaseException:
            for target in moved:
                target.unlink(missing_ok=True)
            raise
        self._targets.clear()


def name_targets(info: VideoInfo, options: Options) -> list[Target]:
    """Where the results go: NAME.scored.EXT beside the input unless said otherwise, numbered if they are several."""
    path, output = Path(info.path), options.output
    if output.audio_out is not None and Path(output.audio_out).suffix.lower() != ".wav":
        raise OptionError(f"the music is written as WAV; give --audio-out a name in .wav, not {output.audio_out}.")
    if output.midi_out is not None and Path(output.midi_out).suffix.lower() not in (".mid", ".midi"):
        raise OptionError(f"notes are written as MIDI; give --midi-out a name in .mid, not {output.midi_out}.")
    video = Path(output.output) if output.output else beside(path, f".scored{choose_extension(info)[0]}")
    check_container(info, video)  # before minutes are spent
    accents = options.music.sweeten_out
    if accents is not None and not options.music.sweeten:
        raise OptionError("--sweeten-out writes what --sweeten adds; give --sweeten too.")
    if accents is not None and Path(accents).suffix.lower() != ".wav":
        raise OptionError(f"what is added is written as WAV; give --sweeten-out a name in .wav, not {accents}.")
    sounds = (output.audio_out, output.midi_out, output.stems_out, accents, options.music.joins_out)
    others = [Path(p) if p else None for p in sounds]
    if output.variations == 1:
        return [Target(video, *others)]
    return [
        Target(numbered(video, index), *(numbered(path, index) if path else None for path in others))
        for index in range(1, output.variations + 1)
    ]


def numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}.{index}{path.suffix}")


def space_needed(info: VideoInfo, n_variations: int) -> int:
    """Bytes: the finished files, and the sound of one variation while it is made (music, original, sum, mix)."""
    seconds = math.ceil(info.duration)
    finished = Path(info.path).stat().st_size + seconds * COMPRESSED_BYTES
    return n_variations * finished + N_SOUNDS * seconds * SOUND_BYTES + SPARE_BYTES


def check_name(target: Path, option: str) -> None:
    """Raises OutputError if no file of this name can be."""
    try:
        os.lstat(target)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            reason = "impossible" if isinstance(error, ValueError) else "too long"
            raise OutputError(f"the name {shortened(target.name)} is {reason}; give another with {option}.") from error


def shortened(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}...{name[-16:]}"


def same_place(first: Path, second: Path) -> bool:
    return first.absolute().parent.resolve() / first.name == second.absolute().parent.resolve() / second.name


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
    """An analysis without its curves and features, and each shot's mood in words, in types that JSON has."""
    from openvmas.vision.explanation import summarize as say  # here: a score does not load it

    return plain(
        {
            "duration": analysis.duration,
            "fps": analysis.fps,
            "shots": [dataclasses.asdict(s) | {"mood": say(analysis, s.start, s.end)} for s in analysis.shots],
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
        "heard": prepared.plan.heard,
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


@dataclass(frozen=True)
class Delivered:
    """A piece that was delivered before with the same options of mixing, and where the new one differs from it.

    mixed: its finished sound; alone: its music by itself, None where that is mixed anew; both as WAV files of
    `write_wav`. mix, mix_alone: the reports on both. spans: (first, last) samples that have changed.
    """

    mixed: Path
    mix: MixReport
    spans: tuple[tuple[int, int], ...]
    alone: Path | None = None
    mix_alone: MixReport | None = None


def deliver(
    piece: Piece, prepared: Prepared, options: Options, files: Hidden, stages: Stages, model: dict[str, str],
    before: Delivered | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Take a piece, mix it and write one finished video with all that is wanted beside it; returns its report.

    piece: as long as the picture. files: where to write. model: name, version, licence and hash of what composed.
    before: mix only what differs from that. Raises OutputError.
    """
    info, folder = prepared.info, files.video.parent
    with explain_write_errors(folder), tempfile.TemporaryDirectory(prefix=hidden_name("-"), dir=folder) as scratch:
        with stages.run("compose") as progress:
            write_wav(files.music, watched(piece, info.duration, SAMPLE_RATE_OUT, progress), SAMPLE_RATE_OUT)
            if piece.notes is not None and files.midi:
                piece.notes.save_midi(files.midi)
            if piece.notes is not None and files.stems:
                piece.notes.save_stems(files.stems)
            if options.music.sweeten:
                from openvmas.sweetening.stem import sweeten  # whoever does not ask for it does not load it

                gain, seed = options.music.sweeten_gain, options.generate.seed
                piece.report["sweetening"] = sweeten(files.music, prepared.plan, gain, seed, files.accents)
        with stages.run("mix") as progress:
            packets: list[av.Packet] = []
            mixed = mix_all(prepared, options, files, packets, progress, before)
            music_alone, report_alone = mix_alone(files, mixed, info, options, before)
            kept = mix_others(files, prepared, options, Path(scratch))
        with stages.run("mux") as progress:
            provenance = {"generated_by": f"OpenVMAS {__version__}", "model": model}
            # A file that is passed on does not say where things lay on its maker's disk; the sidecar does.
            groups = (options.plan, options.generate, options.mix)
            names = {item.name for group in groups for item in dataclasses.fields(group)}
            chosen = {name: value for name, value in options.flat().items() if name in names}
            muxed = mux(
                info.path, info, files.mixed, files.video,
                music=music_alone if options.mix.separate_track else None, kept_audio=kept, encoded=packets,
                metadata=provenance | {"options": chosen}, overwrite=True, progress=progress,
            )  # fmt: skip
        if piece.music is not None:
            from openvmas.generate.recording_files import note_recording

            prepared = note_recording(prepared, piece, files)
        making = describe_making(prepared, piece.report, mixed, muxed, stages)
        making |= {} if report_alone is None else {"mix_alone": dataclasses.asdict(report_alone)}
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


def mix_all(
    prepared: Prepared, options: Options, files: Hidden, packets: list[av.Packet], progress: Callable[[float], None],
    before: Delivered | None,
) -> MixReport:  # fmt: skip
    """Music and original together; where a piece was delivered before, what has changed since is mixed alone."""
    info, codec = prepared.info, sound_codec(files.video)

    def original() -> Iterator[np.ndarray] | None:
        if prepared.speech is None:
            return None
        return read_audio_blocks(info.path, SAMPLE_RATE_OUT, CHANNELS, info=info)

    if before is not None:
        from openvmas.media.remix import remix  # a first score does not load it

        found = remix(
            files.music, original(), before.mixed, before.mix, before.spans, options.mix,
            output=files.mixed, codec=codec, packets=packets,
        )  # fmt: skip
        if found is not None:
            return found
    return mix(
        files.music, original(), info.duration, options.mix, prepared.speech,
        output=files.mixed, codec=codec, packets=packets, progress=progress,
    )  # fmt: skip


def mix_alone(
    files: Hidden, mixed: MixReport, info: VideoInfo, options: Options, before: Delivered | None = None
) -> tuple[Path, MixReport | None]:
    """The music by itself at the asked loudness, with its report; the mix where nothing else is in it or wanted."""
    if files.audio is None and not options.mix.separate_track:
        return files.mixed, None
    alone = files.audio or files.alone
    if not mixed.has_original:
        shutil.copyfile(files.mixed, alone)
        return alone, mixed
    if before is not None and before.alone is not None and before.mix_alone is not None:
        from openvmas.media.remix import remix

        found = remix(files.music, None, before.alone, before.mix_alone, before.spans, options.mix, output=alone)
        if found is not None:
            return alone, found
    return alone, mix(files.music, None, info.duration, options.mix, output=alone)
