"""Media of the planted set: spans of music with their accents, montages, lyric cards, and a writer of videos.

Everything is decided by the random generators that are given; encoders run on one thread, so that a seed gives the
same bytes again with the same libraries.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr
from planted_sounds import SAMPLE_RATE
from video_editor import Edit, Source, Take, fetch

from openvmas.music.onsets import ONSET_RATE, onset_strength, pick_onsets

MUSIC_PACKAGES = (
    "wesnoth-1.16-music", "warzone2100-music", "widelands-data", "hedgewars-data", "planetblupi-music-ogg",
    "supertuxkart-data", "naev-data", "megaglest-data", "unknown-horizons",
)  # fmt: skip
SKIPPED_SOUNDS = ("voice", "sounds", "sfx", "ambient", "speech")
LEAST_TRACK = 45.0  # s: shorter files of these packages are jingles and effects
SIZE = (208, 120)
FPS = Fraction(10)
STILL_SIDE = 400  # px: enough for views of SIZE
# Columns of a 5 x 7 font, A to Z, lowest bit on top.
GLYPHS = bytes.fromhex(
    "7e1111117e 7f49494936 3e41414122 7f4141221c 7f49494941 7f09090901 3e4149497a 7f0808087f 00417f4100 2040413f01"
    "7f08142241 7f40404040 7f020c027f 7f0408107f 3e4141413e 7f09090906 3e4151215e 7f09192946 4649494931 01017f0101"
    "3f4040403f 1f2040201f 3f4038403f 6314081463 0708700807 6151494543".replace(" ", "")
)


@dataclass(frozen=True)
class Span:
    """A piece of a track: wave [2, L] float32 at SAMPLE_RATE with a peak of 0.7, its onsets, s, and their strengths."""

    name: str
    wave: np.ndarray
    onsets: np.ndarray
    strengths: np.ndarray

    @property
    def duration(self) -> float:
        return self.wave.shape[1] / SAMPLE_RATE


def find_music(folder: Path) -> list[Path]:
    """Tracks of LEAST_TRACK and more below the folders of MUSIC_PACKAGES, in order of name."""
    found = []
    for package in MUSIC_PACKAGES:
        if not (folder / package).exists():
            fetch(folder, (package,))
        for path in sorted((folder / package).rglob("*.ogg")):
            relative = str(path.relative_to(folder)).lower()
            if any(word in relative for word in SKIPPED_SOUNDS) or path.stat().st_size < 400_000:
                continue
            if soundfile.info(str(path)).duration >= LEAST_TRACK:
                found.append(path)
    return found


def read_span(path: Path, duration: float, rng: np.random.Generator) -> Span | None:
    """A random span of a track; None where it is too soft, mono, or has too few accents to cut a picture on."""
    info = soundfile.info(str(path))
    for _ in range(2):
        start = rng.uniform(4, info.duration - duration - 4)
        part, _ = soundfile.read(
            str(path), start=int(start * info.samplerate), frames=int(duration * info.samplerate), dtype="float32",
            always_2d=True,
        )  # fmt: skip
        if part.shape[1] != 2 or np.sqrt(np.mean(part**2)) < 0.02 or np.std(part[:, 0] - part[:, 1]) < 1e-3:
            continue
        wave = soxr.resample(part, info.samplerate, SAMPLE_RATE).T.astype(np.float32)
        wave *= 0.7 / np.abs(wave).max()
        strength = onset_strength(wave, SAMPLE_RATE)
        onsets = pick_onsets(strength)
        heights = strength[np.clip(np.rint(onsets * float(ONSET_RATE)).astype(int), 0, len(strength) - 1)]
        if (heights > 2).sum() >= duration:
            return Span(path.name, wave, onsets, heights)
    return None


def pick_cuts(span: Span, gap: float, rng: np.random.Generator) -> list[float]:
    """Strong onsets at least about `gap` s apart, s: where an editor would cut."""
    order = np.argsort(-span.strengths, kind="stable")
    chosen: list[float] = []
    for index in order[: max(len(order) * 2 // 3, 1)]:
        time = float(span.onsets[index])
        if 0.4 < time < span.duration - 0.5 and all(abs(time - t) >= gap * rng.uniform(0.8, 1.2) for t in chosen):
            chosen.append(time)
    return sorted(chosen)


class Studio:
    """Pictures and footage, kept in memory once, and edits of them."""

    def __init__(self, stills: list[str], clips: list[str]) -> None:
        self.stills, self.clips = stills, clips
        self.sources: dict[str, Source] = {}

    def picture(self, path: str) -> Source:
        if path not in self.sources:
            source = Source(path, footage_width=SIZE[0])
            source.frames = resize(source.frames, STILL_SIDE) if source.is_still else source.frames
            self.sources[path] = source
        return self.sources[path]

    def render(self, takes: list[Take], seed: int, fps: Fraction = FPS) -> Iterator[np.ndarray]:
        edit = Edit(takes, fps, SIZE, seed)
        edit._sources = {take.path: self.picture(take.path) for take in takes}
        return edit.frames()

    def montage(self, cuts: list[float], duration: float, rng: np.random.Generator, footage: float) -> list[Take]:
        """Takes between the cuts; `footage` is the share of them that is filmed, the others are stills that move."""
        takes: list[Take] = []
        last = ""
        borders = [0.0, *(round(c * FPS) / float(FPS) for c in cuts), duration]
        for start, end in itertools.pairwise(borders):
            pool = [p for p in (self.clips if rng.random() < footage else self.stills) if p != last]
            last = path = pool[rng.integers(len(pool))]
            is_still = path in self.stills
            zoom = rng.uniform(1.1, 1.8, 2) if is_still else np.full(2, rng.uniform(1.0, 1.5))
            if is_still and abs(np.log(zoom[1] / zoom[0])) < 0.08 * (end - start):
                zoom[1] = zoom[0] * 1.1 ** (end - start)
            centre = rng.uniform(0.35, 0.65, 2)
            shift = rng.normal(0, 0.12, 2) * min(end - start, 3)
            takes.append(
                Take(
                    path, end - start, (float(zoom[0]), float(zoom[1])),
                    ((float(centre[0]), float(centre[1])), (float(centre[0] + shift[0]), float(centre[1] + shift[1]))),
                    ease="even" if rng.random() < 0.7 else "out", source_start=float(rng.uniform(0, 3)),
                    grain=float(rng.choice([0, 3])), tint=tuple(map(float, rng.uniform(0.85, 1.15, 3))),
                )
            )  # fmt: skip
        return takes

    def slideshow(self, duration: float, rng: np.random.Generator) -> list[Take]:
        """Stills that never move, two to six seconds each, with hard cuts or dissolves."""
        takes: list[Take] = []
        total = 0.0
        has_dissolves = rng.random() < 0.5
        while total < duration - 1.5:
            length = min(float(rng.uniform(2, 6)), duration - total)
            path = self.stills[rng.integers(len(self.stills))]
            dissolve = 0.6 if has_dissolves and takes else 0.0
            takes.append(Take(path, length, (1.0, 1.0), dissolve=dissolve, grain=float(rng.choice([0, 1.5]))))
            total += length
        return takes

    def lyrics(self, duration: float, rng: np.random.Generator, is_scrolling: bool) -> Iterator[np.ndarray]:
        """Lines of text over an even ground or a still: a new card every few seconds, or slowly scrolling."""
        n = round(duration * FPS)
        if rng.random() < 0.5:
            ground = np.broadcast_to(rng.uniform(0, 90, 3).astype(np.float32), (SIZE[1], SIZE[0], 3)).copy()
        else:
            take = Take(self.stills[rng.integers(len(self.stills))], duration)
            ground = 0.5 * next(self.render([take], 0)).astype(np.float32)
        if is_scrolling:
            tall = write_lines(ground, rng, 60, SIZE[1] + n + 40)
            for k in range(n):
                text = tall[k : k + SIZE[1]]
                yield np.where(text[..., None] > 0, 235, ground).astype(np.uint8)
            return
        card, change = np.zeros(SIZE[::-1]), 0
        for k in range(n):
            if k >= change:
                card = write_lines(ground, rng, int(rng.integers(1, 5)), SIZE[1])
                change = k + round(float(rng.uniform(2, 4)) * FPS)
            yield np.where(card[..., None] > 0, 235, ground).astype(np.uint8)


def write_lines(ground: np.ndarray, rng: np.random.Generator, n_lines: int, height: int) -> np.ndarray:
    """A mask [height, w] of lines of random words in capital letters."""
    mask = np.zeros((height, ground.shape[1]), np.uint8)
    scale = int(rng.integers(2, 4))
    for line in range(n_lines):
        top = 30 + line * 12 * scale
        letters = "".join(
            chr(65 + int(c)) if c < 26 else " " for c in rng.integers(0, 31, ground.shape[1] // 8 // scale)
        )
        for i, letter in enumerate(letters):
            if letter == " " or top + 7 * scale > height:
                continue
            columns = np.frombuffer(GLYPHS[5 * (ord(letter) - 65) :][:5], np.uint8)
            glyph = (columns[None] >> np.arange(7)[:, None] & 1).astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
            left = 16 + i * 6 * scale
            room = mask[top : top + len(glyph), left : left + glyph.shape[1]]
            room |= glyph[:, : room.shape[1]]
    return mask


def resize(frames: list[np.ndarray], size: tuple[int, int] | int) -> list[np.ndarray]:
    """Scale pictures to another (width, height), or with a long side of at most so many pixels; even numbers."""
    scaled = []
    for frame in frames:
        height, width = frame.shape[:2]
        if isinstance(size, int):
            share = min(size / max(width, height), 1.0)
            width, height = round(width * share), round(height * share)
        else:
            width, height = size
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        small = picture.reformat(width // 2 * 2, height // 2 * 2, format="rgb24", interpolation="BICUBIC")
        scaled.append(small.to_ndarray())
    return scaled


def read_frames(path: Path) -> list[np.ndarray]:
    """Read all pictures of a file: [h, w, 3] uint8 each."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def write_video(
    path: Path,
    frames: Iterable[np.ndarray] | Path | None,
    sound: np.ndarray | None,
    *,
    fps: Fraction = FPS,
    quality: int = 25,
    sound_codec: str = "aac",
    kbps: int = 128,
    is_fast_start: bool = True,
) -> None:
    """Write frames [h, w, 3] uint8 (or copy the picture of a file) and sound [C, L] at SAMPLE_RATE (Opus: 48 kHz)."""
    options = {"movflags": "+faststart"} if is_fast_start and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        source = av.open(str(frames)) if isinstance(frames, Path) else None
        picture = None
        if source is not None:
            picture = container.add_stream_from_template(source.streams.video[0])
        elif frames is not None:
            frames = iter(frames)
            first = next(frames)
            settings = {"crf": str(quality), "preset": "veryfast", "threads": "1", "g": "36"}
            picture = container.add_stream("libx264", rate=fps, options=settings)
            picture.width, picture.height, picture.pix_fmt = first.shape[1], first.shape[0], "yuv420p"
        audio = None
        if sound is not None:
            rate = 48_000 if sound_codec == "libopus" else SAMPLE_RATE
            audio = container.add_stream(sound_codec, rate=rate, layout="stereo" if len(sound) == 2 else "mono")
            audio.bit_rate = 1000 * kbps
            if rate != SAMPLE_RATE:
                sound = soxr.resample(sound.T, SAMPLE_RATE, rate).T
            resampler = av.AudioResampler(audio.codec_context.format.name, audio.layout.name, rate)
            for start in range(0, sound.shape[1], 1024):
                part = np.ascontiguousarray(sound[:, start : start + 1024], dtype=np.float32)
                block = av.AudioFrame.from_ndarray(part, format="fltp", layout=audio.layout.name)
                block.sample_rate, block.pts, block.time_base = rate, start, Fraction(1, rate)
                for ready in resampler.resample(block):
                    container.mux(audio.encode(ready))
            container.mux(audio.encode(None))
        if source is not None and picture is not None:
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = picture
                    container.mux(packet)
            source.close()
        elif frames is not None and picture is not None:
            for frame in (first, *frames):
                container.mux(picture.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(picture.encode(None))
