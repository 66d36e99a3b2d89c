"""One record's file, opened once: everything that stages ask of it is decoded when first asked for, and at most once.

A stage is given a `Media` beside the record. A stage that cuts a record into parts gets a `Media` for each part from
`Media.part`, which shares what the whole has decoded already.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from openvmas.data.curation.key_frames import KeyFrames, MediaInfo, copy_span, read_info, read_key_frames, read_picture
from openvmas.data.curation.record import Record
from openvmas.data.curation.video_features import Watched, cut_analysis, cut_frames, watch
from openvmas.errors import InputError
from openvmas.media.audio import Audio, read_audio_blocks, resample
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.vision.analysis import VideoAnalysis

SAMPLE_RATE = 32_000  # Hz, of `Media.audio`: the codec's
MAX_SPAN = 3600.0  # s; sound and curves of a span lie in memory
WORTH_CUTTING = 1.25  # a file this many times as long as the span is cut before it is decoded

T = TypeVar("T")


class Media:
    """The file of one record; times are from the start of the record's span.

    path: the file, if the record's own `uri` is not its place. scratch: folder for temporary files.
    Use it in a `with` block, which removes them. arrays: what stages want kept beside the record, name → ndarray.
    seconds: time spent on each kind of decoding, s. All methods raise InputError if the file cannot give what is asked.
    """

    def __init__(self, record: Record, path: str | Path | None = None, scratch: str | Path | None = None) -> None:
        self.record = record
        self.arrays: dict[str, np.ndarray] = {}
        self.seconds: dict[str, float] = {}
        self._given = path
        self._scratch = scratch
        self.whole: Media | None = None
        self.offset = 0.0  # of this span in that of the whole
        self._kept: dict[Any, Any] = {}
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> Media:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def part(self, record: Record) -> Media:
        """The media of a record that is a part of this one; what is decoded already is cut, not decoded again."""
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
        """Where the span ends in the file, s."""
        length = self.probe().duration
        return length if self.record.end is None else min(self.record.end, length)

    @property
    def duration(self) -> float:
        """Of the span, s."""
        duration = self.end - self.record.start
        if duration <= 0:
            raise InputError(f"{self.name} ends before {self.record.start:g} s; correct the time span.")
        if duration > MAX_SPAN:
            raise InputError(f"{self.name} is longer than {MAX_SPAN:g} s; give time spans inside it.")
        return duration

    @property
    def name(self) -> str:
        """What messages call the file."""
        return self.record.origin.uri

    def places(self) -> list[Path]:
        """Files that errors may name, longest first; none is in the record."""
        whole = self.whole or self
        found = [Path(whole._given)] if whole._given else []
        found += [value[0] for key in ("path",) if (value := whole._kept.get(key)) and value[0]]
        found += [value[0][0] for value in (whole._kept.get("cut"),) if value and value[0]]
        return sorted(set(found), key=lambda path: -len(str(path)))

    def sha256(self) -> str:
        """Of the whole file's bytes."""
        return self.once("sha256", lambda: file_sha256(self.path))

    def probe(self) -> MediaInfo:
        """What the whole file holds: streams, size, length."""
        return self.once("info", lambda: self.timed("probe", lambda: read_info(self.path, self.record.kind)))

    def stereo(self) -> Audio:
        """The span's sound at the file's own rate, [C, L] with C 1 or 2; in a video, silence up to its length."""
        return self.once("stereo", self._decode_sound if self.whole is None else self._cut_stereo)

    def audio(self) -> np.ndarray:
        """The span's sound, mono at 32 kHz: [L] float32."""
        return self.once("audio", self._mix_down if self.whole is None else self._cut_audio)

    def music(self) -> MusicAnalysis:
        """What is heard in the span."""
        return self.once("music", lambda: self.timed("music", lambda: analyze_music(self.audio(), SAMPLE_RATE)))

    def video(self) -> VideoAnalysis:
        """What is seen in the span, from one decoding of all its frames."""
        return self.once("video", self._watch if self.whole is None else self._cut_video)

    def small_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """The span at 2 fps, pictures squeezed: times [F] s, grey frames [F, 64, 64] uint8; decoded with `video`."""
        return self.once("small", self._small if self.whole is None else self._cut_small)

    def key_frames(self, n: int = 16) -> KeyFrames:
        """Up to n small frames spread over the span, reached by seeking: cheap, whatever the length."""
        return self.once(("key_frames", n), lambda: self.timed("key_frames", lambda: self._seek(n)))

    def picture(self, side: int = 512) -> np.ndarray:
        """An image file, scaled so that its long side is `side` px (never up): [h, w, 3] uint8."""
        return self.once(("picture", side), lambda: self.timed("picture", lambda: read_picture(self.path, side)))

    def once(self, key: Any, make: Callable[[], T]) -> T:
        """What `make` gives, or the InputError that it raises, asked for once only."""
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

    def timed(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives; its seconds are added to `self.seconds[name]`."""
        began = time.perf_counter()
        try:
            return make()
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

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
            self.timed("cut", lambda: copy_span(self.path, info, start, self.end, copy))
            short = read_info(copy, self.record.kind)
        except InputError:  # not every codec may be put into Matroska
            return self.path, info, start
        return copy, short, start - float(short.start - info.start)

    def _decode_sound(self) -> Audio:
        return self.timed("audio", self._decode_sound_now)

    def _decode_sound_now(self) -> Audio:
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
        return self.timed("resample", lambda: resample(mono, SAMPLE_RATE).wave[0])

    def _cut_stereo(self) -> Audio:
        assert self.whole is not None
        sound = self.whole.stereo()
        first = round(self.offset * sound.sample_rate)
        return Audio(sound.wave[:, first : first + round(self.duration * sound.sample_rate)], sound.sample_rate)

    def _cut_audio(self) -> np.ndarray:
        assert self.whole is not None
        first = round(self.offset * SAMPLE_RATE)
        return self.whole.audio()[first : first + round(self.duration * SAMPLE_RATE)]

    def _watch(self) -> VideoAnalysis:
        _, info, start = self._cut()
        if info.picture is None:
            raise InputError(f"{self.name} has no moving picture; give a video file.")
        seen = self._watched().analysis
        is_whole = start <= 0 and self.duration >= float(seen.duration) - 1e-6
        return seen if is_whole else cut_analysis(seen, max(start, 0.0), start + self.duration)

    def _watched(self) -> Watched:
        """From the one decoding of all frames."""
        path = self._cut()[0]
        return self.once("watched", lambda: self.timed("video", lambda: watch(path)))

    def _small(self) -> tuple[np.ndarray, np.ndarray]:
        _, info, start = self._cut()
        if info.picture is None:
            raise InputError(f"{self.name} has no moving picture; give a video file.")
        seen = self._watched()
        return cut_frames(seen.small_times, seen.small_frames, max(start, 0.0), start + self.duration)

    def _cut_small(self) -> tuple[np.ndarray, np.ndarray]:
        assert self.whole is not None
        return cut_frames(*self.whole.small_frames(), self.offset, self.offset + self.duration)

    def _cut_video(self) -> VideoAnalysis:
        assert self.whole is not None
        return cut_analysis(self.whole.video(), self.offset, self.offset + self.duration)

    def _seek(self, n: int) -> KeyFrames:
        if self.record.kind == "image":
            return KeyFrames(np.zeros(1), self.picture(160)[None])
        if self.probe().picture is None:
            raise InputError(f"{self.name} has no moving picture; give a video file.")
        return read_key_frames(self.path, self.probe(), self.record.start, self.end, n)


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, hexadecimal. Raises InputError for anything but a regular file."""
    if not path.is_file():  # a pipe would never end
        raise InputError(f"{path} is not a regular file; give a file on disk.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
            for chunk in _chunks(file, size):
                sink.write(chunk)
        if target.stat().st_size != size:
            raise InputError(f"{archive} ends inside {member}; copy the tar again.")
    except (KeyError, tarfile.TarError, OSError, EOFError) as error:
        raise InputError(f"{member} cannot be read from {archive} ({error}); copy the tar again.") from error


def _chunks(file: Any, size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = file.read(min(size, 1 << 20))
        if not chunk:
            return
        size -= len(chunk)
        yield chunk
