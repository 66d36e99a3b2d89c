"""What training needs of a clip, so small that the media are not needed again: features, curves, codes and tags."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import av
import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.data.stages.hearing import hear
from openvmas.data.stages.packed import pack_codes, pack_curve, pack_events, pack_features, pack_unit
from openvmas.errors import ModelError
from openvmas.media.audio import Audio, resample
from openvmas.pretrained import find_weights
from openvmas.settings import option
from openvmas.vision.analysis import FEATURE_FPS, LOOKS, VideoAnalysis, measure_looks
from openvmas.vision.backbone import Backbone, picture_size, read_class_names
from openvmas.vision.mood import describe

SHIPPED = "mini"
N_CLASSES = 5  # likeliest ImageNet classes that are kept of a picture

Tagger = Callable[[np.ndarray, int], dict[str, float]]  # wave [L] float32 mono and its rate, Hz → tag: value


@dataclass(frozen=True)
class Features:
    """Keeps backbone features, event curves of both sides, cuts, beats, kinds of sound and codec codes.

    Arrays (see stages.packed): features [F, 640] uint8 and looks [F, 5] uint8 at `feature_fps`; classes [F, 5] uint16
    with class_shares [F, 5] uint8; seen_* and heard_* curves; motion; cuts, visual_beats, beats, downbeats (s);
    sounds [3, T] uint8 at 10 Hz (speech, singing, music); codes [K, n] uint8, packed.
    """

    feature_fps: float = option(1.0, "Pictures per second whose features are kept, at most 2.", min=0.1, max=2)
    codec: str = option(SHIPPED, "Preset or folder whose codec makes the codes; no codes if empty.")
    n_codebooks: int = option(0, "How many codebooks are kept; 0 means all.", min=0, max=64)
    name: ClassVar[str] = "features"
    cost: ClassVar[int] = 9

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        arrays: dict[str, np.ndarray] = {}
        if record.kind == "image":
            arrays |= look_at(media.picture())
        if record.kind == "video":
            arrays |= self.see(media.video())
        if record.kind != "image":
            heard = media.music()
            arrays |= pack_events(heard.events, "heard")
            arrays |= {"beats": heard.beats.astype(np.float32), "downbeats": heard.downbeats.astype(np.float32)}
            sounds = hear(media)
            arrays["sounds"] = pack_unit(np.stack([sounds.speech, sounds.singing, sounds.music]))
            record = record.with_facts(
                self.name,
                tempo=round(heard.tempo, 2),
                beats_per_bar=heard.beats_per_bar,
                confidence=round(heard.confidence, 3),
                loudness_lufs=round(max(heard.loudness_lufs, -120.0), 2),
                duration=round(media.duration, 3),
            )
            record = self.encode(record, media, arrays)
        media.arrays.update(arrays)
        return record.with_facts(self.name, n_bytes=sum(array.nbytes for array in arrays.values()))

    def see(self, seen: VideoAnalysis) -> dict[str, np.ndarray]:
        """Arrays of a picture, thinned to `feature_fps`."""
        step = max(float(FEATURE_FPS) / self.feature_fps, 1.0)
        chosen = np.unique(np.rint(np.arange(0, len(seen.feature_times), step)).astype(int))
        chosen = chosen[chosen < len(seen.feature_times)]
        arrays = {
            "features": pack_features(seen.features[chosen]),
            "feature_times": seen.feature_times[chosen].astype(np.float32),
            "looks": pack_looks(np.stack([seen.looks[name][chosen] for name in LOOKS], axis=1)),
            "motion": pack_curve(seen.motion),
            "cuts": seen.cuts.astype(np.float32),
            "visual_beats": seen.visual_beats.astype(np.float32),
            "visual_beat_strengths": pack_unit(seen.visual_beat_strengths),
        }
        return arrays | pack_classes(seen.classes[chosen]) | pack_events(seen.events, "seen")

    def encode(self, record: Record, media: Media, arrays: dict[str, np.ndarray]) -> Record:
        """Add the codec's codes to the arrays, and what is needed to read them to the facts."""
        runner = open_codec(self.codec)
        if runner is None:
            return record.with_facts(self.name, codec="")
        sound = resample(Audio(media.audio()[None], SAMPLE_RATE), runner.sample_rate)
        codes = runner.encode(sound.wave[0], self.n_codebooks or None)
        arrays["codes"] = pack_codes(codes, runner.codebook_size)
        return record.with_facts(
            self.name,
            codec=f"{runner.weights.name} {runner.weights.version}",
            codec_sha256=runner.codebooks_sha256,
            codebook_size=runner.codebook_size,
            n_codebooks=len(codes),
            n_steps=codes.shape[1],
        )


@functools.cache
def open_codec(name: str) -> CodecRunner | None:
    """The codec of a model; None for no name, and for a shipped model that has no encoder. Raises ModelError."""
    if not name:
        return None
    weights = find_weights(name)
    if name == SHIPPED and "codec_encoder" not in weights.files:
        return None
    return CodecRunner(weights, threads=1)


def pack_looks(looks: np.ndarray) -> np.ndarray:
    """Looks [F, 5] (see VideoAnalysis) as uint8; warmth, in [-1, 1], is moved to [0, 1]."""
    return pack_unit(np.where(np.array(LOOKS) == "warmth", looks / 2 + 0.5, looks))


def pack_classes(classes: np.ndarray) -> dict[str, np.ndarray]:
    """The N_CLASSES likeliest of probabilities [F, 1000], with their shares."""
    best = np.argsort(-classes.astype(np.float32), axis=1, kind="stable")[:, :N_CLASSES]
    return {
        "classes": best.astype(np.uint16),
        "class_shares": pack_unit(np.take_along_axis(classes, best, axis=1).astype(np.float32)),
    }


def look_at(picture: np.ndarray) -> dict[str, np.ndarray]:
    """The same arrays of one image [h, w, 3] uint8 (motion is 0)."""
    width, height = picture_size(picture.shape[1], picture.shape[0])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    small = np.asarray(frame.reformat(width, height, interpolation="AREA").to_ndarray(format="rgb24"))
    seen = Backbone().extract(small[None])
    looks = np.append(measure_looks(small), 0.0)[None]
    return {"features": pack_features(seen.features), "looks": pack_looks(looks)} | pack_classes(seen.probabilities)


@dataclass(frozen=True)
class Tags:
    """Notes in words and numbers what is seen and heard: for datasheets, for matching, and as weak labels."""

    tagger: str = option("", "A music tagger, `module:function` of (wave, sample_rate) → {tag: value}; none if empty.")
    n_objects: int = option(5, "How many of the things in the picture are named.", min=0, max=100)
    name: ClassVar[str] = "tags"
    cost: ClassVar[int] = 9

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind == "video":
            seen = media.video()
            shares = seen.classes.astype(np.float32).mean(axis=0)
            names = read_class_names()
            best = np.argsort(-shares, kind="stable")[: self.n_objects]
            record = record.with_facts(
                self.name,
                mood=describe(seen, 0.0, media.duration),
                objects={names[i]: round(float(shares[i]), 3) for i in best if shares[i] >= 0.02},
            )
        if record.kind != "image" and self.tagger:
            found = load_tagger(self.tagger)(media.audio(), SAMPLE_RATE)
            record = record.with_facts(self.name, music={key: round(float(found[key]), 4) for key in sorted(found)})
        return record


@functools.cache
def load_tagger(name: str) -> Tagger:
    """The function of a name `module:function`. Raises ModelError if there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"the tagger {name} cannot be imported ({error}); give `module:function`.") from error
