"""Every video or sound in a folder measured, and one folder against another: what `openvmas eval folder` prints.

What is found in a file is kept by its content, so a second run is quick whatever the file is called. Needs only what
the core install has; distances between sets need the weights of an embedder too.
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
from openvmas.eval.benchmark.cache import Cache, Sound
from openvmas.eval.embedders.registry import EMBEDDERS as EMBEDDERS
from openvmas.eval.embedders.registry import check_name, open_embedder, sees_pictures, weights_key
from openvmas.eval.metrics import signal_quality, statistics, timing
from openvmas.eval.metrics.cross_modal_similarity import Judge, SpaceJudge, count_steps
from openvmas.eval.metrics.statistics import (
    Interval,
    bootstrap_interval,
    cliffs_delta,
    holm,
    paired_d,
    paired_permutation_test,
)
from openvmas.hub.taggers import HOP, PATCH, SAMPLE_RATE, Embedder
from openvmas.media.audio import Audio, read_audio
from openvmas.media.probe import probe
from openvmas.music.analysis import analyze_music
from openvmas.vision.analysis import VideoAnalysis

VERSION = 3  # of what is measured: another number makes the cache forget
HEARD_VERSION = 2  # of what embedders are given
VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv"}
SOUND_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac"}
LEVEL, SILENCE = -20.0, -50.0  # dB below full scale, RMS: to which a sound is brought, below which a patch is dropped
MEDIANS = frozenset({"retrieval_rank"})  # figures whose median over clips is told, not the mean

K = TypeVar("K", bound=Hashable)


def base(name: str) -> str:
    """The measure of a figure: what an embedder says of a clip is called MEASURE:EMBEDDER."""
    return name.partition(":")[0]


@dataclass(frozen=True)
class MeasuredFile:
    """values: by the names in `eval.reports.folder_tables.MEASURES`, NaN where nothing can be said. sound: None
    without an
    embedder."""

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


def is_video(path: Path) -> bool:
    """Whether a file is called as a video is."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def read_sound(path: Path, mono: bool = False) -> Audio:
    """A file's sound at its own rate, on the picture's clock if it has a picture. Raises InputError."""
    return read_audio(path, mono=mono, info=probe(path) if is_video(path) else None)


def measure_file(
    path: Path, border: float | None = None, look: Callable[[], VideoAnalysis] | None = None
) -> dict[str, float]:
    """Every measure of a video or sound file by itself. Raises InputError.

    border: s between borders of windows, for seams; look: gives the picture of a video.
    """
    audio = read_sound(path)  # resampling would hide flat tops
    wave, rate = np.nan_to_num(audio.wave, nan=0.0, posinf=0.0, neginf=0.0), audio.sample_rate
    if wave.shape[1] < rate // 10:
        raise InputError(f"{path} holds less than 0.1 s of sound; give a file with music.")
    music = analyze_music(wave, rate)
    found = signal_quality.evaluate(wave, rate, border) | timing.evaluate_sound(music, wave, rate)
    if look is not None:
        found |= timing.evaluate(look(), music, wave, rate)
    return {"duration": wave.shape[1] / rate} | found


def embed_file(path: Path, embedder: Embedder) -> Sound:
    """What an embedder hears in a file that was brought to -20 dB RMS; patches that are silent are left out."""
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


