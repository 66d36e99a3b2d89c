"""Real pairs, from the shards of a curated set, and weak ones, where only tags say what picture goes with the music.

Both are sources like `pairs.MontagePairs`: a recipe mixes them by their shares.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.montage.bank import Bank
from openvmas.data.montage.music_clips import match
from openvmas.data.shards.loader import Clips
from openvmas.data.stages.packed import unpack_codes, unpack_curve, unpack_events, unpack_features
from openvmas.errors import InputError
from openvmas.timeline import Events
from openvmas.train.decoder.examples import GRID_CONFIDENCE, Example, Examples, condition_of
from openvmas.train.joint.pairs import RATE, Clip, Seen, clip_of, curves_of, frame_count, pair_clip

ARRAYS = (
    "codes", "features", "feature_times", "motion", "beats", "downbeats",
    *(f"{side}_{name}" for side in ("seen", "heard") for name in ("accent_steps", "accents", "energy", "novelty")),
)  # fmt: skip
SHARPNESS = 0.2  # temperature of the choice of pictures by tags
WEAK_SHOT = 4.0  # s, on average, that a picture of a weak pair stays


class ShardPairs:
    """Clips of a curated set (`openvmas data build`), read where they lie: nothing but an index is in memory.

    codebooks_sha256: of the codec that the decoder is trained for. fps, picture_events: as for `MontagePairs`; features
    are the nearest that were kept. Raises InputError if the set has no pairs with codes of that codec.
    """

    def __init__(
        self, folder: Path, codebooks_sha256: str, fps: float = 2.0, split: str = "train", picture_events: float = 0.5
    ) -> None:
        self.clips, self.codebooks_sha256 = Clips(folder, split, ARRAYS), codebooks_sha256
        self.fps, self.picture_events, self.folder = fps, picture_events, folder

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        for _ in range(200):
            number = int(generator.integers(len(self.clips)))
            found = self.clips[number]
            every = found["record"].facts.items()
            facts = {name.removeprefix("features."): value for name, value in every if name.startswith("features.")}
            if "features" not in found or "codes" not in found or facts.get("n_steps", 0) < n_codes:
                continue
            if facts["codec_sha256"] != self.codebooks_sha256:
                raise InputError(
                    f"the codes in {self.folder} are of {facts['codec']}, not of this decoder's codec; build the set "
                    "again with it."
                )
            example, events, motion = example_of(found, facts)
            start = int(generator.integers(facts["n_steps"] - n_codes + 1))
            views = unpack_features(found["features"]), found["feature_times"]
            seen = seen_from(events, motion, views, start, n_steps, self.fps)
            piece = int(hashlib.sha256(found["__key__"].encode()).hexdigest()[:15], 16)
            return pair_clip(example, seen, piece, generator, n_codes, self.picture_events)
        raise InputError(
            f"{self.folder} has hardly any video of {n_codes / RATE:.1f} s with codes; take shorter crops."
        )


def example_of(found: dict[str, Any], facts: dict[str, Any]) -> tuple[Example, Events, np.ndarray]:
    """A record's music as an example without tags, and its picture's events and motion at CONTROL_RATE."""
    n_steps, duration = facts["n_steps"], facts["duration"]
    has_grid = facts["confidence"] >= GRID_CONFIDENCE
    beats, downbeats = (found[name].astype(float) if has_grid else np.zeros(0) for name in ("beats", "downbeats"))
    codes = unpack_codes(found["codes"], n_steps, facts["codebook_size"])
    heard, seen = (unpack_events(found, side, duration) for side in ("heard", "seen"))
    example = Example(codes, heard, beats, downbeats, np.zeros(0), np.zeros((0, 0)), has_ending=False)
    return example, seen, unpack_curve(found["motion"], seen.n_steps)


def seen_from(
    events: Events, motion: np.ndarray, views: tuple[np.ndarray, np.ndarray], start: int, n_steps: int, fps: float
) -> Seen:  # fmt: skip
    """What a picture shows for n_steps from start; the last values go on where it ends earlier.

    views: features [N, W] and their times [N], s, of which the nearest are taken for each frame at fps.
    """
    places = np.minimum(start + np.arange(n_steps), events.n_steps - 1)
    inside = start + np.arange(n_steps) < events.n_steps
    accents, energy, novelty = (getattr(events, name)[places] for name in ("accents", "energy", "novelty"))
    cut = Events(events.rate, np.where(inside, accents, 0).astype(np.float32), energy, novelty)
    times, (features, kept) = start / RATE + np.arange(frame_count(n_steps, fps)) / fps, views
    nearest = np.abs(times[:, None] - kept).argmin(1)
    return Seen(0, start, curves_of(cut, motion[places]), features[nearest].astype(np.float32))


class WeakPairs:
    """Music with pictures that only its tags speak for: meaning without any timing, as a tagged library gives.

    Pictures of the bank whose mood fits stay for some seconds each; what they do and when is unknown, so the curves of
    the picture are empty. Raises InputError if no example has tags.
    """

    def __init__(self, examples: Examples, bank: Bank, fps: float = 2.0, n_pieces: int | None = None) -> None:
        self.examples, self.bank, self.fps = examples, bank, fps
        self.n_pieces = n_pieces or len(examples.examples)
        if not any(len(example.axes) for example in examples.examples):
            raise InputError("no track has tags; tag the music with tools/tag_music.py or leave out weak pairs.")
        self.tags = bank.tags()

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> Clip:
        while True:
            index, start = self.examples.choose(generator, n_codes)
            example = self.examples.examples[index]
            if len(example.axes):
                break
        window = int(np.abs(example.axis_times - (start + n_steps / 2) / RATE).argmin())
        fit = match(self.tags, example.axes[window]) / SHARPNESS
        share = np.exp(fit - fit.max())
        n_frames = frame_count(n_steps, self.fps)
        is_new = generator.random(n_frames) < 1 / (WEAK_SHOT * self.fps)
        shots = np.cumsum(is_new)
        files = generator.choice(len(share), int(shots[-1]) + 1, p=share / share.sum())[shots]
        views = [int(generator.integers(self.bank.first[f], self.bank.first[f + 1])) for f in range(len(share))]
        features = self.bank.features[[views[f] for f in files]].astype(np.float32)
        condition = condition_of(example, start, n_steps, generator)
        curves = np.zeros((n_steps, 4), np.float32)
        return clip_of(example, index % self.n_pieces, start, n_codes, condition, curves, features)
