"""Timing of music against its picture. Times in s from the first frame; the picture is the reference.

Moments of the picture (cuts, visual beats) come from `vision.analysis`, marks of the music (beats, onsets) from
`music.analysis`. `beat_scores`, `visual_hits` and `beat_alignment`, which the field uses, are won by a constant stream
of marks; `music.sync.sync_z` and `align_marks` are corrected for chance. A measure that has nothing to compare is NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from openvmas.music.analysis import MusicAnalysis
from openvmas.music.onsets import moving_mean
from openvmas.music.sync import energy_correlation, sync_of_wave
from openvmas.vision.analysis import VideoAnalysis

TOLERANCE = 0.08  # s: a cut with a beat this near is felt as on the beat
N_SHIFTS = 200  # in time, for chance
BEAT_RESOLUTION = 1.0  # s, of the beat coverage and beat hit scores, as the field has it
HIT_TOLERANCE = 0.1  # s, at which an onset meets a visual beat
ALIGNMENT_DEVIATION = 0.05  # s: 3 frames at 60 fps, as in AIST++
MAX_DEVIATION = 0.05  # relative deviation of a beat's length that counts as the same tempo
MOTION_SPAN = 1.0  # s over which motion is averaged, as energy is in `music.analysis`
FRAME = 0.01  # s, of levels at the end
MIN_LEVEL = -50.0  # dB against the level of the whole: what is quieter at the end is silence
TAIL = 0.1  # s, of sound before it ends
MAX_ENDING = -20.0  # dB: an ending at most so loud against the whole is one; a cut is near 0


def validate(reference: np.ndarray, estimated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both lists of times as [N] float64. Raises ValueError for other shapes, times not finite or out of order."""
    found = []
    for times in (reference, estimated):
        times = np.asarray(times, dtype=np.float64)
        if times.ndim != 1 or not np.isfinite(times).all() or (np.diff(times) < 0).any():
            raise ValueError("times must be [N], finite and in order")
        found.append(times)
    return found[0], found[1]