def media_files(folder: Path) -> list[Path]:
    """The videos and sounds directly in a folder, by name. Raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder of videos or sounds.")
    suffixes = VIDEO_SUFFIXES | SOUND_SUFFIXES
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no videos or sounds; give a folder with files such as mp4, mkv, wav or mp3.")
    return files


def measure_folder(
    folder: Path,
    embedder: str | None = "yamnet",
    border: float | None = None,
    say: Callable[[str], None] = lambda text: None,
    cache: Cache | None = None,
) -> MeasuredFolder:
    """Measure every file of a folder; what cannot be measured costs one sentence, said and kept.

    embedder: a name of `adapters.names`, or None for no embeddings. Raises InputError if no file at all can be
    measured, ModelError if the weights of the embedder are missing and some file is not in the cache.
    """
    if embedder is not None:
        check_name(embedder)
    if border is not None and not 0.1 <= border <= 3600:
        raise OptionError(f"border cannot be {border:g}; give seconds from 0.1 to 3600.")
    cache, opened = cache or Cache(), functools.cache(open_embedder)
    judge, judged = Judge(cache), {}
    kind = f"measures-{VERSION}" + (f"-{border:g}" if border is not None else "")
    paths = media_files(folder)
    files: list[MeasuredFile] = []
    broken: dict[str, str] = {}
    for number, path in enumerate(paths, 1):
        say(f"{number} of {len(paths)}: {path.name}")

        def hear(path: Path = path) -> Sound:
            assert embedder is not None
            return embed_file(path, opened(embedder))

        try:
            key = cache.key(path)
            look = functools.partial(cache.picture, key, path) if is_video(path) else None
            values = cache.values(key, kind, functools.partial(measure_file, path, border, look))
            sound = cache.sound(key, f"{weights_key(embedder)}-{HEARD_VERSION}", hear) if embedder else None
            if look is not None:
                picture = look()
                heard = judge.hear(key, functools.partial(read_sound, path), count_steps(picture))
                judged[path.name] = judge.see(picture), heard
        except InputError as error:
            broken[path.name] = str(error)
            say(f"left out: {error}")
            continue
        files.append(MeasuredFile(path.name, values, sound))
    if not files:
        raise InputError(f"nothing in {folder} can be measured; the first file: {next(iter(broken.values()))}")
    folder_of = MeasuredFolder(folder, tuple(files), broken)
    if judged and embedder is not None and sees_pictures(embedder):
        other = SpaceJudge(embedder, cache, functools.partial(opened, embedder))
        folder_of = with_values(folder_of, match_in_space(folder_of, other, cache))
    return with_values(folder_of, judge.measure(judged)) if judged else folder_of


def match_in_space(folder: MeasuredFolder, judge: SpaceJudge, cache: Cache) -> dict[str, dict[str, float]]:
    """What an embedder that knows pictures says of videos and their own music, by file and measure."""
    pairs = {}
    for file in folder.files:
        path = folder.path / file.name
        if is_video(path) and file.sound is not None:
            pairs[file.name] = judge.see(cache.key(path), lambda path=path: path), file.sound
    return judge.measure(pairs)


def with_values(folder: MeasuredFolder, found: Mapping[str, Mapping[str, float]]) -> MeasuredFolder:
    """The same with further figures, by name of the file and measure."""
    files = (replace(file, values={**file.values, **found.get(file.name, {})}) for file in folder.files)
    return replace(folder, files=tuple(files))


def summarise(folder: MeasuredFolder, level: float = 0.95) -> dict[str, tuple[Interval, int]]:
    """Mean (or median) over files with its bootstrap interval, and how many files have the measure, by name."""
    found: dict[str, tuple[Interval, int]] = {}
    for name in dict.fromkeys(name for file in folder.files for name in file.values):
        values = np.array([file.values.get(name, math.nan) for file in folder.files])
        values = values[np.isfinite(values)]
        if len(values):
            centre = statistics.median if base(name) in MEDIANS else statistics.mean
            found[name] = bootstrap_interval(values, centre, level), len(values)
    return found


def clip_name(name: str) -> str:
    """What two files of the same clip have in common: clip.mp4, clip.wav and clip.scored.mp4 are one."""
    return Path(name).stem.removesuffix(".scored")


def pair(reference: MeasuredFolder, estimated: MeasuredFolder) -> dict[str, Pairing]:
    """Every measure over the clips of the same name, by measure; empty without two such clips."""
    return correct(differences(reference, estimated))


def differences(reference: MeasuredFolder, estimated: MeasuredFolder) -> dict[str, Pairing]:
    """As `pair`, with p-values that are not corrected for their number."""
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
    """The same with Holm's correction over all of them."""
    # Where no pair differs nothing can be found falsely, so it does not count among the tests.
    tested = [name for name, item in found.items() if item.p < 1]
    corrected = holm(np.array([found[name].p for name in tested])) if tested else []
    return {**found, **{name: replace(found[name], p=float(p)) for name, p in zip(tested, corrected, strict=True)}}
