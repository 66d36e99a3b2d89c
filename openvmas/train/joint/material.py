"""The material of a joint run: packed music with pictures for it, or a curated set of videos alone.

Either gives sources of clips by the names of their shares, and the held-out pairs that are measured on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from openvmas.condition import Condition
from openvmas.data.montage.bank import Bank
from openvmas.errors import InputError
from openvmas.model.decoder import DecoderConfig
from openvmas.settings import CONTROL_RATE
from openvmas.train.codec.identity import CodecIdentity
from openvmas.train.decoder.examples import Examples
from openvmas.train.joint.curated_pairs import CuratedMusic, CuratedPairs
from openvmas.train.joint.joint_model import JointRecipe
from openvmas.train.joint.pairs import (
    ClipSource,
    MontagePairs,
    Music,
    PairPool,
    PooledPairs,
    TrainingClip,
    WeakPairs,
    draw_distinct,
    events_as_planned,
)

Pictures = tuple[Bank, Bank] | tuple[PairPool, PairPool]
Sources = Mapping[str, ClipSource]  # by the field of the recipe that says its share
TEST_SEED = 99


class Material(Protocol):
    """feature_width: of the features of pictures. codec: whose codes the music is in, None where not recorded."""

    @property
    def feature_width(self) -> int: ...

    @property
    def codec(self) -> CodecIdentity | None: ...

    def check_codes(self, config: DecoderConfig) -> None:
        """Raises InputError for codes that a decoder cannot read."""
        ...

    def shares(self, recipe: JointRecipe) -> dict[str, float]:
        """The share of every source in a batch, by its field of the recipe."""
        ...

    def sources(self, recipe: JointRecipe) -> Sources:
        """The sources that have a share. Raises InputError for one that cannot be."""
        ...

    def tests(self, recipe: JointRecipe, config: DecoderConfig) -> list[TrainingClip]:
        """Held-out pairs, always the same."""
        ...


@dataclass(frozen=True)
class PackedMaterial:
    """Music of `train examples pack`, with pictures to train on and held out. real: videos with music, if any."""

    music: Examples
    held_out: Examples
    pictures: Pictures
    real: CuratedPairs | None = None

    @property
    def feature_width(self) -> int:
        return self.pictures[0].features.shape[-1]

    @property
    def codec(self) -> CodecIdentity | None:
        return self.music.codec or (self.real.codec if self.real else None)

    def check_codes(self, config: DecoderConfig) -> None:
        for examples in (self.music, self.held_out):
            examples.check_codes(config.n_codebooks, config.codebook_size)

    def shares(self, recipe: JointRecipe) -> dict[str, float]:
        names = ("share_music", "share_montage", "share_real", "share_weak")
        return {name: getattr(recipe, name) for name in names}

    def sources(self, recipe: JointRecipe) -> Sources:
        found: dict[str, ClipSource] = {"share_music": Music(self.music), "share_montage": self._pairs(recipe)}
        if recipe.share_real:
            if self.real is None:
                raise InputError("--share-real needs videos with music; give a curated set with --shards.")
            found["share_real"] = self.real
        if recipe.share_weak:
            if not isinstance(self.pictures[0], Bank):
                raise InputError("--share-weak chooses pictures itself; give --bank in place of --pools.")
            found["share_weak"] = WeakPairs(self.music, self.pictures[0], recipe.fps)
        return found

    def _pairs(self, recipe: JointRecipe) -> ClipSource:
        training = self.pictures[0]
        if isinstance(training, PairPool):
            return PooledPairs(self.music, training, recipe.fps, recipe.events_fps, recipe.picture_events)
        if recipe.events_fps:
            raise InputError("--events-fps needs pairs from a pool; give --pools in place of --bank.")
        return MontagePairs(self.music, training, recipe.steps_per_crop, recipe.fps, recipe.seed, recipe.picture_events)

    def tests(self, recipe: JointRecipe, config: DecoderConfig) -> list[TrainingClip]:
        testing, n_steps = self.pictures[1], recipe.steps_per_crop
        if isinstance(testing, PairPool):
            return test_clips(self.held_out, testing, recipe, config.n_codebooks)[: recipe.test_pairs]
        source = MontagePairs(self.held_out, testing, n_steps, recipe.fps, TEST_SEED, picture_events=1.0)
        return draw_distinct(source, recipe.test_pairs, n_steps, config, TEST_SEED)


@dataclass(frozen=True)
class CuratedMaterial:
    """A set of `openvmas data build` alone: its videos take the shares of montages and of real pairs.

    It learns from the split train and measures on valid. codec: if the codes must be of a certain one.
    """

    folder: Path
    fps: float = 2.0
    wanted: CodecIdentity | None = field(default=None)

    @cached_property
    def pairs(self) -> CuratedPairs:
        """The videos to train on."""
        return CuratedPairs(self.folder, self.wanted, self.fps)

    @property
    def feature_width(self) -> int:
        return self.pairs.feature_width

    @property
    def codec(self) -> CodecIdentity | None:
        return self.pairs.codec

    def check_codes(self, config: DecoderConfig) -> None:
        """Nothing to do: a set records its codec, with the sizes."""

    def shares(self, recipe: JointRecipe) -> dict[str, float]:
        return {"share_music": recipe.share_music, "share_real": recipe.share_real + recipe.share_montage}

    def sources(self, recipe: JointRecipe) -> Sources:
        if recipe.share_weak:
            raise InputError("--share-weak needs packed music with tags and --bank; leave it out with a set alone.")
        if recipe.events_fps:
            raise InputError("--events-fps needs pairs from a pool; leave it out with a set alone.")
        return {"share_music": CuratedMusic(self.folder, self.codec), "share_real": self.pairs}

    def tests(self, recipe: JointRecipe, config: DecoderConfig) -> list[TrainingClip]:
        source = CuratedPairs(self.folder, self.codec, recipe.fps, "valid", picture_events=1.0)
        return draw_distinct(source, recipe.test_pairs, recipe.steps_per_crop, config, TEST_SEED)


def test_clips(held_out: Examples, pool: PairPool, recipe: JointRecipe, n_codebooks: int) -> list[TrainingClip]:
    """The clips of a pool, always the same, with the conditions of `picture_condition`."""
    source = PooledPairs(held_out, pool, recipe.fps, recipe.events_fps, picture_events=1.0)
    clips = [source.clip_of_row(row, n_codebooks) for row in range(len(pool))]
    return [replace(clip, condition=picture_condition(clip.condition, clip.curves)) for clip in clips]


def picture_condition(condition: Condition, curves: np.ndarray) -> Condition:
    """A condition with a picture's curves [S, 4] and nothing that only the music knows."""
    nothing, endless = np.full_like(condition.semantics, np.nan), np.full_like(condition.time_left, np.inf)
    since = 10 + np.arange(len(curves)) / float(CONTROL_RATE)  # a beginning is often silent
    return Condition(events_as_planned(curves), np.zeros(0), np.zeros(0), nothing, endless, since)
