"""Does the music answer its picture in time? Times in s from the first frame; the picture is the reference.

Moments of the picture (cuts, visual beats) come from `vision.analysis`, marks of the music (beats, onsets) from
`music.analysis`. `beat_scores`, `visual_hits` and `beat_alignment`, which the field uses, are won by a constant stream
of marks; `music.sync.sync_z` is corrected for chance. A measure that has nothing to compare is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from openvmas.eval.reports.video_report import TOLERANCE, nearest
from openvmas.music.analysis import MusicAnalysis
from openvmas.music.onsets import moving_mean
from openvmas.music.sync import energy_correlation, sync_of_wave
from openvmas.vision.analysis import VideoAnalysis

BEAT_RESOLUTION = 1.0  # s, of the beat coverage and beat hit scores, as the field has it
HIT_TOLERANCE = 0.1  # s, at which an onset meets a visual beat
ALIGNMENT_SPREAD = 0.05  # s: 3 frames at 60 fps, as in AIST++
STEADY = 0.05  # relative deviation of a beat's length that counts as the same tempo
MOTION_SPAN = 1.0  # s over which motion is averaged, as energy is in `music.analysis`
FRAME = 0.01  # s, of levels at the end
SOUNDING = -50.0  # dB against the level of the whole: what is quieter at the end is silence
LAST = 0.1  # s, of sound before it ends
ENDING = -20.0  # dB: an ending at most so loud against the whole is one; a cut is near 0


def validate(reference: np.ndarray, estimated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both lists of times as [N] float64. Raises ValueError for other shapes, times not finite or out of order."""
    found = []
    for times in (reference, estimated):
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise ValueError("times must be [N], finite and in order")
        found.append(times)
    return found[0], found[1]


@dataclass(frozen=True)
class BeatScores:
    """coverage: seconds with an estimated beat per second with a reference beat, 0 or more, 1 where as many.

    hit: share of the reference's seconds that the estimated beats fall into, precision: share of the estimated beats'
    seconds that the reference's fall into, f1: their harmonic mean; in [0, 1].
    """

    coverage: float
    hit: float
    precision: float
    f1: float


def beat_scores(
    reference: np.ndarray, estimated: np.ndarray, duration: float, resolution: float = BEAT_RESOLUTION
) -> BeatScores:
    """Beat coverage and beat hit scores (BCS and BHS) of the music's beats [M] s against the true music's [N] s.

    As the field computes them: every span of `resolution` s from 0 to `duration` s either holds a beat or not, however
    many; coverage is estimated over reference spans, hit is spans with both over reference spans (for dance: Lee et al.
    2019; for music: D2M-GAN, Zhu et al. 2022; spans of a second that hold an onset: the code of CDCD, Zhu et al.
    2023). LORIS (Yu et al. 2023) divides by the estimated spans instead, which is `precision` here, and adds F1. Not
    corrected for chance: sound that has an onset in every second has hit score 1.
    NaN where no span of the reference holds a beat.
    """
    reference, estimated = validate(reference, estimated)
    n = max(0, math.ceil(duration / resolution - 1e-9))
    edges = np.arange(n + 1) * resolution
    within = (times[(times >= 0) & (times < duration)] for times in (reference, estimated))
    real, made = (np.histogram(times, edges)[0] > 0 for times in within)
    n_real, n_made, n_both = int(real.sum()), int(made.sum()), int((real & made).sum())
    if n_real == 0:
        return BeatScores(math.nan, math.nan, math.nan, math.nan)
    precision = n_both / n_made if n_made else 0.0
    return BeatScores(n_made / n_real, n_both / n_real, precision, 2 * n_both / (n_real + n_made))


@dataclass(frozen=True)
class VisualHits:
    """density: onsets per visual beat, 0 or more. met: share of visual beats with an onset nearby, in [0, 1]."""

    density: float
    met: float


def visual_hits(reference: np.ndarray, estimated: np.ndarray, tolerance: float = HIT_TOLERANCE) -> VisualHits:
    """How many visual beats [N] s have one of the onsets [M] s within `tolerance` s.

    Not corrected for chance: a dense click track meets them all. NaN without visual beats.
    """
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return VisualHits(math.nan, math.nan)
    if len(estimated) == 0:
        return VisualHits(0.0, 0.0)
    is_met = np.abs(nearest(reference, estimated)) <= tolerance + 1e-9
    return VisualHits(len(estimated) / len(reference), float(is_met.mean()))


