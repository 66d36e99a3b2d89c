"""Training examples of the decoder: codes of a track and everything a condition is made of, all from the music itself.

    python -m openvmas.train.examples listen WAVES EXAMPLES          # curves, beats (needs no codec)
    python -m openvmas.train.examples encode WAVES EXAMPLES CODEC    # codes; again after every new codec

Both steps skip what is there already, so several processes share the work. `Examples` then draws crops of codes with
their conditions.
"""

from __future__ import annotations

import argparse
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES, Condition
from openvmas.config import CONTROL_RATE
from openvmas.music.analysis import MusicAnalysis, listen
from openvmas.timeline import Events
from openvmas.train.corpus import EXCLUDED_ALBUMS, SAMPLE_RATE, Track, read_index

MAX_SINGING, MAX_SPEECH = 0.35, 0.15  # shares of a track; the model is to write instrumental music
GRID_CONFIDENCE = 0.35  # below it a beat grid is a guess, and the model is told that there is none
ENDING_DB = -20.0  # a track ends by itself if its last quarter second is this much softer than the whole


def key_of(track: Track) -> str:
    return hashlib.sha256(track.name.encode()).hexdigest()[:16]


def is_usable(track: Track) -> bool:
    """Whether the decoder may learn from a track: instrumental, and of a licence that is known."""
    is_instrumental = track.singing_share <= MAX_SINGING and track.speech_share <= MAX_SPEECH
    return is_instrumental and track.album not in EXCLUDED_ALBUMS and track.length > SAMPLE_RATE


def read_wave(folder: Path, track: Track) -> np.ndarray:
    """[L] float32."""
    waves = np.memmap(folder / "waves.s16", dtype="<i2", mode="r")
    return waves[track.start : track.start + track.length].astype(np.float32) / 32768


def listen_all(waves: Path, examples: Path) -> None:
    (examples / "heard").mkdir(parents=True, exist_ok=True)
    for track in read_index(waves):
        path = examples / "heard" / f"{key_of(track)}.npz"
        if not path.exists() and is_usable(track):
            listen(read_wave(waves, track), SAMPLE_RATE).save(path)


def encode_all(waves: Path, examples: Path, codec_path: str, seconds: int = 60) -> None:
    """Codes [K, T] of every track as uint16, in overlapping pieces so that no piece has an edge inside a track."""
    import torch

    from openvmas.codec.autoencoder import load_codec

    codec = load_codec(codec_path)
    (examples / "codes").mkdir(parents=True, exist_ok=True)
    hop, margin = codec.config.hop_length, 50
    piece = seconds * SAMPLE_RATE // hop
    for track in read_index(waves):
        path = examples / "codes" / f"{key_of(track)}.npy"
        if path.exists() or not is_usable(track):
            continue
        path.touch()  # another process takes the next track
        wave = read_wave(waves, track)
        n_steps = len(wave) // hop
        parts = []
        for start in range(0, n_steps, piece):
            first, last = max(0, start - margin), min(n_steps, start + piece + margin)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                latent = codec.encode_latent(torch.from_numpy(wave[None, first * hop : last * hop])).float()
            codes = codec.quantizer.encode(latent)[0, :, start - first : start - first + min(piece, n_steps - start)]
            parts.append(codes.numpy().astype(np.uint16))
        np.save(path.with_suffix(".tmp.npy"), np.concatenate(parts, axis=1))
        path.with_suffix(".tmp.npy").rename(path)


@dataclass(frozen=True)
class Example:
    """One track: codes [K, T], what was heard, and semantic axes [N, A] at times [N] s (none if never tagged)."""

    track: Track
    codes: np.ndarray
    heard: MusicAnalysis
    axis_times: np.ndarray
    axes: np.ndarray
    has_ending: bool


