"""One record's file, opened once: everything that stages ask of it is decoded when first asked for, and at most once.

A stage is given a `Media` beside the record. A stage that cuts a record into parts gets a `Media` for each part from
`Media.part`, which shares what the whole has decoded already.
"""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from openvmas.data.curation.key_frames import MediaInfo, copy_span, read_info, read_key_frames, read_picture
from openvmas.data.curation.record import Record
from openvmas.errors import InputError
from openvmas.media.audio import Audio, read_audio_blocks, resample
from openvmas.media.video import FrameRequest
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.pretrained import hash_file
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events
from openvmas.vision.analysis import Shot, VideoAnalysis, analyze

SAMPLE_RATE = 32_000  # Hz, of `Media.audio`: the codec's
MAX_SPAN = 3600.0  # s; sound and curves of a span lie in memory
WORTH_CUTTING = 1.25  # a file this many times as long as the span is cut before it is decoded

SMALL_FPS, SMALL_SIZE = Fraction(2), (64, 64)  # of `Media.small_frames`
Watched = tuple[VideoAnalysis, np.ndarray, np.ndarray]  # of a whole video, with its small frames and their times
T = TypeVar("T")


class Media:
    """The file of one record; times are from the start of the record's span.

    path: the file, if the record's own `uri` is not its place. scratch: folder for temporary files.
    Use it in a `with` block, which removes them. arrays: what stages want kept beside the record, name → ndarray.
    All methods raise InputError if the file cannot give what is asked.
    """

    def __init__(self, record: Record, path: str | Path | None = None, scratch: str | Path | None = None) -> None:
        self.record = record
        self.arrays: dict[str, np.ndarray] = {}
        self._given = path
        self._scratch = scratch
        self.whole: Media | None = None
        self.offset = 0.0  # of this span in that of the whole
        self._kept: dict[Any, Any] = {}
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Media:
        return self

    def __exit__(self, *details: object) -> None:
        self._cleanup.close()

    def part(self, record: Record) -> Media:
        """The media of a record that is a part of this one; what is decoded already is not decoded again."""
        own = self.record
        if record.start < own.start or (own.end is not None and (record.end is None or record.end > own.end + 1e-6)):
            raise ValueError(f"{record.start} to {record.end} s is not inside {own.start} to {own.end} s")
        part = Media(record, self._given, self._scratch)
        part.whole, part.offset = self, record.start - self.record.start
        return part

    @property
    def path(self) -> Path:
        """A local file; a member of a tar is copied to a temporary one first."""
        return self.once("path", self._find) if self.whole is None else self.whole.path

    @property
    def end(self) -> float:
        """End of the span in the file, s."""
        length = self.probe().duration
        return length if self.record.end is None else min(self.record.end, length)

    @property
    def duration(self) -> float:
        """Length of the span, s."""
        duration = self.end - self.record.start
        if duration <= 0:
            raise InputError(f"{self.name} ends before {self.record.start:g} s; correct the time span.")
        if duration > MAX_SPAN:
            raise InputError(f"{self.name} is longer than {MAX_SPAN:g} s; give time spans inside it.")
        return duration

    @property
    def name(self) -> str:
        """The file's name in messages."""
        return self.record.origin.uri

    def places(self) -> list[Path]:
        """Files that errors may name, longest first; none is in the record."""
        whole = self.whole or self
        found = [Path(whole._given)] if whole._given else []
        kept = {key: value for key, (value, _) in whole._kept.items() if value is not None}
        found += [kept["path"]] * ("path" in kept) + [kept["cut"][0]] * ("cut" in kept)
        return sorted(set(found), key=lambda path: -len(str(path)))

    def sha256(self) -> str:
        """Hash of the whole file's bytes, hexadecimal."""
        return self.once("sha256", lambda: file_sha256(self.path))

    def probe(self) -> MediaInfo:
        """Streams, size and length of the whole file."""
        return self.once("info", lambda: read_info(self.path, self.record.kind))

    def stereo(self) -> Audio:
        """The span's sound at the file's own rate, [C, L] with C 1 or 2; in a video, silence up to its length."""
        return self._of_span("stereo", self._decode_sound, lambda whole: self._cut_sound(whole.stereo()))

    def audio(self) -> np.ndarray:
        """The span's sound, mono at 32 kHz: [L] float32."""
        return self._of_span(
            "audio", self._mix_down, lambda whole: self._cut_sound(Audio(whole.audio()[None], SAMPLE_RATE)).wave[0]
        )

    def music(self) -> MusicAnalysis:
        """Analysis of the span's sound."""
        return self.once("music", lambda: analyze_music(self.audio(), SAMPLE_RATE))

    def video(self) -> VideoAnalysis:
        """Analysis of the span's picture, from one decoding of all its frames."""
        return self._of_span("video", self._analyze, lambda whole: cut_analysis(whole.video(), *self._place()))

    def small_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """The span at 2 fps, pictures squeezed: times [F] s, grey frames [F, 64, 64] uint8; decoded with `video`."""
        return self._of_span("small", self._small, lambda whole: cut_frames(*whole.small_frames(), *self._place()))

    def key_frames(self, n: int = 16) -> np.ndarray:
        """Up to n small frames of a video spread over the span, reached by seeking: cheap, whatever the length.

        Returns [N, h, w, 3] uint8, in order of time.
        """
        return self.once(("key_frames", n), lambda: self._seek(n))

    def picture(self, side: int = 512) -> np.ndarray:
        """An image file, scaled so that its long side is `side` px (never up): [h, w, 3] uint8."""
        return self.once(("picture", side), lambda: read_picture(self.path, side))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """The result of `make`, or the InputError that it raises; it is called once only."""
        if self.whole is not None and key in ("sha256", "info"):
            return self.whole.once(key, make)
        if key not in self._kept:
            try:
                self._kept[key] = (make(), None)
            except InputError as error:  # asking again must not cost another decoding
                self._kept[key] = (None, error)
        value, error = self._kept[key]
        if error is not None:
            raise error
        return value

    def _of_span(self, key: str, decode: Callable[[], T], cut: Callable[[Media], T]) -> T:
        """Decoded once for a whole span; for a part, cut from the whole's."""
        whole = self.whole
        return self.once(key, decode if whole is None else lambda: cut(whole))

    def _place(self) -> tuple[float, float]:
        """Start and end in the span of the whole, s."""
        return self.offset, self.offset + self.duration

    def _find(self) -> Path:
        path = Path(self._given or self.record.origin.uri)
        archive, mark, member = str(path).rpartition("!")
        if mark and not path.exists() and Path(archive).is_file():
            path = self._temporary(Path(member).suffix)
            copy_member(Path(archive), member, self.record, path)
        return path

    def _temporary(self, suffix: str) -> Path:
        folder = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="media-", dir=self._scratch))
        return Path(folder) / f"media{suffix}"

    def _cut(self) -> tuple[Path, MediaInfo, float]:
        """A file to decode, what it holds, and where in it the span begins: the file itself or a copy of the span."""
        return self.once("cut", self._make_cut)

    def _make_cut(self) -> tuple[Path, MediaInfo, float]:
        info, start = self.probe(), self.record.start
        if info.duration <= WORTH_CUTTING * self.duration + 5:
            return self.path, info, start
        copy = self._temporary(".mkv")
        try:
            copy_span(self.path, info, start, self.end, copy)
            short = read_info(copy, self.record.kind)
        except InputError:  # not every codec may be put into Matroska
            return self.path, info, start
        return copy, short, start - float(short.start - info.start)

    def _decode_sound(self) -> Audio:
        path, info, start = self._cut()
        if not info.has_audio:
            raise InputError(f"{self.name} has no sound; give a file with an audio stream.")
        rate, channels = info.sample_rate, min(info.channels, 2)
        first, n = round(start * rate), round(self.duration * rate)
        blocks, have = [], 0
        for block in read_audio_blocks(path, rate, channels, info=info.picture):
            blocks.append(block)
            have += block.shape[1]
            if have >= first + n:
                break
        if not have:
            raise InputError(f"{self.name} has no sound that can be decoded; convert it to FLAC or AAC.")
        wave = np.concatenate(blocks, axis=1)[:, max(first, 0) : first + n]
        if first < 0:
            wave = np.pad(wave, ((0, 0), (min(-first, n), 0)))[:, :n]
        if self.record.kind == "video" and wave.shape[1] < n:
            wave = np.pad(wave, ((0, 0), (0, n - wave.shape[1])))
        return Audio(np.ascontiguousarray(wave), rate)

    def _mix_down(self) -> np.ndarray:
        sound = self.stereo()
        mono = Audio(sound.wave.mean(axis=0, keepdims=True, dtype=np.float32), sound.sample_rate)
        return resample(mono, SAMPLE_RATE).wave[0]

    def _cut_sound(self, sound: Audio) -> Audio:
        first = round(self.offset * sound.sample_rate)
        return Audio(sound.wave[:, first : first + round(self.duration * sound.sample_rate)], sound.sample_rate)

    def _watched(self) -> tuple[Watched, float]:
        """The one decoding of all frames, and where in it the span begins, s."""
        path, info, start = self._cut()
        if info.picture is None:
            raise InputError(f"{self.name} has no moving picture; give a video file.")
        return self.once("watched", lambda: extract_video_features(path)), max(start, 0.0)

    def _analyze(self) -> VideoAnalysis:
        (analysis, *_), start = self._watched()
        is_whole = start <= 0 and self.duration >= float(analysis.duration) - 1e-6
        # A span that begins before the first frame still ends `duration` after its own start.
        end = self._cut()[2] + self.duration
        return analysis if is_whole else cut_analysis(analysis, start, end)

    def _small(self) -> tuple[np.ndarray, np.ndarray]:
        (_, times, frames), start = self._watched()
        return cut_frames(times, frames, start, self._cut()[2] + self.duration)

    def _seek(self, n: int) -> np.ndarray:
        if self.probe().picture is None:
            raise InputError(f"{self.name} has no moving picture; give a video file.")
        return read_key_frames(self.path, self.probe(), self.record.start, self.end, n)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal. Raises InputError for anything but a regular file."""
    if not path.is_file():  # a pipe would never end
        raise InputError(f"{path} is not a regular file; give a file on disk.")
    return hash_file(path)


def copy_member(archive: Path, member: str, record: Record, target: Path) -> None:
    """Copy one member of a tar. Its place is read from the record's facts `tar.offset` and `tar.size` if it is there.

    Raises InputError if the tar has no such member or ends early.
    """
    offset, size = record.facts.get("tar.offset"), record.facts.get("tar.size")
    try:
        if offset is None or size is None:
            with tarfile.open(archive, "r:*") as tar:
                source = tar.extractfile(member)
                if source is None:
                    raise InputError(f"{archive}!{member} is not a file; leave it out.")
                with source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            return
        with archive.open("rb") as file, target.open("wb") as sink:
            file.seek(offset)
            left = size
            while left and (chunk := file.read(min(left, 1 << 20))):
                sink.write(chunk)
                left -= len(chunk)
        if left:
            raise InputError(f"{archive} ends inside {member}; copy the tar again.")
    except (KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{member} cannot be read from {archive} ({error}); copy the tar again.") from error


def extract_video_features(path: Path) -> Watched:
    """The analysis and small frames of a whole video, from one decoding. Raises InputError."""
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    keeper: Any = SimpleNamespace(push=lambda times, frames: kept.append((times, frames)))
    analysis = analyze(path, others=[(FrameRequest(SMALL_FPS, SMALL_SIZE, True), keeper)])
    times, frames = zip(*kept, strict=True)
    return analysis, np.concatenate(times), np.concatenate(frames)


def cut_frames(times: np.ndarray, frames: np.ndarray, start: float, end: float) -> tuple[np.ndarray, np.ndarray]:
    """Times [F] and frames [F, ...] of a span, s, as `shown_in` chooses them."""
    chosen = shown_in(times, start, end)
    return np.maximum(times[chosen] - start, 0.0), frames[chosen]


def shown_in(times: np.ndarray, start: float, end: float) -> np.ndarray:
    """Mask of the pictures of a span, s; in one shorter than their distance, of the one on the screen at its start."""
    chosen = (times >= start) & (times < end)
    if not chosen.any():
        chosen[max(int(np.searchsorted(times, start, side="right")) - 1, 0)] = True
    return chosen


def cut_analysis(whole: VideoAnalysis, start: float, end: float) -> VideoAnalysis:
    """The analysis of a span from that of the whole; start, end: s. Curves keep the normalisation of the whole.

    Raises ValueError if the span is empty or begins after the end.
    """
    end = min(end, float(whole.duration))
    if not 0 <= start < end:
        raise ValueError(f"{start} to {end} s is no span of a picture of {float(whole.duration)} s")
    duration = Fraction(round((end - start) * 1_000_000), 1_000_000)
    clock = Clock(CONTROL_RATE)
    first = clock.index(start)
    steps = slice(first, first + clock.count(duration))

    shots = [
        Shot(max(s.start, start) - start, min(s.end, end) - start, s.is_gradual and s.start >= start)
        for s in whole.shots
        if s.end > start and s.start < end
    ]
    cuts, flashes, beats = (
        (times >= start) & (times < end) for times in (whole.cuts, whole.flashes, whole.visual_beats)
    )
    cuts &= whole.cuts > start
    shown = shown_in(whole.feature_times, start, end)
    events = whole.events
    return replace(
        whole,
        duration=duration,
        shots=tuple(shots),
        cuts=whole.cuts[cuts] - start,
        flashes=whole.flashes[flashes] - start,
        visual_beats=whole.visual_beats[beats] - start,
        visual_beat_strengths=whole.visual_beat_strengths[beats],
        events=Events(CONTROL_RATE, events.accents[steps], events.energy[steps], events.novelty[steps]),
        motion=whole.motion[steps],
        feature_times=np.maximum(whole.feature_times[shown] - start, 0.0),
        features=whole.features[shown],
        classes=whole.classes[shown],
        looks={name: values[shown] for name, values in whole.looks.items()},
    )
