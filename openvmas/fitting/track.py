"""A recording heard once: where it may be cut, what sounds there, where it is sung, and how it ends.

What was heard is kept by the recording's content, in the user's cache and in the index of a folder of music.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.errors import InputError
from openvmas.files import cache_folder, write_npz
from openvmas.fitting.sound import Sound
from openvmas.media.audio import resample_pieces
from openvmas.music.analysis import checkerboard, integrated_loudness, to_lufs
from openvmas.music.beats import CHROMA_RATE, Beats, find_beats, take_chroma
from openvmas.music.key import find_key
from openvmas.music.onsets import (
    ANALYSIS_RATE,
    ONSET_RATE,
    band_flux,
    log_mel,
    moving_max,
    moving_mean,
    normalise_flux,
    pick_onsets,
    take_spectrogram,
)
from openvmas.music.speech import HOP, find_classes
from openvmas.music.speech import SAMPLE_RATE as SPEECH_RATE
from openvmas.settings import SAMPLE_RATE_OUT

VERSION = 3  # of what is kept; a change makes the cache forget
MAX_HOURS = 3.0
PART = 600.0  # s of a long recording that are heard at once
FREE_TIME = 0.35  # confidence of the beat below which a recording counts as free of one
CELLS = 4  # half beats on each side of a mark that describe it
N_BANDS = 24  # of the description
DESCRIPTION = N_BANDS + 12 + 1  # values a cell: bands, chroma, level
SILENT_DB = -50.0  # level against the loudest second below which the ends of a recording count as silent
ABRUPT_DB = -22.0  # level of the last tenth of a second, against the whole, above which a recording has no ending
FADE_DB = 9.0  # fall of level over the last FADE_SPAN that makes a fade-out
FADE_SPAN = 6.0  # s
LONG_FADE, FADE_LIKENESS = 12.0, -0.95  # s, correlation with time, from which a fade-out is left to us
LAST_ONSET = 1.0  # strength of the last onset that counts as the last beat
LONGEST_RING = 4.0  # s after the last beat that count as its ring
SUNG, MAYBE_SUNG = 0.4, 0.1  # probability that a phrase reaches, and that its ends have, since drums hide voices
SUNG_GAP = 0.8  # s: shorter pauses do not end a sung phrase
FREE_GAP = 1.2  # s, between the marks of music in free time, about


@dataclass(frozen=True)
class Track:
    """A recording as the fitter knows it; times in s from its first sample.

    duration, start, end: length, and where sound begins and ends. marks: [N + 1] where it may be cut, increasing: bar
    lines, in free time strong onsets; beats: [M]. strength: [T] onset strength at ONSET_RATE. energy: [T / 10] loudness
    against the whole, LU. novelty: [N + 1] how much the music changes at a mark, 0 to 1. described: [N + 1, 2 * CELLS,
    DESCRIPTION] the sound around each mark. sung: [K, 2] spans. tempo: BPM. confidence: of the beat. key: as "D minor".
    loudness_lufs: of the whole. last: s, of the last clear onset. has_ending: it does not break off; fades_out: it
    ends by a fade, which is left out where it is long. traits: what `library` knows it by.
    """

    duration: float
    start: float
    end: float
    marks: np.ndarray
    beats: np.ndarray
    strength: np.ndarray
    energy: np.ndarray
    novelty: np.ndarray
    described: np.ndarray
    sung: np.ndarray
    tempo: float
    confidence: float
    beats_per_bar: int
    key: str
    loudness_lufs: float
    last: float
    has_ending: bool
    fades_out: bool
    traits: np.ndarray

    @property
    def ring_start(self) -> float:
        """Where the ring of the last beat begins, or LONGEST_RING before the end, s."""
        return max(self.last, self.end - LONGEST_RING)

    @property
    def is_free(self) -> bool:
        """Whether the music has no beat that could be relied on."""
        return self.confidence < FREE_TIME

    def is_sung(self, times: np.ndarray, margin: float = 0.1) -> np.ndarray:
        """Whether each time lies inside a sung phrase: [N]."""
        if not len(self.sung):
            return np.zeros(len(times), bool)
        inside = (times[:, None] > self.sung[:, 0] + margin) & (times[:, None] < self.sung[:, 1] - margin)
        return np.asarray(inside.any(axis=1))

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays, as `from_arrays` takes them; curves in half precision."""
        found: dict[str, np.ndarray] = {}
        for item in dataclasses.fields(self):
            value = np.asarray(getattr(self, item.name))
            found[item.name] = value.astype(np.float16) if item.name in _HALF else value
        return found

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Track:
        """Raises KeyError where something is missing."""
        found = {}
        for item in dataclasses.fields(cls):
            value = arrays[item.name]
            found[item.name] = value.astype(np.float32) if item.name in _HALF else value if value.ndim else value.item()
        return cls(**found)