def nearest(moments: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Signed distance from each moment to the nearest mark.

    Parameters
    ----------
    moments : [N] s
    marks : [M] s, increasing

    Returns
    -------
    [N] s, mark minus moment; NaN where there are no marks

    >>> nearest(np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    array([0.5, 0. ])
    """
    if len(marks) == 0:
        return np.full(len(moments), math.nan)
    right = np.clip(np.searchsorted(marks, moments), 0, len(marks) - 1)
    left = np.maximum(right - 1, 0)
    after, before = marks[right] - moments, marks[left] - moments
    return np.where(np.abs(before) <= np.abs(after), before, after)


@dataclass(frozen=True)
class MarkAlignment:
    """errors: [N] s, nearest mark minus moment (positive: the music is late), NaN where there are no marks.

    within: share of moments with a mark within TOLERANCE; chance: the same for moments shifted in time.
    """

    errors: np.ndarray
    within: float
    chance: float

    @property
    def median(self) -> float:
        """Median distance, s; NaN where nothing can be said."""
        known = np.abs(self.errors[np.isfinite(self.errors)])
        return float(np.median(known)) if len(known) else math.nan


def align_marks(moments: np.ndarray, marks: np.ndarray, duration: float) -> MarkAlignment:
    """Errors between moments of the picture and marks of the music, with chance from circular shifts of the moments.

    Parameters
    ----------
    moments : [N] s, such as cuts
    marks : [M] s, such as beats
    duration : of the piece, s

    Returns
    -------
    MarkAlignment, NaN where either side is empty

    >>> align_marks(np.array([1.0]), np.array([1.25]), duration=2.0).median
    0.25
    """
    errors = nearest(moments, marks)
    if len(moments) == 0 or len(marks) == 0:
        return MarkAlignment(errors, math.nan, math.nan)
    shifts = np.random.default_rng(0).uniform(0, duration, N_SHIFTS)
    moved = ((moments + shifts[:, None]) % duration).ravel()
    within, chance = (float(np.mean(np.abs(e) <= TOLERANCE + 1e-9)) for e in (errors, nearest(moved, marks)))
    return MarkAlignment(errors, within, chance)


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
    """Beat coverage and beat hit scores (BCS and BHS) of the music's beats against the true music's.

    As the field computes them: every span of `resolution` s from 0 to `duration` s either holds a beat or not, however
    many; coverage is estimated over reference spans, hit is spans with both over reference spans (for dance: Lee et al.
    2019; for music: D2M-GAN, Zhu et al. 2022; spans of a second that hold an onset: the code of CDCD, Zhu et al.
    2023). LORIS (Yu et al. 2023) divides by the estimated spans instead, which is `precision` here, and adds F1. Not
    corrected for chance: sound that has an onset in every second has hit score 1.

    Parameters
    ----------
    reference : [N] s, beats or onsets of the true music
    estimated : [M] s, beats or onsets of the music in question
    duration : s
    resolution : length of a span, s

    Returns
    -------
    BeatScores, NaN where no span of the reference holds a beat

    >>> beat_scores(np.array([0.5, 1.5]), np.array([0.6]), duration=2.0).hit
    0.5
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
    """Onsets per visual beat, and share of visual beats that an onset meets.

    Not corrected for chance: a dense click track meets them all.

    Parameters
    ----------
    reference : [N] s, visual beats
    estimated : [M] s, onsets
    tolerance : largest distance at which an onset meets a visual beat, s

    Returns
    -------
    VisualHits, NaN without visual beats

    >>> visual_hits(np.array([1.0, 2.0]), np.array([1.05]))
    VisualHits(density=0.5, met=0.5)
    """
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return VisualHits(math.nan, math.nan)
    if len(estimated) == 0:
        return VisualHits(0.0, 0.0)
    is_met = np.abs(nearest(reference, estimated)) <= tolerance + 1e-9
    return VisualHits(len(estimated) / len(reference), float(is_met.mean()))


def beat_alignment(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Beat alignment score (AIST++: Li et al. 2021): mean of exp(-d² / 2σ²) over visual beats, d to the nearest beat.

    σ is ALIGNMENT_DEVIATION. Not corrected for chance.

    Parameters
    ----------
    reference : [N] s, visual beats
    estimated : [M] s, beats of the music

    Returns
    -------
    Score in [0, 1], 1 where all meet, 0 without beats of the music; NaN without visual beats

    >>> beat_alignment(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    1.0
    """
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return math.nan
    if len(estimated) == 0:
        return 0.0
    return float(np.mean(np.exp(-(nearest(reference, estimated) ** 2) / (2 * ALIGNMENT_DEVIATION**2))))


@dataclass(frozen=True)
class CutError:
    """median_ms: median distance from a cut to the nearest onset, ms. within: share of cuts within TOLERANCE (80
    ms)."""

    median_ms: float
    within: float


def cut_errors(reference: np.ndarray, estimated: np.ndarray) -> CutError:
    """Distance from cuts to their nearest onsets.

    Parameters
    ----------
    reference : [N] s, cuts
    estimated : [M] s, onsets

    Returns
    -------
    CutError; NaN without cuts, infinite and 0 without onsets

    >>> cut_errors(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    CutError(median_ms=0.0, within=1.0)
    """
    reference, estimated = validate(reference, estimated)
    if len(reference) == 0:
        return CutError(math.nan, math.nan)
    if len(estimated) == 0:
        return CutError(math.inf, 0.0)
    distance = np.abs(nearest(reference, estimated))
    return CutError(1000 * float(np.median(distance)), float(np.mean(distance <= TOLERANCE + 1e-9)))


def tempo_stability(beats: np.ndarray) -> float:
    """Share of the spans between beats within 5 % of the median span.

    Parameters
    ----------
    beats : [N] s

    Returns
    -------
    Share in [0, 1]; NaN below 4 beats

    >>> tempo_stability(np.array([0.0, 0.5, 1.0, 1.5]))
    1.0
    """
    beats, _ = validate(beats, beats)
    if len(beats) < 4:
        return math.nan
    spans = np.diff(beats)
    return float(np.mean(np.abs(spans / np.median(spans) - 1) <= MAX_DEVIATION + 1e-9))


def tempo_drift(beats: np.ndarray) -> float:
    """Change of the tempo from the first to the last beat, as a share of the tempo.

    Log lengths of beats are fitted with a straight line over time. `tempo_stability` does not see a slow drift below 10
    %, because no beat is then far from the median.

    Parameters
    ----------
    beats : [N] s

    Returns
    -------
    Drift, 0 or more; NaN below 8 beats

    >>> round(tempo_drift(np.arange(8.0)), 6)
    0.0
    """
    beats, _ = validate(beats, beats)
    spans = np.diff(beats)
    if len(beats) < 8 or (spans <= 0).any():
        return math.nan
    slope = np.polyfit((beats[1:] + beats[:-1]) / 2, np.log(spans), 1)[0]
    return float(np.expm1(abs(slope) * (beats[-1] - beats[0])))


def motion_correlation(reference: np.ndarray, estimated: np.ndarray, rate: float) -> float:
    """Pearson's r of the picture's motion, averaged over 1 s, with the music's energy.

    Parameters
    ----------
    reference : [T], motion
    estimated : [T], energy
    rate : values per second of both

    Returns
    -------
    r in [-1, 1]; NaN where one of them is constant

    >>> motion_correlation(np.arange(20.0), np.arange(20.0), rate=2.0) > 0.9
    True
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
    """Time and level of the end of a wave.

    The sound ends with the last 10 ms above -50 dB against the level of all that sounds. A fade counts as an ending.

    Parameters
    ----------
    wave : [L] or [C, L]
    sample_rate : Hz

    Returns
    -------
    Ending; silence has last 0, drop_db NaN and no true ending

    >>> ending(np.ones(1000), 1000)
    Ending(last=1.0, drop_db=0.0, is_true=False)
    """
    size = round(FRAME * sample_rate)
    wave = np.atleast_2d(wave)
    n = wave.shape[1] // size
    power = np.square(wave[:, : n * size], dtype=np.float64).mean(axis=0).reshape(n, size).mean(axis=1)
    if n == 0 or power.max() < 1e-10:
        return Ending(0.0, math.nan, False)
    whole = power[power > 1e-5 * power.max()].mean()
    last = int(np.flatnonzero(power > whole * 10 ** (MIN_LEVEL / 10))[-1]) + 1
    tail = power[max(0, last - round(TAIL / FRAME)) : last].mean()
    drop = 10 * math.log10(max(float(tail / whole), 1e-12))
    return Ending(last * size / sample_rate, drop, drop <= MAX_ENDING)


def evaluate(picture: VideoAnalysis, music: MusicAnalysis, wave: np.ndarray, sample_rate: int) -> dict[str, float]:
    """The measures of this module that need a picture and the wave [C, L] that belongs to it, by name.

    music: `listen` of the wave. The length is that of the whole wave; all else is that of the part under the picture.
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
        "length_error": wave.shape[-1] / sample_rate - length,
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
