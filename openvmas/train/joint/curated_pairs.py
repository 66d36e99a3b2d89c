"""Clips of a curated set (`openvmas data build`), read where they lie: nothing but an index is in memory.

`CuratedPairs` are its videos with their own music, `CuratedMusic` all its music without pictures. Together they are
enough to train on: `openvmas train joint SET RUN` learns from the split `train` and measures on `valid`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from openvmas.data.shards.loader import Clips
from openvmas.data.stages.packed import unpack_codes, unpack_curve, unpack_events, unpack_features
from openvmas.errors import InputError
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from openvmas.train.codec.identity import CodecIdentity
from openvmas.train.decoder.examples import CURVE_NAMES, GRID_CONFIDENCE, Example, condition_of
from openvmas.train.joint.pairs import PictureSpan, TrainingClip, clip_of, clip_of_pair, curves_of, frame_count

RATE = float(CONTROL_RATE)
ARRAYS = (
    "codes", "features", "feature_times", "motion", "beats", "downbeats",
    *(f"{side}_{name}" for side in ("seen", "heard") for name in ("accent_steps", "accents", "energy", "novelty")),
)  # fmt: skip
MAX_TRIES = 200  # records that are drawn in vain before it is said that there are hardly any
SET_FILE = "set.jsonl"  # which a finished set has


def is_set(folder: Path) -> bool:
    """Whether a folder is a set of `openvmas data build`."""
    return (folder / SET_FILE).is_file()


class CuratedClips:
    """Records of a split that have codes. codec: whose codes they are; that of the first record if None.

    Raises InputError if the split has no records with codes, or codes of another codec.
    """

    is_music: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("codes",)

    def __init__(self, folder: Path, codec: CodecIdentity | None = None, split: str = "train") -> None:
        self.folder, self.split, self.clips = folder, split, Clips(folder, split, ARRAYS)
        first = next((found for found in map(self.read, range(len(self.clips))) if found), None)
        if first is None:
            raise InputError(
                f"{folder} has no {'video' if 'features' in self.needs else 'music'} with codes in {split}; build it "
                "with the stage features and a codec, or choose a larger share for this split."
            )
        self.codec = codec or codec_of(first[1])
        self.check(first[1])
        self.feature_width = unpack_features(first[0]["features"][:1]).shape[1] if "features" in first[0] else 0

    def read(self, number: int) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """A record with its arrays, and what the stage features found; None if it lacks something."""
        found = self.clips[number]
        every = found["record"].facts.items()
        facts = {name.removeprefix("features."): value for name, value in every if name.startswith("features.")}
        return (found, facts) if all(name in found for name in self.needs) else None

    def check(self, facts: dict[str, Any]) -> None:
        """Raises InputError for a record whose codes are of another codec."""
        remedy = "build the set with that codec ([stages.features] codec), or train from the beginning on its codes."
        self.codec.require(codec_of(facts), str(self.folder), remedy)

    def choose(self, generator: np.random.Generator, n_codes: int) -> tuple[dict[str, Any], dict[str, Any], int]:
        """A record of at least n_codes steps, what is known of it, and a first step, at random. Raises InputError."""
        for _ in range(MAX_TRIES):
            found = self.read(int(generator.integers(len(self.clips))))
            if found is None or found[1].get("n_steps", 0) < n_codes:
                continue
            self.check(found[1])
            return *found, int(generator.integers(found[1]["n_steps"] - n_codes + 1))
        what = "video" if "features" in self.needs else "music"
        raise InputError(
            f"{self.folder} has hardly any {what} of {n_codes / RATE:.1f} s "
            f"with codes in {self.split}; take shorter crops with --steps-per-crop (50 are a second)."
        )


class CuratedPairs(CuratedClips):
    """Videos with their own music. fps, picture_events: as for `pairs.MontagePairs`; features are the nearest kept."""

    needs: ClassVar[tuple[str, ...]] = ("codes", "features")

    def __init__(
        self, folder: Path, codec: CodecIdentity | None = None, fps: float = 2.0, split: str = "train",
        picture_events: float = 0.5,
    ) -> None:  # fmt: skip
        self.fps, self.picture_events = fps, picture_events
        super().__init__(folder, codec, split)

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        found, facts, start = self.choose(generator, n_codes)
        example, events, motion = example_of(found, facts)
        views = unpack_features(found["features"]), found["feature_times"]
        picture = crop_picture(events, motion, views, start, n_steps, self.fps)
        return clip_of_pair(example, picture, piece_of(found), generator, n_codes, self.picture_events)


class CuratedMusic(CuratedClips):
    """All music of a set, that of its videos too, without a picture."""

    is_music: ClassVar[bool] = True

    def draw(self, generator: np.random.Generator, n_steps: int, n_codes: int) -> TrainingClip:
        found, facts, start = self.choose(generator, n_codes)
        example = music_of(found, facts)
        condition = condition_of(example, start, n_steps, generator)
        return clip_of(example, piece_of(found), start, n_codes, condition, curves_of(condition.events), None)


def codec_of(facts: dict[str, Any]) -> CodecIdentity:
    """The codec of a record's codes, as the stage features wrote it down."""
    names = ("codec", "codec_sha256", "n_codebooks", "codebook_size")
    return CodecIdentity(*(facts[name] for name in names))


def piece_of(found: dict[str, Any]) -> int:
    """A number for a record that no other has."""
    return int(hashlib.sha256(found["__key__"].encode()).hexdigest()[:15], 16)


def music_of(found: dict[str, Any], facts: dict[str, Any]) -> Example:
    """A record's music as an example without tags."""
    has_grid = facts["confidence"] >= GRID_CONFIDENCE
    beats, downbeats = (found[name].astype(float) if has_grid else np.zeros(0) for name in ("beats", "downbeats"))
    codes = unpack_codes(found["codes"], facts["n_steps"], facts["codebook_size"])
    events = unpack_events(found, "heard", facts["duration"])
    return Example(codes, events, beats, downbeats, np.zeros(0), np.zeros((0, 0)), has_ending=False)


def example_of(found: dict[str, Any], facts: dict[str, Any]) -> tuple[Example, Events, np.ndarray]:
    """A record's music as an example, and its picture's events and motion at CONTROL_RATE."""
    pictured = unpack_events(found, "seen", facts["duration"])
    return music_of(found, facts), pictured, unpack_curve(found["motion"], pictured.n_steps)


def crop_picture(
    events: Events, motion: np.ndarray, views: tuple[np.ndarray, np.ndarray], start: int, n_steps: int, fps: float
) -> PictureSpan:  # fmt: skip
    """A span of n_steps from start of a picture; its last values are repeated where it ends earlier.

    views: features [N, W] and their times [N], s, of which the nearest are taken for each frame at fps.
    """
    places = np.minimum(start + np.arange(n_steps), events.n_steps - 1)
    inside = start + np.arange(n_steps) < events.n_steps
    accents, energy, novelty = (getattr(events, name)[places] for name in CURVE_NAMES)
    cut = Events(events.rate, np.where(inside, accents, 0).astype(np.float32), energy, novelty)
    times, (features, kept) = start / RATE + np.arange(frame_count(n_steps, fps)) / fps, views
    nearest = np.abs(times[:, None] - kept).argmin(1)
    return PictureSpan(0, start, curves_of(cut, motion[places]), features[nearest].astype(np.float32))