_HALF = ("strength", "energy", "novelty", "described")


def listen(path: str | Path, cache: Path | None = None, sha256: str = "", sound: Sound | None = None) -> Track:
    """Everything known of a recording: kept in `cache` (the user's, if left out) by content, or heard now.

    sha256: of its content, where that is known; sound: where it is decoded from. Raises InputError where it cannot be
    read or is silent.
    """
    folder = cache or cache_folder() / "tracks"
    place = folder / f"{sha256 or digest(path)}.track-{VERSION}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError), np.load(place) as data:
        return Track.from_arrays(dict(data))
    track = hear(path, sound)
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_npz(place, track.arrays())
    return track


def digest(path: str | Path) -> str:
    """sha256 of a file's content. Raises InputError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error


def hear(path: str | Path, sound: Sound | None = None) -> Track:
    """Listen to a recording from its file, or from a sound that will be read again. Raises InputError."""
    blocks = (sound or Sound(path, is_kept=False)).blocks()
    parts = [_hear_part(wave, start) for start, wave in _parts(path, blocks)]
    parts = [part for part in parts if part.duration > 0]
    if not parts:
        raise InputError(f"{path} holds no sound; give a recording of music.")
    heard = _joined(parts)
    level = to_lufs(moving_mean(heard.power.astype(np.float64), 5, 5))
    loud = np.flatnonzero(level > max(level.max() + SILENT_DB, -70.0))
    if not len(loud) or level.max() < -60:
        raise InputError(f"{path} is silent; give a recording of music.")
    return describe(heard, float(loud[0] / 100), float(min((loud[-1] + 2) / 100, heard.duration)), level)


def _parts(path: str | Path, blocks: Iterator[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """(start in s, mono wave at ANALYSIS_RATE) of stretches of about PART seconds, so that memory stays bounded."""
    size, start = round(PART * ANALYSIS_RATE), 0
    waiting: list[np.ndarray] = []
    n_waiting = 0
    mono = ((SAMPLE_RATE_OUT, block.mean(axis=0, keepdims=True)) for block in blocks)
    for block in resample_pieces(mono, ANALYSIS_RATE, 1):
        waiting.append(block[0])
        n_waiting += block.shape[1]
        if n_waiting >= 1.2 * size:  # the last stretch is never a short one
            joined = np.concatenate(waiting)
            yield start / ANALYSIS_RATE, joined[:size]
            start += size
            if start > MAX_HOURS * 3600 * ANALYSIS_RATE:
                raise InputError(f"{path} lasts more than {MAX_HOURS:g} hours; give a shorter recording.")
            waiting, n_waiting = [joined[size:]], len(joined) - size
    if n_waiting:
        yield start / ANALYSIS_RATE, np.concatenate(waiting)


@dataclass(frozen=True)
class Heard:
    """Curves of a recording, or of one stretch of it: see `music.onsets`. singing: [T] at ONSET_RATE."""

    duration: float
    mel: np.ndarray
    strength: np.ndarray
    power: np.ndarray
    chroma: np.ndarray
    singing: np.ndarray
    beats: Beats
    loudness_lufs: float


def _hear_part(wave: np.ndarray, start: float) -> Heard:
    spectrum = take_spectrogram(wave, ANALYSIS_RATE)
    compressed = log_mel(spectrum)
    flux = band_flux(compressed)
    strength = normalise_flux(flux.mean(axis=1), spectrum.rate)
    chroma = take_chroma(spectrum)
    beats = find_beats(spectrum, flux, strength, chroma)
    beats = dataclasses.replace(beats, beats=beats.beats + start, downbeats=beats.downbeats + start)
    singing = find_classes(wave, ANALYSIS_RATE).frames[:, 1]
    at = np.minimum(np.arange(spectrum.n_frames), max(len(singing) - 1, 0))
    assert HOP * float(ONSET_RATE) == SPEECH_RATE  # both have a frame every 10 ms
    singing = singing[at] if len(singing) else np.zeros(spectrum.n_frames, np.float32)
    bands = spectrum.mel.reshape(-1, N_BANDS, spectrum.mel.shape[1] // N_BANDS).mean(axis=2)
    return Heard(
        float(spectrum.duration), bands, strength, spectrum.power, chroma, singing, beats, integrated_loudness(spectrum)
    )


def _joined(parts: list[Heard]) -> Heard:
    """Stretches one after the other; the beat is that of those in which it is clearest."""
    if len(parts) == 1:
        return parts[0]
    weights = np.array([part.duration for part in parts])
    confidence = float(np.average([part.beats.confidence for part in parts], weights=weights))
    clear = max(parts, key=lambda part: part.beats.confidence * part.duration).beats
    beats = Beats(
        clear.tempo,
        np.concatenate([part.beats.beats for part in parts]),
        np.concatenate([part.beats.downbeats for part in parts]),
        clear.beats_per_bar,
        confidence,
    )
    finite = [10 ** (part.loudness_lufs / 10) for part in parts]
    loudness = 10 * float(np.log10(max(float(np.average(finite, weights=weights)), 1e-12)))
    curves = [np.concatenate([getattr(part, name) for part in parts]) for name in ("mel", "strength", "power")]
    chroma, singing = (np.concatenate([getattr(part, name) for part in parts]) for name in ("chroma", "singing"))
    return Heard(float(weights.sum()), curves[0], curves[1], curves[2], chroma, singing, beats, loudness)


def describe(heard: Heard, start: float, end: float, level: np.ndarray) -> Track:
    """A track from its curves. start, end: s, of its sound; level: [T] LUFS at ONSET_RATE.

    One that fades out for long counts as ending where its fade begins: nobody wants half a minute of fading.
    """
    end, is_cut = (fade, True) if (fade := long_fade(level, start, end)) else (end, False)
    onsets = pick_onsets(heard.strength)
    onsets = onsets[(onsets >= start - 0.02) & (onsets < end)]
    is_free = heard.beats.confidence < FREE_TIME or len(heard.beats.downbeats) < 3
    if is_free:
        marks = free_marks(heard.strength, onsets, start, end)
        period = 0.5
    else:
        marks = bar_lines(heard.beats.downbeats, start, end)
        period = 60 / heard.beats.tempo
    loudness = heard.loudness_lufs if np.isfinite(heard.loudness_lufs) else float(level.max())
    described = describe_marks(heard, marks, period, level)
    inner = heard.beats.beats[(heard.beats.beats >= start - 0.1) & (heard.beats.beats < end - 0.05)]
    heard_at = onsets[
        heard.strength[np.minimum(np.rint(onsets * 100).astype(int), len(heard.strength) - 1)] > LAST_ONSET
    ]
    tail = level[max(0, round((end - 0.12) * 100)) : max(1, round((end - 0.02) * 100))]
    fall = fade_fall(level, end)
    return Track(
        duration=heard.duration, start=start, end=end, marks=marks, beats=inner, strength=heard.strength,
        energy=(moving_mean(level, 50, 50)[::10] - loudness).astype(np.float32),
        novelty=mark_novelty(described), described=described, sung=sung_spans(heard.singing),
        tempo=heard.beats.tempo, confidence=0.0 if is_free and heard.beats.confidence >= FREE_TIME
        else heard.beats.confidence,
        beats_per_bar=heard.beats.beats_per_bar, key=str(find_key(heard.chroma)), loudness_lufs=loudness,
        last=float(heard_at[-1]) if len(heard_at) else start,
        has_ending=not is_cut and bool(not len(tail) or tail.mean() < loudness + ABRUPT_DB or fall >= FADE_DB),
        fades_out=is_cut or fall >= FADE_DB, traits=traits(heard, level, onsets),
    )  # fmt: skip


def bar_lines(downbeats: np.ndarray, start: float, end: float) -> np.ndarray:
    """Downbeats, continued evenly to both ends of the sound: [N + 1] s, the first and last about `start` and `end`."""
    period = float(np.median(np.diff(downbeats)))
    before = downbeats[0] - period * np.arange(1, int(max(0.0, downbeats[0] - start) / period) + 2)
    after = downbeats[-1] + period * np.arange(1, int(max(0.0, end - downbeats[-1]) / period) + 2)
    lines = np.concatenate([before[::-1], downbeats, after])
    lines = lines[(lines > start + 0.3 * period) & (lines < end - 0.3 * period)]
    return np.concatenate([[start], lines, [end]])


def free_marks(strength: np.ndarray, onsets: np.ndarray, start: float, end: float) -> np.ndarray:
    """Strong onsets about FREE_GAP apart, or even steps where nothing begins: [N + 1] s from `start` to `end`."""
    marks = [start]
    while end - marks[-1] > 2 * FREE_GAP:
        low, high = marks[-1] + 0.6 * FREE_GAP, marks[-1] + 1.6 * FREE_GAP
        near = onsets[(onsets > low) & (onsets < high)]
        heights = strength[np.minimum(np.rint(near * 100).astype(int), len(strength) - 1)]
        marks.append(float(near[heights.argmax()]) if len(near) else (low + high) / 2)
    return np.array([*marks, end])


def describe_marks(heard: Heard, marks: np.ndarray, period: float, level: np.ndarray) -> np.ndarray:
    """The sound in half beats around each mark: [N + 1, 2 * CELLS, DESCRIPTION] float32.

    Each kind of value is in units of its own spread over the recording, so that their distances can be added.
    """
    rate = float(ONSET_RATE)
    least = max(float(heard.mel.max(initial=0.0)) * 1e-3, 1e-9)
    bands = np.log(np.maximum(heard.mel, least)).astype(np.float64)
    decibels = np.maximum(level, level.max() - 40)[:, None]
    chroma = heard.chroma.astype(np.float64)

    def cells(curve: np.ndarray, per_second: float) -> np.ndarray:
        total = np.concatenate([np.zeros((1, curve.shape[1])), np.cumsum(curve, axis=0)])
        edges = (marks[:, None] + np.arange(-CELLS, CELLS + 1) * period / 2) * per_second
        index = np.clip(np.rint(edges).astype(int), 0, len(curve))
        width = np.maximum(np.diff(index, axis=1), 1)
        low = np.minimum(index[:, :-1], len(curve) - 1)
        return (total[np.minimum(low + width, len(curve))] - total[low]) / width[..., None]

    parts = []
    for curve, per_second, weight in ((bands, rate, 1.0), (chroma, float(CHROMA_RATE), 1.0), (decibels, rate, 1.0)):
        found = cells(curve, per_second)
        spread = max(float(found.reshape(-1, found.shape[2]).std(axis=0).mean()), 1e-3)
        parts.append(weight * found / spread / np.sqrt(found.shape[2]))
    return np.concatenate(parts, axis=2).astype(np.float32)


def mark_novelty(described: np.ndarray) -> np.ndarray:
    """Difference of the four marks from each on from the four before (Foote 2000), 1 for the greatest: [N + 1]."""
    whole = described.mean(axis=1).astype(np.float64)
    whole = whole - whole.mean(axis=0)
    change = checkerboard(whole, 4)
    return (change / max(float(change.max(initial=0.0)), 1e-9)).astype(np.float32)


def sung_spans(singing: np.ndarray) -> np.ndarray:
    """Spans (start, end) in s of phrases that are sung: [K, 2]."""
    if not len(singing):
        return np.zeros((0, 2))
    smooth = moving_mean(singing, 10, 10)
    is_on = smooth > MAYBE_SUNG
    edges = np.diff(np.concatenate([[0], is_on.astype(int), [0]]))
    spans = np.stack([np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)], axis=1)
    joined: list[list[int]] = []
    for first, last in spans:
        if joined and first - joined[-1][1] < SUNG_GAP * float(ONSET_RATE):
            joined[-1][1] = last
        else:
            joined.append([first, last])
    sung = [[a, b] for a, b in joined if b - a > 0.3 * float(ONSET_RATE) and smooth[a:b].max() > SUNG]
    return np.array(sung).reshape(-1, 2) / float(ONSET_RATE)


def long_fade(level: np.ndarray, start: float, end: float) -> float | None:
    """Where a steady fade-out of LONG_FADE and more begins, s; None where there is none.

    level: [T] LUFS at ONSET_RATE. It falls by 15 dB and more from the last second that is about as loud as the rest.
    """
    n = int(end - start)
    seconds = level[round(start * 100) : round(start * 100) + n * 100].reshape(n, 100).max(axis=1) if n else level[:0]
    if n < 2 * LONG_FADE:
        return None
    first = int(np.flatnonzero(seconds >= np.median(seconds) - 3)[-1])
    tail = seconds[first:]
    is_fade = len(tail) >= LONG_FADE and tail[0] - tail[-1] > 15
    if not is_fade or np.corrcoef(np.arange(len(tail)), tail)[0, 1] > FADE_LIKENESS:
        return None
    return start + first + 1.0


def fade_fall(level: np.ndarray, end: float) -> float:
    """Fall of the level over the last FADE_SPAN, dB; 0 where it does not fall steadily."""
    stop = round(end * 100)
    seconds = [level[max(0, stop - 100 * (k + 1)) : max(1, stop - 100 * k)].max() for k in range(round(FADE_SPAN))]
    falls = -np.diff(seconds[::-1])
    return float(falls.sum()) if stop > 100 * FADE_SPAN and (falls > -0.5).all() and falls.max() < 12 else 0.0


def traits(heard: Heard, level: np.ndarray, onsets: np.ndarray) -> np.ndarray:
    """Figures that tell kinds of music apart: see `library.axes_of`. [N_BANDS + 10] float32."""
    bands = np.log(np.maximum(heard.mel.mean(axis=0), 1e-6))
    mean_level = np.log(max(float(heard.mel.mean()), 1e-6))
    key = find_key(heard.chroma)
    usual = moving_max(heard.strength, 2, 2)
    loud = level[level > level.max() - 30]
    flat = float(heard.chroma.std(axis=1).mean()) if len(heard.chroma) else 0.0
    others = [
        np.log2(max(heard.beats.tempo, 40.0) / 110), heard.beats.confidence, len(onsets) / max(heard.duration, 1.0),
        float(usual.mean()), float(np.percentile(usual, 95)), float(loud.std()) if len(loud) else 0.0,
        -key.clarity if key.is_minor else key.clarity, flat, float(heard.singing.mean()),
        float(np.abs(np.diff(np.log(np.maximum(heard.mel, 1e-4)), axis=0)).mean()) if len(heard.mel) > 1 else 0.0,
    ]  # fmt: skip
    return np.array([*(bands - mean_level), *others], np.float32)


def strongest_near(track: Track, reach: float) -> np.ndarray:
    """The onset strength, each frame the greatest within `reach` s: [T]."""
    frames = round(reach * float(ONSET_RATE))
    return moving_max(np.asarray(track.strength, np.float64), frames, frames)
