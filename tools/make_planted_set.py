"""Make a set of small videos with known defects, for measuring the filters of `openvmas data build`.

    python tools/make_planted_set.py --media PICTURES --music MUSIC --out DIR [--seed 1] [--scale 1.0]

PICTURES and MUSIC are folders of unpacked Debian packages (tools/video_editor.py and planted_media.MUSIC_PACKAGES);
what is missing is fetched. DIR gets f0000.mp4 ... and truth.jsonl, one line a file:

    path, made     what it is: good, ken_burns, still, lyrics, speech, ...
    drops          filters that must refuse it; either: filters that may
    picture_group, sound_group    files that share pictures or sound have the same number
    duplicate_of, change          the file it was made from, and how
    cuts           s, where a montage cuts; is_mono: both channels are the same

The files are for measuring only: the licences of what is in them are mixed. The same seed gives the same set.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from make_test_videos import collect
from planted_media import (
    FPS,
    SIZE,
    Span,
    Studio,
    find_music,
    pick_cuts,
    read_frames,
    read_span,
    resize,
    write_video,
)
from planted_sounds import SAMPLE_RATE, Speaker, make_noise, shift_pitch
from video_editor import MORE_PACKAGES, PACKAGES, fetch

# How many of each at scale 1.
COUNTS = {
    "good": 30, "ken_burns": 8, "still": 8, "lyrics": 10, "scrolling": 3, "slideshow": 10, "speech": 20, "talk": 6,
    "silence": 8, "faint": 6, "noise": 16, "clipped": 16, "band_limited": 16, "mono": 6, "wrong_sound": 18,
    "shifted_sound": 6, "short": 10, "small": 10, "duplicate": 50, "no_index": 6, "truncated": 12, "damaged": 12,
    "random_bytes": 6, "zero_bytes": 3, "text": 3, "picture_only": 8, "sound_only": 8, "renamed": 4,
}  # fmt: skip
CHANGES = ("re-encoded", "cropped", "mirrored", "trimmed", "pitch")
ALL = ("probe", "size", "decode", "quality", "glance", "music", "speech", "moving", "fit")
AFTER_PROBE = ALL[1:]
AFTER_DECODE = ALL[3:]


@dataclass(frozen=True)
class Truth:
    """One line of truth.jsonl; see the module."""

    path: str
    made: str
    drops: tuple[str, ...] = ()
    either: tuple[str, ...] = ()
    picture_group: str = ""
    sound_group: str = ""
    duplicate_of: str = ""
    change: str = ""
    cuts: tuple[float, ...] = field(default_factory=tuple)
    is_mono: bool = False


@dataclass(frozen=True)
class Base:
    """A good file from which others are made."""

    truth: Truth
    span: Span


class Maker:
    """Makes the files one after the other; `truths` is what was made."""

    def __init__(self, media: Path, music: Path, out: Path, seed: int) -> None:
        self.out, self.seed = out, seed
        self.studio = Studio(*collect(media))
        self.speaker = Speaker(media)
        order = np.random.default_rng([seed, 99]).permutation
        tracks = find_music(music)
        self.tracks = [tracks[i] for i in order(len(tracks))]
        self.n_spans = 0
        self.truths: list[Truth] = []
        self.bases: list[Base] = []

    def name(self, suffix: str = ".mp4") -> str:
        return f"f{len(self.truths):04d}{suffix}"

    def add(self, truth: Truth) -> None:
        self.truths.append(replace(truth, cuts=tuple(round(c, 3) for c in truth.cuts)))

    def span(self, duration: float, rng: np.random.Generator) -> tuple[Span, str]:
        """Music that no other file has, and the name of its group."""
        while True:
            place = self.n_spans
            self.n_spans += 1
            found = read_span(self.tracks[place % len(self.tracks)], duration, rng)
            if found is not None:
                return found, f"s{place:03d}"

    def base(self, rng: np.random.Generator) -> Base:
        return self.bases[rng.integers(len(self.bases))]

    def make(self, made: str, rng: np.random.Generator) -> None:
        """One file of a kind."""
        for group in (self.fresh, self.other_sound, self.broken):
            if group(made, rng):
                return
        raise ValueError(f"nobody knows how to make {made}")

    def fresh(self, made: str, rng: np.random.Generator) -> bool:
        """Files with pictures and music of their own."""
        duration = float(rng.uniform(10.6, 12.5))
        if made in ("short", "small"):
            duration = float(rng.uniform(3, 8)) if made == "short" else duration
        elif made not in ("good", "ken_burns", "still", "lyrics", "scrolling", "slideshow"):
            return False
        span, sound_group = self.span(duration, rng)
        truth = Truth(self.name(), made, picture_group=f"p{len(self.truths):03d}", sound_group=sound_group)
        frames: Iterator[np.ndarray]
        if made in ("good", "ken_burns", "short", "small"):
            cuts = pick_cuts(span, float(rng.uniform(0.5, 0.9)), rng)
            takes = self.studio.montage(cuts, duration, rng, 0.6 if made == "good" else 0.0)
            frames = self.studio.render(takes, self.seed)
            truth = replace(truth, cuts=tuple(cuts))
            if made == "short":
                truth = replace(truth, drops=("size",), either=("fit",))
            if made == "small":
                frames = (frame[::2, ::2] for frame in frames)
                truth = replace(truth, drops=("size",), either=("fit", "moving"))
        elif made in ("lyrics", "scrolling"):
            frames = self.studio.lyrics(duration, rng, made == "scrolling")
            truth = replace(truth, drops=("moving",), either=("glance", "fit"))
        elif made == "slideshow":
            frames = self.studio.render(self.studio.slideshow(duration, rng), self.seed)
            truth = replace(truth, drops=("moving",), either=("fit",))
        else:
            picture = next(self.studio.render(self.studio.slideshow(2.0, rng), self.seed))
            grain = float(rng.choice([0, 2]))
            grains = [rng.normal(0, grain, picture.shape) for _ in range(5)]
            frames = (np.clip(picture + grains[k % 5], 0, 255).astype(np.uint8) for k in range(round(duration * FPS)))
            truth = replace(truth, drops=("glance", "moving"), either=("fit",))
        write_video(self.out / truth.path, frames, span.wave, quality=int(rng.integers(22, 30)))
        self.add(truth)
        if made == "good":
            self.bases.append(Base(self.truths[-1], span))
        return True

    def other_sound(self, made: str, rng: np.random.Generator) -> bool:
        """Files with the pictures of a good one and changed or other sound."""
        base = self.base(rng)
        wave, n = base.span.wave, base.span.wave.shape[1]
        truth = replace(base.truth, path=self.name(), made=made)
        if made in ("speech", "talk"):
            talk = self.speaker.talk(base.span.duration, rng)
            talk = np.pad(talk, (0, n - len(talk)))
            gain = 0.1 / np.sqrt(np.mean(wave**2)) * 10 ** (-rng.uniform(0, 12) / 20)
            wave = talk + (wave * gain if made == "speech" else 0.002 * rng.standard_normal((2, n)))
            truth = replace(truth, drops=("speech",) if made == "speech" else ("speech", "music"))
            truth = replace(truth, either=("fit", "music", "quality"))
        elif made == "silence":
            wave = np.zeros_like(wave)
            truth = replace(truth, drops=("quality", "music"), either=("fit",), sound_group="")
        elif made == "faint":
            wave = wave * 0.0015
            truth = replace(truth, drops=("quality",), either=("fit", "music"))
        elif made == "noise":
            wave = make_noise(n, rng)
            truth = replace(truth, drops=("music",), either=("fit", "quality"), sound_group="")
        elif made == "clipped":
            wave = np.clip(wave * 10 ** (rng.uniform(12, 20) / 20), -1, 1) * (0.99 if rng.random() < 0.6 else 0.6)
            truth = replace(truth, drops=("quality",), either=("fit", "music"))
        elif made == "band_limited":
            cutoff = int(rng.choice([2000, 2750, 4000]))
            low = soxr.resample(wave.T, SAMPLE_RATE, 2 * cutoff, quality="HQ")
            wave = soxr.resample(low, 2 * cutoff, SAMPLE_RATE, quality="HQ").T[:, :n]
            truth = replace(truth, drops=("quality",), either=("fit", "music"))
        elif made == "mono":
            wave = np.repeat(wave.mean(axis=0, keepdims=True), 2, axis=0)
            truth = replace(truth, is_mono=True, either=("fit",))
        elif made in ("wrong_sound", "shifted_sound"):
            group = truth.sound_group
            if made == "wrong_sound":
                span, group = self.span(base.span.duration, rng)
                wave = span.wave
            else:
                wave = np.roll(wave, int(rng.uniform(0.2, 0.8) * SAMPLE_RATE) * int(rng.choice([-1, 1])), axis=1)
            truth = replace(truth, drops=("fit",), sound_group=group)
        else:
            return False
        write_video(self.out / truth.path, self.out / base.truth.path, wave)
        self.add(truth)
        return True

    def duplicate(self, change: str, rng: np.random.Generator) -> None:
        """A good file again, changed in one way (and encoded anew)."""
        base = self.base(rng)
        frames, wave = read_frames(self.out / base.truth.path), base.span.wave
        truth = replace(base.truth, path=self.name(), made="duplicate", duplicate_of=base.truth.path, change=change)
        codec, quality, kbps = "aac", 26, 96
        if change == "re-encoded":
            truth = replace(truth, path=self.name(".mkv"))
            codec, quality, kbps = str(rng.choice(["libopus", "libmp3lame"])), 33, 56
            frames = resize(frames, (SIZE[0] * 3 // 4, SIZE[1] * 3 // 4))
        elif change == "cropped":
            x, y = (int(rng.integers(n // 20, n // 10)) for n in SIZE)
            frames = resize([frame[y:-y, x:-x] for frame in frames], SIZE)
        elif change == "mirrored":
            frames = [np.ascontiguousarray(frame[:, ::-1]) for frame in frames]
        elif change == "trimmed":
            first, last = round(float(rng.uniform(0.5, 1.5)) * FPS), round(float(rng.uniform(0.1, 0.6)) * FPS)
            frames = frames[first : len(frames) - last]
            start = round(first / float(FPS) * SAMPLE_RATE)
            wave = wave[:, start : start + round(len(frames) / float(FPS) * SAMPLE_RATE)]
            truth = replace(truth, cuts=tuple(c - first / float(FPS) for c in truth.cuts if c > first / float(FPS)))
        else:
            wave = shift_pitch(wave, float(rng.choice([-2, -1, -0.5, 0.5, 1, 2])))
        write_video(self.out / truth.path, frames, wave, quality=quality, sound_codec=codec, kbps=kbps)
        if change in ("re-encoded", "trimmed"):  # smaller, or shorter: the size may be refused as well
            truth = replace(truth, either=(*truth.either, "size"))
        self.add(truth)

    def broken(self, made: str, rng: np.random.Generator) -> bool:
        """Files that cannot be read, or not whole, or lack one side."""
        if made == "duplicate":
            self.duplicate(CHANGES[sum(t.made == "duplicate" for t in self.truths) % len(CHANGES)], rng)
            return True
        base = self.base(rng)
        data = (self.out / base.truth.path).read_bytes()
        nothing = Truth(self.name(), made, drops=("probe",), either=AFTER_PROBE)
        if made == "no_index":  # the index is at the end and cut off
            write_video(self.out / nothing.path, self.out / base.truth.path, base.span.wave, is_fast_start=False)
            whole = (self.out / nothing.path).read_bytes()
            (self.out / nothing.path).write_bytes(whole[: int(len(whole) * rng.uniform(0.4, 0.8))])
        elif made == "truncated":
            suffix = str(rng.choice([".mp4", ".mkv"]))
            nothing = replace(
                nothing, path=self.name(suffix), drops=("decode",), either=("probe", "size", *AFTER_DECODE)
            )
            if suffix == ".mkv":
                write_video(self.out / nothing.path, self.out / base.truth.path, base.span.wave)
                data = (self.out / nothing.path).read_bytes()
            (self.out / nothing.path).write_bytes(data[: int(len(data) * rng.uniform(0.4, 0.8))])
        elif made == "damaged":
            first, share = rng.uniform(0.25, 0.6), rng.uniform(0.15, 0.3)
            part = slice(int(first * len(data)), int((first + share) * len(data)))
            junk = rng.bytes(part.stop - part.start) if rng.random() < 0.5 else bytes(part.stop - part.start)
            (self.out / nothing.path).write_bytes(data[: part.start] + junk + data[part.stop :])
            nothing = replace(nothing, drops=("decode",), either=("probe", "size", *AFTER_DECODE))
        elif made in ("random_bytes", "zero_bytes", "text"):
            content = {"random_bytes": rng.bytes(200_000), "zero_bytes": b"", "text": b"This is no video.\n" * 999}
            (self.out / nothing.path).write_bytes(content[made])
        elif made == "picture_only":
            write_video(self.out / nothing.path, self.out / base.truth.path, None)
            nothing = replace(nothing, picture_group=base.truth.picture_group)
        elif made == "sound_only":
            if rng.random() < 0.5:  # a WAV file under a wrong name
                with (self.out / nothing.path).open("wb") as file:
                    soundfile.write(file, base.span.wave.T, SAMPLE_RATE, format="WAV")
            else:
                write_video(self.out / nothing.path, None, base.span.wave)
            nothing = replace(nothing, sound_group=base.truth.sound_group)
        elif made == "renamed":  # a good file under a wrong name: to be kept
            nothing = replace(base.truth, path=self.name(str(rng.choice([".avi", ".txt", ".mkv"]))), made=made)
            nothing = replace(nothing, duplicate_of=base.truth.path, change="renamed")
            (self.out / nothing.path).write_bytes(data)
        else:
            return False
        self.add(nothing)
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="Unpacked packages with pictures.")
    parser.add_argument("--music", type=Path, required=True, help="Unpacked packages with music.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="Share of the full set.")
    options = parser.parse_args()
    if not options.media.exists():
        fetch(options.media, PACKAGES + MORE_PACKAGES, ("espeakng-loader==0.2.4",))
    options.out.mkdir(parents=True, exist_ok=True)
    maker = Maker(options.media, options.music, options.out, options.seed)
    began = time.perf_counter()
    for made, count in COUNTS.items():
        kind = list(COUNTS).index(made)
        for i in range(max(round(count * options.scale), 1)):
            maker.make(made, np.random.default_rng([options.seed, kind, i]))
        print(f"{made}: {len(maker.truths)} files, {time.perf_counter() - began:.0f} s", flush=True)
    lines = [json.dumps(asdict(truth), sort_keys=True) + "\n" for truth in maker.truths]
    (options.out / "truth.jsonl").write_text("".join(lines), encoding="utf-8")
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{len(lines)} files, {size / 1e6:.0f} MB, {maker.n_spans} spans of {len(maker.tracks)} tracks")


if __name__ == "__main__":
    main()