def beat_alignment(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Beat alignment score (AIST++: Li et al. 2021): mean of exp(-d² / 2σ²), d from each reference beat to the nearest.

    reference: [N] s, of the picture; estimated: [M] s, of the music; σ: ALIGNMENT_SPREAD. In [0, 1], 1 where all meet.
    Not corrected for chance. NaN without reference beats, 0 without music beats.
    """
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return math.nan
    if len(estimated) == 0:
        return 0.0
    return float(np.mean(np.exp(-(nearest(reference, estimated) ** 2) / (2 * ALIGNMENT_SPREAD**2))))


@dataclass(frozen=True)
class CutError:
    """median_ms: median distance from a cut to the nearest onset, ms. within: share of cuts within TOLERANCE (80
    ms)."""

    median_ms: float
    within: float


def cut_errors(reference: np.ndarray, estimated: np.ndarray) -> CutError:
    """How near onsets [M] (s) lie to cuts [N] (s). NaN without cuts; infinite and 0 without onsets."""
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return CutError(math.nan, math.nan)
    if len(estimated) == 0:
        return CutError(math.inf, 0.0)
    distance = np.abs(nearest(reference, estimated))
    return CutError(1000 * float(np.median(distance)), float(np.mean(distance <= TOLERANCE + 1e-9)))


def tempo_stability(beats: np.ndarray) -> float:
    """Share of the spans between beats [N] (s) within 5 % of the median span: in [0, 1]; NaN below 4 beats."""
    beats, _ = validate(beats, beats)
    if len(beats) < 4:
        return math.nan
    spans = np.diff(beats)
    return float(np.mean(np.abs(spans / np.median(spans) - 1) <= STEADY + 1e-9))


def tempo_drift(beats: np.ndarray) -> float:
    """How far the tempo moves evenly from the first to the last beat [N] (s), as a share of the tempo: 0 or more.

    Log lengths of beats are fitted with a straight line over time. `tempo_stability` does not see a slow drift below 10
    %, because no beat is then far from the median. NaN below 8 beats.
    """
    beats, _ = validate(beats, beats)
    spans = np.diff(beats)
    if len(beats) < 8 or (spans <= 0).any():
        return math.nan
    slope = np.polyfit((beats[1:] + beats[:-1]) / 2, np.log(spans), 1)[0]
    return float(np.expm1(abs(slope) * (beats[-1] - beats[0])))


def motion_correlation(reference: np.ndarray, estimated: np.ndarray, rate: float) -> float:
    """Pearson's r of the picture's motion [T], averaged over 1 s, with the music's energy [T], both at `rate` per s.

    In [-1, 1]; NaN where one of them is constant.
    """
    half = round(MOTION_SPAN / 2 * rate)
    smooth = moving_mean(np.asarray(reference, dtype=np.float64), half, half) if len(reference) else np.zeros(0)
    n = min(len(smooth), len(estimated))
    if n < 2 or min(float(np.std(smooth[:n])), float(np.std(estimated[:n]))) < 1e-9:
        return math.nan
    return energy_correlation(smooth, estimated)


@dataclass(frozen=True)
class Ending:
    """last: when the sound ends, s. drop_db: level of its last 100 ms against the whole sound, dB.

    is_true: the sound dies away (drop_db at most -20) instead of being cut off.
    """

    last: float
    drop_db: float
    is_true: bool


def ending(wave: np.ndarray, sample_rate: int) -> Ending:
    """How a wave [L] or [C, L] ends. Silence has last 0, drop_db NaN and no true ending.

    The sound ends with the last 10 ms above -50 dB against the level of all that sounds. A fade counts as an ending.
    """
    size = round(FRAME * sample_rate)
    wave = np.atleast_2d(wave)
    n = wave.shape[1] // size
    power = np.square(wave[:, : n * size], dtype=np.float64).mean(axis=0).reshape(n, size).mean(axis=1)
    if n == 0 or power.max() < 1e-10:
        return Ending(0.0, math.nan, False)
    whole = power[power > 1e-5 * power.max()].mean()
    last = int(np.flatnonzero(power > whole * 10 ** (SOUNDING / 10))[-1]) + 1
    tail = power[max(0, last - round(LAST / FRAME)) : last].mean()
    drop = 10 * math.log10(max(float(tail / whole), 1e-12))
    return Ending(last * size / sample_rate, drop, drop <= ENDING)


def length_error(reference: float, estimated: float) -> float:
    """Length of the sound less the length of the picture, s: below 0 where the sound is too short."""
    return estimated - reference


def evaluate(picture: VideoAnalysis, music: MusicAnalysis, wave: np.ndarray, sample_rate: int) -> dict[str, float]:
    """Every measure of this module by name, for a picture and the wave [C, L] that belongs to it.

    music: `listen` of the wave. The end and the length are those of the whole wave; all else hears what lies under the
    picture.
    """
    length = float(picture.duration)
    under = wave[..., : round(length * sample_rate)]
    onsets, beats = (times[times < length] for times in (music.onsets, music.beats))
    sync = sync_of_wave(under, sample_rate, picture.visual_beats)
    hits = visual_hits(picture.visual_beats, onsets)
    cuts = cut_errors(picture.cuts, onsets)
    return {
        "sync_z": sync.z if sync.n_beats else math.nan,
        "onset_density": hits.density,
        "visual_beats_met": hits.met,
        "beat_alignment": beat_alignment(picture.visual_beats, beats),
        "cut_error_ms": cuts.median_ms,
        "cuts_within": cuts.within,
        "motion_correlation": motion_correlation(picture.motion, music.events.energy, float(picture.events.rate)),
        "length_error": length_error(length, wave.shape[-1] / sample_rate),
    }


def evaluate_pair(reference: MusicAnalysis, estimated: MusicAnalysis, duration: float) -> dict[str, float]:
    """The measures of this module that compare with the true music, over `duration` s, by name."""
    scores = beat_scores(reference.onsets, estimated.onsets, duration)
    return {"beat_coverage": scores.coverage, "beat_hit": scores.hit, "beat_f1": scores.f1}


def evaluate_sound(music: MusicAnalysis, wave: np.ndarray, sample_rate: int) -> dict[str, float]:
    """The measures of this module that need no picture, by name."""
    end = ending(wave, sample_rate)
    return {
        "tempo_stability": tempo_stability(music.beats),
        "tempo_drift": tempo_drift(music.beats),
        "true_ending": float(end.is_true),
        "ending_db": end.drop_db,
    }
