"""Measures of every video or sound in a folder, summaries, and comparison of one folder with another in pairs.

What is found in a file is kept by its content, so a second run is quick whatever the file is called. Needs
the extra eval; distances between sets need the weights of an embedder too.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import soxr

from openvmas.errors import InputError, OptionError
from openvmas.eval.embedders.cross_modal_similarity import EmbeddingSimilarity, LearnedSimilarity, count_steps
from openvmas.eval.embedders.registry import check_name, open_embedder, sees_pictures, weights_key
from openvmas.eval.metrics import signal_quality, timing
from openvmas.eval.metrics.measure_table import base
from openvmas.eval.metrics.statistics import (
    Interval,
    bootstrap_interval,
    cliffs_delta,
    holm,
    paired_d,
    paired_permutation_test,
)
from openvmas.eval.suites.cache import Cache, Sound
from openvmas.eval.suites.media_files import clip_name, is_video, media_files, read_sound
from openvmas.hub.taggers import HOP, PATCH, SAMPLE_RATE, Embedder
from openvmas.music.analysis import MusicAnalysis, analyze_music
from openvmas.vision.analysis import VideoAnalysis

VERSION = 4  # of what is measured: another number makes the cache forget
EMBEDDING_VERSION = 2  # of what embedders are given
LEVEL, SILENCE = -20.0, -50.0  # dB below full scale, RMS: to which a sound is brought, below which a patch is dropped
MEDIANS = frozenset({"retrieval_rank"})  # figures whose median over clips is shown, not the mean

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class MeasuredFile:
    """values: by the names in MEASURES, NaN where nothing can be said. sound: None without an embedder."""

    name: str
    values: dict[str, float]
    sound: Sound | None


@dataclass(frozen=True)
class MeasuredFolder:
    """files: those that could be measured, by name. broken: what is wrong with the others, by name."""

    path: Path
    files: tuple[MeasuredFile, ...]
    broken: dict[str, str]


@dataclass(frozen=True)
class Pairing:
    """One measure over clips that both folders hold, by name. p: after Holm's correction; d: Cohen's d_z.

    reference, estimated: means; difference: estimated - reference; delta: Cliff's.
    """

    reference: float
    estimated: float
    difference: Interval
    p: float
    d: float
    delta: float
    n_pairs: int


def measure_sound(
    wave: np.ndarray,
    sample_rate: int,
    picture: VideoAnalysis | None = None,
    reference: MusicAnalysis | None = None,
    seam_interval: float | None = None,
) -> dict[str, float]:
    """Every measure of one wave [C, L] by itself, with its picture, and against the true music of that picture.

    seam_interval: s between the borders of windows, for seams.
    """
    music = analyze_music(wave, sample_rate)
    found = {"duration": wave.shape[1] / sample_rate}
    if picture is not None:
        found |= timing.evaluate(picture, music, wave, sample_rate)
        if reference is not None:
            found |= timing.evaluate_pair(reference, music, float(picture.duration))
    return (
        found
        | timing.evaluate_sound(music, wave, sample_rate)
        | signal_quality.evaluate(wave, sample_rate, seam_interval)
    )


def measure_file(path: Path, seam_interval: float | None, look: Callable[[], VideoAnalysis] | None) -> dict[str, float]:
    """`measure_sound` of a video or sound file. look: gives the picture of a video. Raises InputError."""
    audio = read_sound(path)  # resampling would hide flat tops
    wave, rate = np.nan_to_num(audio.wave, nan=0.0, posinf=0.0, neginf=0.0), audio.sample_rate
    if wave.shape[1] < rate // 10:
        raise InputError(f"{path} holds less than 0.1 s of sound; give a file with music.")
    return measure_sound(wave, rate, look() if look else None, seam_interval=seam_interval)


def embed_file(path: Path, embedder: Embedder) -> Sound:
    """Embeddings of a file that was brought to -20 dB RMS; patches that are silent are left out."""
    audio = read_sound(path, mono=True)
    rate = embedder.sample_rate
    wave = soxr.resample(np.nan_to_num(audio.wave[0]), audio.sample_rate, rate).astype(np.float32)
    rms = math.sqrt(float(np.mean(np.square(wave, dtype=np.float64)))) if len(wave) else 0.0
    wave = wave * np.float32(10 ** (LEVEL / 20) / max(rms, 1e-5))
    found = embedder.embed(wave, rate)
    half = round(max(found.span, PATCH * HOP / SAMPLE_RATE) / 2 * rate)
    middles = np.rint(found.times * rate).astype(int)
    power = [float(np.mean(np.square(wave[max(0, m - half) : m + half], dtype=np.float64))) for m in middles]
    sounds = np.array(power) > 10 ** (SILENCE / 10)
    return Sound(found.embeddings[sounds], found.logits[sounds])


def measure_folder(
    folder: Path,
    embedder: str | None = "yamnet",
    seam_interval: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    cache: Cache | None = None,
) -> MeasuredFolder:
    """Measure every file of a folder; what cannot be measured costs one sentence, said and kept.

    embedder: a name of `embedders.registry`, or None for no embeddings. Raises InputError if no file at all can be
    measured, ModelError if the weights of the embedder are missing and some file is not in the cache.
    """
    if embedder is not None:
        check_name(embedder)
    if seam_interval is not None and not 0.1 <= seam_interval <= 3600:
        raise OptionError(f"seam-interval cannot be {seam_interval:g}; give seconds from 0.1 to 3600.")
    cache, opened = cache or Cache(), functools.cache(open_embedder)
    judge, judged = LearnedSimilarity(cache), {}
    kind = f"measures-{VERSION}" + (f"-{seam_interval:g}" if seam_interval is not None else "")
    paths = media_files(folder)
    files: list[MeasuredFile] = []
    broken: dict[str, str] = {}
    for number, path in enumerate(paths, 1):
        say(f"{number} of {len(paths)}: {path.name}")

        def embed(path: Path = path) -> Sound:
            assert embedder is not None
            return embed_file(path, opened(embedder))

        try:
            key = cache.key(path)
            look = functools.partial(cache.picture, key, path) if is_video(path) else None
            values = cache.values(key, kind, functools.partial(measure_file, path, seam_interval, look))
            sound = cache.sound(key, f"{weights_key(embedder)}-{EMBEDDING_VERSION}", embed) if embedder else None
            if look is not None:
                picture = look()
                heard = judge.embed_music(key, functools.partial(read_sound, path), count_steps(picture))
                judged[path.name] = judge.embed_picture(picture), heard
        except InputError as error:
            broken[path.name] = str(error)
            say(f"left out: {error}")
            continue
        files.append(MeasuredFile(path.name, values, sound))
    if not files:
        raise InputError(f"nothing in {folder} can be measured; the first file: {next(iter(broken.values()))}")
    folder_of = MeasuredFolder(folder, tuple(files), broken)
    if judged and embedder is not None and sees_pictures(embedder):
        other = EmbeddingSimilarity(embedder, cache, functools.partial(opened, embedder))
        folder_of = with_values(folder_of, match_in_space(folder_of, other, cache))
    return with_values(folder_of, judge.measure(judged)) if judged else folder_of


def match_in_space(folder: MeasuredFolder, judge: EmbeddingSimilarity, cache: Cache) -> dict[str, dict[str, float]]:
    """Similarity of videos and their own music by an embedder that takes pictures, by file and measure."""
    pairs = {}
    for file in folder.files:
        path = folder.path / file.name
        if is_video(path) and file.sound is not None:
            pairs[file.name] = judge.embed_picture(cache.key(path), lambda path=path: path), file.sound
    return judge.measure(pairs)


def with_values(folder: MeasuredFolder, found: Mapping[str, Mapping[str, float]]) -> MeasuredFolder:
    """Measures with further figures, by name of the file and measure."""
    files = (replace(file, values={**file.values, **found.get(file.name, {})}) for file in folder.files)
    return replace(folder, files=tuple(files))


def summarise(folder: MeasuredFolder) -> dict[str, tuple[Interval, int]]:
    """Mean (or median) over files with its bootstrap interval, and how many files have the measure, by name."""
    found: dict[str, tuple[Interval, int]] = {}
    for name in dict.fromkeys(name for file in folder.files for name in file.values):
        values = np.array([file.values.get(name, math.nan) for file in folder.files])
        values = values[np.isfinite(values)]
        if len(values):
            centre = np.median if base(name) in MEDIANS else np.mean
            found[name] = bootstrap_interval(values, centre), len(values)
    return found


def pair(reference: MeasuredFolder, estimated: MeasuredFolder) -> dict[str, Pairing]:
    """Every measure over the clips of the same name, by measure; empty without two such clips."""
    return correct(differences(reference, estimated))


def differences(reference: MeasuredFolder, estimated: MeasuredFolder) -> dict[str, Pairing]:
    """Comparison as from `pair`, with p-values that are not corrected for their number."""
    known = {clip_name(file.name): file for file in reversed(reference.files)}
    pairs = [(known[clip_name(file.name)], file) for file in estimated.files if clip_name(file.name) in known]
    found: dict[str, Pairing] = {}
    for name in dict.fromkeys(name for _, file in pairs for name in file.values if name != "duration"):
        both = np.array([[file.values.get(name, math.nan) for file in one] for one in pairs])
        x, y = both[np.isfinite(both).all(axis=1)].T
        if len(x) < 2:
            continue
        p, change = paired_permutation_test(x, y), bootstrap_interval(y - x)
        found[name] = Pairing(float(x.mean()), float(y.mean()), change, p, paired_d(x, y), cliffs_delta(x, y), len(x))
    return found


def correct(found: Mapping[K, Pairing]) -> dict[K, Pairing]:
    """Comparisons with Holm's correction over all of them."""
    # Where no pair differs nothing can be found falsely, so it does not count among the tests.
    tested = [name for name, item in found.items() if item.p < 1]
    corrected = holm(np.array([found[name].p for name in tested])) if tested else []
    return {**found, **{name: replace(found[name], p=float(p)) for name, p in zip(tested, corrected, strict=True)}}
