"""Stages that keep what the media are not needed for again: features, curves, codes, tags and fingerprints."""

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
from openvmas.data.duplicates.picture_print import FRAME_SIDE, hash_frames, new_looks
from openvmas.data.duplicates.sound_print import find_peaks
from openvmas.data.stages.packed import pack_codes, pack_curve, pack_events, pack_features, pack_unit
from openvmas.data.stages.sound import detect_sounds
from openvmas.errors import ModelError
from openvmas.media.audio import Audio, resample
from openvmas.pretrained import find_weights
from openvmas.settings import option
from openvmas.vision.analysis import FEATURE_FPS, LOOKS, VideoAnalysis, measure_looks
from openvmas.vision.backbone import Backbone, picture_size, read_class_names
from openvmas.vision.mood import describe
from openvmas.vision.motion import luma

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
    n_codebooks: int = option(0, "Number of codebooks that are kept; 0 means all.", min=0, max=64)
    name: ClassVar[str] = "features"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        arrays: dict[str, np.ndarray] = {}
        if record.kind == "image":
            arrays |= pack_image(media.picture())
        if record.kind == "video":
            arrays |= self.pack_video(media.video())
        if record.kind != "image":
            music = media.music()
            arrays |= pack_events(music.events, "heard")
            arrays |= {"beats": music.beats.astype(np.float32), "downbeats": music.downbeats.astype(np.float32)}
            sounds = detect_sounds(media)
            arrays["sounds"] = pack_unit(np.stack([sounds.speech, sounds.singing, sounds.music]))
            record = record.with_facts(
                self.name,
                tempo=round(music.tempo, 2),
                beats_per_bar=music.beats_per_bar,
                confidence=round(music.confidence, 3),
                loudness_lufs=round(max(music.loudness_lufs, -120.0), 2),
                duration=round(media.duration, 3),
            )
            record = self.encode(record, media, arrays)
        media.arrays.update(arrays)
        return record.with_facts(self.name, n_bytes=sum(array.nbytes for array in arrays.values()))

    def pack_video(self, analysis: VideoAnalysis) -> dict[str, np.ndarray]:
        """Arrays of a picture, thinned to `feature_fps`."""
        step = max(float(FEATURE_FPS) / self.feature_fps, 1.0)
        chosen = np.unique(np.rint(np.arange(0, len(analysis.feature_times), step)).astype(int))
        chosen = chosen[chosen < len(analysis.feature_times)]
        arrays = {
            "features": pack_features(analysis.features[chosen]),
            "feature_times": analysis.feature_times[chosen].astype(np.float32),
            "looks": pack_looks(np.stack([analysis.looks[name][chosen] for name in LOOKS], axis=1)),
            "motion": pack_curve(analysis.motion),
            "cuts": analysis.cuts.astype(np.float32),
            "visual_beats": analysis.visual_beats.astype(np.float32),
            "visual_beat_strengths": pack_unit(analysis.visual_beat_strengths),
        }
        return arrays | pack_classes(analysis.classes[chosen]) | pack_events(analysis.events, "seen")

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


def pack_image(picture: np.ndarray) -> dict[str, np.ndarray]:
    """Features, looks and classes of one image [h, w, 3] uint8 (motion is 0)."""
    width, height = picture_size(picture.shape[1], picture.shape[0])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    small = np.asarray(frame.reformat(width, height, interpolation="AREA").to_ndarray(format="rgb24"))
    found = Backbone().extract(small[None])
    looks = np.append(measure_looks(small), 0.0)[None]
    arrays = {"features": pack_features(found.features), "looks": pack_looks(looks)}
    return arrays | pack_classes(found.probabilities)


@dataclass(frozen=True)
class Tags:
    """Tags of picture and sound in words and numbers: for datasheets, for matching, and as weak labels."""

    tagger: str = option("", "A music tagger, `module:function` of (wave, sample_rate) → {tag: value}; none if empty.")
    n_objects: int = option(5, "Number of things in the picture that are named.", min=0, max=100)
    name: ClassVar[str] = "tags"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind == "video":
            analysis = media.video()
            shares = analysis.classes.astype(np.float32).mean(axis=0)
            names = read_class_names()
            best = np.argsort(-shares, kind="stable")[: self.n_objects]
            record = record.with_facts(
                self.name,
                mood=describe(analysis, 0.0, media.duration),
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


@dataclass(frozen=True)
class SoundPrint:
    """Keeps the spectral peaks of the sound as array `sound_print`: [N] uint32, about 50 bytes a second."""

    name: ClassVar[str] = "sound_print"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        """Refuses nothing: a record without sound is given back as it is."""
        if record.kind == "image" or not media.probe().has_audio:
            return record
        peaks = find_peaks(media.audio(), SAMPLE_RATE)
        media.arrays[self.name] = peaks
        return record.with_facts(self.name, peaks=len(peaks))


@dataclass(frozen=True)
class PicturePrint:
    """Keeps words of the picture as array `picture_print`: [F, 12] uint64, two a second, 192 bytes a second."""

    name: ClassVar[str] = "picture_print"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        """Refuses nothing: a record without picture is given back as it is."""
        if record.kind == "audio" or (record.kind == "video" and media.probe().picture is None):
            return record
        words = hash_frames(still_frame(media) if record.kind == "image" else media.small_frames()[1])
        media.arrays[self.name] = words
        return record.with_facts(self.name, looks=len(new_looks(words[:, 0])))


def still_frame(media: Media) -> np.ndarray:
    """An image as one grey frame: [1, 64, 64] uint8. Raises InputError."""
    grey = luma(media.picture(512).astype(np.float32))
    rows, columns = (np.linspace(0, size, FRAME_SIDE + 1).astype(int) for size in grey.shape)
    rows, columns = (np.minimum(edges, size - 1) for edges, size in zip((rows, columns), grey.shape, strict=True))
    sums = np.add.reduceat(np.add.reduceat(grey, rows[:-1], axis=0), columns[:-1], axis=1)
    ones = np.ones_like(grey)
    areas = np.add.reduceat(np.add.reduceat(ones, rows[:-1], axis=0), columns[:-1], axis=1)
    return np.clip(sums / areas, 0, 255).astype(np.uint8)[None]
