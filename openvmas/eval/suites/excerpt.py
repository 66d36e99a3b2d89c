"""Excerpts that systems are given and measured on: the silent picture of a clip, its analysis, and its true music.

All of it is kept by content in the cache of `eval.suites.cache`, so a clip is cut and
analyzed once.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from openvmas.errors import InputError, OutputError
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.suite import Clip
from openvmas.files import atomic_path, explain_write_errors, write_text
from openvmas.media.audio import Audio, read_audio
from openvmas.media.probe import VideoInfo, probe
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.vision.analysis import VideoAnalysis

VERSION = 1  # of what is kept here
FADE = 1.0  # s, over which music that goes on after the clip is faded out
QUALITY = "18"  # x264's CRF
SHORTEST = 0.5  # s


def fade_out(wave: np.ndarray, sample_rate: int, seconds: float = FADE) -> np.ndarray:
    """The wave [C, L] with its last `seconds` (at most half of it) going down to silence."""
    n = min(round(seconds * sample_rate), wave.shape[1] // 2)
    gain = np.ones(wave.shape[1], np.float32)
    gain[wave.shape[1] - n :] = np.cos(0.5 * np.pi * (np.arange(n) + 1) / max(n, 1)) ** 2
    return wave * gain


def cut_picture(source: Path, info: VideoInfo, start: float, seconds: float | None, target: Path) -> None:
    """The picture from `start` s on for at most `seconds`, without sound, as H.264. Raises InputError."""
    first = info.start + Fraction(start)
    end = None if seconds is None else first + Fraction(seconds)
    container_format: Any = "matroska"
    n = 0
    try:
        with av.open(str(source)) as given, av.open(str(target), "w", format=container_format) as made:
            stream = given.streams[info.stream_index]
            if start > 0:
                given.seek(int(first / (stream.time_base or 1)), stream=stream)
            options = {"crf": QUALITY, "preset": "veryfast", "threads": "1"}
            out: Any = made.add_stream("libx264", rate=round(info.fps) or 25, options=options)
            size = [max(2, length // 2 * 2) for length in (info.width, info.height)]
            out.width, out.height, out.pix_fmt = *size, "yuv420p"
            out.codec_context.time_base = Fraction(1, 90_000)
            begin: Fraction | None = None
            for frame in given.decode(stream):
                if not isinstance(frame, av.VideoFrame) or frame.pts is None:
                    continue
                time = frame.pts * Fraction(frame.time_base or 1)
                if time < first:
                    continue
                if end is not None and time + info.frame_interval / 2 > end:
                    break
                begin = time if begin is None else begin
                picture = frame.reformat(*size, format="yuv420p")
                picture.pts, picture.time_base = round((time - begin) * 90_000), Fraction(1, 90_000)
                made.mux(out.encode(picture))
                n += 1
            made.mux(out.encode(None))
    except FFmpegError as error:
        raise InputError(f"{source} cannot be cut ({error.strerror}); repair or leave out the file.") from error
    if n < 2:
        raise InputError(f"{source} has no picture from {start:g} s on; correct the suite.")


@dataclass(frozen=True)
class Excerpt:
    """A prepared clip. key: of its content and span; video: the silent picture."""

    clip: Clip
    key: str
    video: Path
    duration: Fraction
    cache: Cache
    music_start: float

    @cached_property
    def picture(self) -> VideoAnalysis:
        """Analysis of the silent picture."""
        return self.cache.picture(self.key, self.video)

    @cached_property
    def reference(self) -> Audio | None:
        """The true music under the clip at its own rate, [C, L]; faded out where it goes on after the clip."""
        if self.clip.music is None:
            return None
        info = probe(self.clip.video) if self.clip.music == self.clip.video else None
        found = self.under_picture(read_audio(self.clip.music, info=info), self.music_start)
        if found.wave.shape[1] < SHORTEST * found.sample_rate:
            raise InputError(f"{self.clip.music} holds no music for {self.clip.name}; correct the suite.")
        return found

    def under_picture(self, audio: Audio, start: float) -> Audio:
        """The part of a longer sound that lies under the clip: [C, L]; faded out where the sound goes on after it.

        start: s of the sound at which the clip begins. True music and finished files of others are cut by this alone,
        so that the same file is the same sound whatever it is entered as.
        """
        rate, first = audio.sample_rate, round(start * audio.sample_rate)
        end = first + math.ceil(self.duration * rate)
        wave = np.nan_to_num(audio.wave[:, first:end], nan=0.0, posinf=0.0, neginf=0.0)
        goes_on = audio.wave.shape[1] > end + rate // 2
        return Audio(fade_out(wave, rate) if goes_on else wave, rate)

    @cached_property
    def reference_music(self) -> MusicAnalysis | None:
        """Analysis of the true music, None where there is none."""
        audio = self.reference
        if audio is None:
            return None
        kind = f"music-{self.cache.key(self.clip.music)[:16] if self.clip.music else ''}-{VERSION}.npz"
        place = self.cache.file(self.key, kind, lambda path: analyze_music(audio.wave, audio.sample_rate).save(path))
        return MusicAnalysis.load(place)


def write_clips(
    clips: Sequence[Clip], cache: Cache, folder: Path, is_replaced: bool, say: Callable[[str], None]
) -> int:
    """Write NAME.mp4 of every clip into the folder, as systems are given it, and clips.csv that lists them.

    The list has name, file, seconds and caption of each. Nothing is encoded again: packets are those that `eval run`
    measures. Clips that cannot be cut are said and left out. Returns how many were written. Raises OutputError for
    files that are there already unless is_replaced.
    """
    listing = folder / "clips.csv"
    targets = {clip.name: folder / f"{clip.name}.mp4" for clip in clips}
    there = next((path for path in (*targets.values(), listing) if path.exists()), None)
    if there is not None and not is_replaced:
        raise OutputError(f"{there} exists already; give --overwrite to replace it or name another folder.")
    rows = []
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for number, clip in enumerate(clips, 1):
            try:
                excerpt = prepare(clip, cache)
            except InputError as error:
                say(f"left out {clip.name}: {error}")
                continue
            with atomic_path(targets[clip.name], ".mp4") as hidden:
                copy_picture(excerpt.video, hidden)
            rows.append([clip.name, targets[clip.name].name, f"{float(excerpt.duration):.3f}", clip.caption or ""])
            say(f"clip {number} of {len(clips)}: {clip.name}, {float(excerpt.duration):.1f} s")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([["name", "file", "seconds", "caption"], *rows])
        write_text(listing, text.getvalue())
    return len(rows)


def copy_picture(source: Path, target: Path) -> None:
    """The packets of a cut file in a container by the target's ending."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        stream = given.streams.video[0]
        copied = made.add_stream_from_template(stream, opaque=True)
        packets = [packet for packet in given.demux(stream) if packet.size and packet.pts is not None]
        # Matroska says only when a frame is shown; MP4 wants to know too when it is decoded, which is never later.
        times = sorted(int(packet.pts or 0) for packet in packets)
        early = max((time - int(packet.pts or 0) for time, packet in zip(times, packets, strict=True)), default=0)
        for time, packet in zip(times, packets, strict=True):
            packet.dts, packet.stream = time - early, copied
            made.mux(packet)


def prepare(clip: Clip, cache: Cache) -> Excerpt:
    """Cut a clip out of its file. Raises InputError."""
    info = probe(clip.video)
    start = clip.start if clip.start + SHORTEST < info.duration else 0.0  # the file is the excerpt already
    left = float(info.duration) - start
    seconds = None if clip.seconds is None or clip.seconds >= left else clip.seconds
    span = f"{start:.3f}-{'all' if seconds is None else f'{seconds:.3f}'}"
    key = hashlib.sha256(f"{cache.key(clip.video)} {span}".encode()).hexdigest()
    video = cache.file(key, f"cut-{VERSION}.mkv", lambda path: cut_picture(clip.video, info, start, seconds, path))
    return Excerpt(clip, key, video, probe(video).duration, cache, start)