class Examples:
    """Random crops of codes [K, T] with their Condition.

    tags: NPZ of scripts/tag_music.py.
    """

    def __init__(self, waves: Path, examples: Path, tags: Path, held_out: bool = False) -> None:
        with np.load(tags) as data:
            spans = dict(
                zip(data["tracks"].tolist(), zip(data["start"][:-1], data["start"][1:], strict=True), strict=True)
            )
            times, axes = data["times"], data["axes"].astype(np.float32)
        self.examples: list[Example] = []
        for track in read_index(waves):
            codes_path = examples / "codes" / f"{key_of(track)}.npy"
            heard_path = examples / "heard" / f"{key_of(track)}.npz"
            is_there = codes_path.exists() and codes_path.stat().st_size and heard_path.exists()
            if track.is_held_out != held_out or not is_usable(track) or not is_there:
                continue
            first, last = spans.get(track.name, (0, 0))
            wave = read_wave(waves, track)
            tail, whole = (float(np.sqrt(np.mean(x**2)) + 1e-6) for x in (wave[-SAMPLE_RATE // 4 :], wave))
            self.examples.append(
                Example(
                    track, np.load(codes_path), MusicAnalysis.load(heard_path), times[first:last], axes[first:last],
                    20 * np.log10(tail / whole) < ENDING_DB,
                )
            )  # fmt: skip
        self.ends = np.cumsum([example.codes.shape[1] for example in self.examples])

    def draw(self, generator: np.random.Generator, n_steps: int) -> tuple[np.ndarray, Condition]:
        """Codes [K, n_steps] and condition of a crop; beginnings and endings come more often than by chance."""
        place = generator.random()
        while True:
            index = int(np.searchsorted(self.ends, int(generator.integers(self.ends[-1])), side="right"))
            example = self.examples[index]
            n_codes = example.codes.shape[1]
            if n_codes >= n_steps and (place >= 0.1 or example.has_ending):
                break
        start = int(generator.integers(n_codes - n_steps + 1))
        if place < 0.1:
            start = n_codes - n_steps
        elif place < 0.16:
            start = 0
        return example.codes[:, start : start + n_steps].astype(np.int64), condition_of(
            example, start, n_steps, generator
        )


def condition_of(example: Example, start: int, n_steps: int, generator: np.random.Generator | None = None) -> Condition:
    """The condition of a crop, from the music itself; with a generator, imperfect as a picture's would be.

    Imperfection: accents are missed (a fifth), shift by a step, vary in strength; each semantic axis is known with
    probability 0.5, all of them or none in a tenth of the crops each; energy is smoothed by chance.
    """
    heard, rate = example.heard, float(CONTROL_RATE)
    crop = slice(start, start + n_steps)
    accents, energy, novelty = (
        np.pad(getattr(heard.events, name)[crop], (0, max(0, start + n_steps - heard.events.n_steps)))
        for name in ("accents", "energy", "novelty")
    )
    if generator is not None:
        accents = blur_accents(accents, generator)
    has_grid = heard.confidence >= GRID_CONFIDENCE
    beats, downbeats = (marks - start / rate if has_grid else np.zeros(0) for marks in (heard.beats, heard.downbeats))
    times = (start + np.arange(n_steps)) / rate
    semantics = np.full((n_steps, len(AXES)), np.nan, dtype=np.float32)
    if len(example.axes):
        semantics = np.stack([np.interp(times, example.axis_times, a) for a in example.axes.T], axis=1).astype(
            np.float32
        )
        if generator is not None:
            share = generator.choice([0.0, 0.15, 0.5, 1.0], p=[0.05, 0.4, 0.45, 0.1])
            semantics[:, generator.random(len(AXES)) >= share] = np.nan
    left = example.codes.shape[1] / rate - times if example.has_ending else np.full(n_steps, np.inf)
    return Condition(Events(CONTROL_RATE, accents, energy, novelty), beats, downbeats, semantics, left, times)


def blur_accents(accents: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Miss a fifth of the accents, move some by one step, vary their strength."""
    blurred = np.zeros_like(accents)
    where = np.flatnonzero(accents > 0)
    where = where[generator.random(len(where)) >= 0.2]
    moved = np.clip(where + generator.choice([-1, 0, 1], len(where), p=[0.15, 0.7, 0.15]), 0, len(accents) - 1)
    blurred[moved] = np.clip(accents[where] * generator.uniform(0.7, 1.3, len(where)), 0, 1)
    return blurred


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["listen", "encode"])
    parser.add_argument("waves", type=Path)
    parser.add_argument("examples", type=Path)
    parser.add_argument("codec", nargs="?")
    arguments = parser.parse_args()
    if arguments.step == "listen":
        listen_all(arguments.waves, arguments.examples)
    elif arguments.codec is None:
        parser.error("encode needs the path of a codec.pt")
    else:
        encode_all(arguments.waves, arguments.examples, arguments.codec)


if __name__ == "__main__":
    main()
