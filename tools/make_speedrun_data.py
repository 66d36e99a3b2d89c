"""Music and pictures made from nothing, for tools/speedrun.sh: pieces written by rule, pictures drawn by formula.

    python tools/make_speedrun_data.py FOLDER --pieces 12 --seconds 30

FOLDER/music/written/*.wav and FOLDER/listing.csv (what train.codec.corpus reads), FOLDER/tags.npz (what each piece is
said to
be, from how it was written), FOLDER/media/*.png and FOLDER/bank.npz (the pictures, looked at once). All of it is CC0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import av
import numpy as np
import picture_bank
import soundfile
from midi_scores import DRUMS, Note
from rule_scores import BANDS, compose, draw_traits

from openvmas.condition import AXES
from openvmas.train.codec.corpus import is_held_out

SAMPLE_RATE = 32_000
N_HELD_OUT = 2
OVERTONES = {0: (1.0, 0.5, 0.25, 0.12), 1: (1.0, 0.0, 0.33, 0.0, 0.2), 2: (1.0, 0.7, 0.5, 0.35, 0.25, 0.18)}
# What a band says on the semantic axes, beside its mode and tempo.
SAID = {
    "piano": ("piano", "classical", "acousticness"), "strings": ("strings", "classical", "tender"),
    "orchestra": ("strings", "brass", "soundtrack"), "rock": ("guitar", "drums", "rock"),
    "pop": ("drums", "pop", "bass"), "electronic": ("synthesizer", "electronic", "drums"),
    "folk": ("guitar", "flute", "folk"), "chip": ("synthesizer", "game", "electronic"),
}  # fmt: skip


def play(notes: tuple[Note, ...], seconds: float) -> np.ndarray:
    """Notes as sums of decaying overtones, drums as decaying noise: [L] float32, peak 0.7."""
    wave, rng = np.zeros(round((seconds + 3) * SAMPLE_RATE), np.float32), np.random.default_rng(0)
    for note in notes:
        if note.start >= seconds:
            continue
        is_drum = note.program == DRUMS
        length = 0.15 if is_drum else min(note.end - note.start, 2.5) + 0.2
        time = np.arange(round(length * SAMPLE_RATE)) / SAMPLE_RATE
        rise = np.minimum(1, time / 0.005)
        if is_drum:
            low = np.sin(2 * np.pi * 55 * time) * (note.pitch < 38)
            sound = (low + 0.4 * rng.standard_normal(len(time)) * (note.pitch >= 38)) * np.exp(-time * 30)
        else:
            pitch = 440 * 2 ** ((note.pitch - 69) / 12)
            parts = OVERTONES[note.program // 8 % 3]
            tones = (a * np.sin(2 * np.pi * pitch * (k + 1) * time) for k, a in enumerate(parts))
            sound = sum(tones) * np.exp(-time * 3) * np.minimum(1, (length - time) / 0.05)
        first = round(note.start * SAMPLE_RATE)
        wave[first : first + len(time)] += (note.velocity / 127 * rise * sound).astype(np.float32)
    wave = wave[: round(seconds * SAMPLE_RATE)]
    return 0.7 * wave / max(float(np.abs(wave).max()), 1e-6)


def axes_of(seed: int) -> np.ndarray:
    """Semantic axes of a piece: [A], nan where nothing is known."""
    traits = draw_traits(np.random.default_rng([seed, 77]))
    said = dict.fromkeys(SAID[traits.band], 1.5)
    said |= {"happy": 1.0, "sad": -1.0} if traits.mode == "major" else {"happy": -1.0, "sad": 1.0}
    said |= {"arousal": float(np.clip((traits.tempo - 105) / 30, -2, 2))}
    return np.array([said.get(axis, np.nan) for axis in AXES])


def make_music(folder: Path, n: int, seconds: float) -> None:
    """n pieces; the last two under names that the split holds out."""
    (folder / "music" / "written").mkdir(parents=True, exist_ok=True)
    rows, names, axes = ["track,singing_share,speech_share"], [], []
    for seed in range(n):
        spare = (f"written/piece-{seed:03d}-{i}.wav" for i in range(1000))
        name = next(x for x in spare if is_held_out(x, "written") == (seed >= n - N_HELD_OUT))
        soundfile.write(folder / "music" / name, play(compose(seed).notes, seconds), SAMPLE_RATE)
        rows.append(f"{name},0.0,0.0")
        names.append(name)
        axes.append(axes_of(seed))
    (folder / "listing.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    start = np.arange(n + 1)
    said = np.array(axes, np.float16)
    np.savez(folder / "tags.npz", tracks=np.array(names), start=start, times=np.full(n, seconds / 2), axes=said)


def draw(seed: int) -> np.ndarray:
    """A picture of waves, a sun and a horizon in colours of its own: [180, 320, 3] uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:180, 0:320] / 180.0
    angle, scale = rng.uniform(0, np.pi), rng.uniform(2, 30)
    waves = 0.5 + 0.5 * np.sin(scale * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
    colours = rng.uniform(0, 255, (3, 3))
    picture = colours[0] * waves[..., None] + colours[1] * (1 - waves[..., None])
    sun = np.hypot(x - rng.uniform(0.3, 1.5), y - rng.uniform(0.2, 0.8)) < rng.uniform(0.1, 0.35)
    picture[sun] = colours[2]
    picture *= np.where(y > rng.uniform(0.5, 1.2), 0.5, 1.0)[..., None]
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_pictures(folder: Path, n: int) -> None:
    """n pictures and their bank."""
    (folder / "media").mkdir(parents=True, exist_ok=True)
    for seed in range(n):
        with av.open(str(folder / "media" / f"{seed:02d}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1)
            stream.width, stream.height, stream.pix_fmt = 320, 180, "rgb24"  # type: ignore[attr-defined]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(draw(seed), format="rgb24")))  # type: ignore
            container.mux(stream.encode(None))  # type: ignore[attr-defined]
    picture_bank.build(folder / "media", [f"{seed:02d}.png" for seed in range(n)]).save(folder / "bank.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pieces", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each piece")
    parser.add_argument("--pictures", type=int, default=15)
    options = parser.parse_args()
    assert set(SAID) == set(BANDS)
    make_music(options.folder, options.pieces, options.seconds)
    make_pictures(options.folder, options.pictures)
    print(f"{options.pieces} pieces of {options.seconds:g} s, {options.pictures} pictures in {options.folder}")


if __name__ == "__main__":
    main()
