"""Analysis of a piece of music over time, on the clock that pictures use too.

Training turns music into these curves; at inference the picture's own curves take their place (`vision.analysis`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from openvmas.errors import InputError
from openvmas.files import write_npz
from openvmas.media.loudness import ABSOLUTE_GATE, LOUDNESS_OFFSET, RELATIVE_GATE
from openvmas.music.beats import CHROMA_RATE, Beats, chord_change, find_beats, peak_near, take_chroma
from openvmas.music.onsets import (
    LOW_BANDS_BELOW,
    Spectrogram,
    band_edges,
    band_flux,
    log_mel,
    moving_mean,
    normalise_flux,
    pick_onsets,
    take_spectrogram,
)
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Clock, Events

# Energy is linear in loudness, relative to the track's own integrated loudness (so mastering level does not count):
# 16 LU below it is 0 and 6 LU above it is 1; the integrated loudness itself is 0.73.
ENERGY_FLOOR, ENERGY_CEILING = -16.0, 6.0  # LU
ENERGY_SPAN = 1.0  # s, over which loudness is taken
NOVELTY_SPAN = 6.0  # s, compared on each side of a moment
NOVELTY_RATE = 4  # feature frames per second
ACCENT_GAP = 0.18  # s, the least distance between accents
ACCENTS_PER_SECOND = 2.0  # at most, over any few seconds


@dataclass(frozen=True)
class MusicAnalysis:
    """Onsets, beats, loudness and event curves of a piece of music.

    duration: s, exact. events: curves at CONTROL_RATE with Clock(CONTROL_RATE).count(duration) steps.
    onsets: [N] s with onset_strengths [N] (1 is ordinary, 3 clear); beats, downbeats: s, increasing.
    tempo: BPM, 0 where there is none; beats_per_bar: 3 or 4; confidence: of the grid, in [0, 1], below 0.35 a guess.
    loudness_lufs: integrated loudness of the mono mix (-inf where silent).
    """

    duration: Fraction
    events: Events
    onsets: np.ndarray
    onset_strengths: np.ndarray
    beats: np.ndarray
    downbeats: np.ndarray
    tempo: float
    beats_per_bar: int
    confidence: float
    loudness_lufs: float

    def save(self, path: str | Path) -> None:
        """Write an NPZ file, whole or not at all, that `load` reads back without loss."""
        arrays = {name: getattr(self.events, name) for name in ("accents", "energy", "novelty")}
        arrays |= {name: getattr(self, name) for name in ("onsets", "onset_strengths", "beats", "downbeats")}
        arrays["duration"] = np.array([str(self.duration.numerator), str(self.duration.denominator)])
        arrays["rate"] = np.array([self.events.rate.numerator, self.events.rate.denominator])
        arrays["numbers"] = np.array([self.tempo, self.beats_per_bar, self.confidence, self.loudness_lufs])
        write_npz(Path(path), arrays)

    @classmethod
    def load(cls, path: str | Path) -> MusicAnalysis:
        """Read what `save` wrote. Raises InputError if the file is something else."""
        try:
            with np.load(path) as data:
                rate = Fraction(int(data["rate"][0]), int(data["rate"][1]))
                tempo, per_bar, confidence, loudness = (float(x) for x in data["numbers"])
                return cls(
                    Fraction(*(int(text) for text in data["duration"])),
                    Events(rate, data["accents"], data["energy"], data["novelty"]),
                    *(data[name] for name in ("onsets", "onset_strengths", "beats", "downbeats")),
                    tempo=tempo,
                    beats_per_bar=int(per_bar),
                    confidence=confidence,
                    loudness_lufs=loudness,
                )
        except (KeyError, ValueError, OSError, EOFError) as error:
            raise InputError(
                f"{path} is not a music analysis ({error}); make it again with analyze_music()."
            ) from error


def analyze_music(wave: np.ndarray, sample_rate: int) -> MusicAnalysis:
    """Onsets, beats and the event curves of a piece.

    wave: [C, L] or [L] in [-1, 1]. Time of step k of the curves is k / CONTROL_RATE from the wave's first sample.
    """
    spectrogram = take_spectrogram(wave, sample_rate)
    compressed = log_mel(spectrogram)
    flux = band_flux(compressed)
    strength = normalise_flux(flux.mean(axis=1), spectrogram.rate)
    chroma = take_chroma(spectrogram)
    onsets = pick_onsets(strength, spectrogram.rate)
    index = np.clip(np.rint(onsets * float(spectrogram.rate)).astype(int), 0, max(len(strength) - 1, 0))
    found = find_beats(spectrogram, flux, strength, chroma)
    low = normalise_flux(flux[:, band_edges()[1:-1] < LOW_BANDS_BELOW].mean(axis=1), spectrogram.rate)
    salience = onset_salience(onsets, index, strength, low, chroma, found)
    loudness = integrated_loudness(spectrogram)
    n_steps = Clock(CONTROL_RATE).count(spectrogram.duration)
    events = Events(
        rate=CONTROL_RATE,
        accents=place_accents(onsets, salience, n_steps),
        energy=energy_curve(spectrogram, loudness, n_steps),
        novelty=novelty_curve(compressed, spectrogram.rate, chroma, n_steps),
    )
    return MusicAnalysis(
        duration=spectrogram.duration,
        events=events,
        onsets=onsets,
        onset_strengths=strength[index] if len(onsets) else np.zeros(0, np.float32),
        beats=found.beats,
        downbeats=found.downbeats,
        tempo=found.tempo,
        beats_per_bar=found.beats_per_bar,
        confidence=found.confidence,
        loudness_lufs=loudness,
    )


def onset_salience(
    onsets: np.ndarray, index: np.ndarray, strength: np.ndarray, low: np.ndarray, chroma: np.ndarray, grid: Beats
) -> np.ndarray:
    """Salience of each onset, as the place where a picture would cut: [N].

    Its strength, its bass or drum hit, the change of harmony at it, and whether it falls on a beat or a bar line.
    """
    if len(onsets) == 0:
        return np.zeros(0)
    span = np.full(len(onsets), 0.8)
    harmony = chord_change(chroma, onsets, span, span)
    base = np.log1p(strength[index]) + 0.5 * np.log1p(peak_near(low, index, 3)) + 1.5 * np.sqrt(harmony)
    bonus = 1 + grid.confidence * (0.25 * _is_near(onsets, grid.beats) + 0.25 * _is_near(onsets, grid.downbeats))
    return base * bonus


def _is_near(times: np.ndarray, marks: np.ndarray, tolerance: float = 0.06) -> np.ndarray:
    """1.0 where a time lies within the tolerance (s) of a mark, else 0.0: [N]."""
    if len(marks) == 0:
        return np.zeros(len(times))
    right = np.clip(np.searchsorted(marks, times), 1, len(marks) - 1) if len(marks) > 1 else np.zeros(len(times), int)
    near = np.minimum(np.abs(times - marks[right]), np.abs(times - marks[np.maximum(right - 1, 0)]))
    return (near <= tolerance).astype(np.float64)


def place_accents(onsets: np.ndarray, salience: np.ndarray, n_steps: int) -> np.ndarray:
    """The accent curve [n_steps] float32: peaks of one step at the onsets that stand out.

    onsets, salience: [N]. The strongest are taken first, none within ACCENT_GAP of a stronger one and no more than
    ACCENTS_PER_SECOND over 4 s; those in the weaker half of the track's onsets are left out. A peak's height is its
    rank among the track's onsets, from 0.2 to 1.
    """
    accents = np.zeros(n_steps, np.float32)
    if len(onsets) == 0:
        return accents
    order = np.argsort(-salience, kind="stable")
    rank = np.empty(len(onsets))
    rank[order] = 1 - np.arange(len(onsets)) / len(onsets)  # 1 for the strongest
    chosen = np.zeros(0)
    clock = Clock(CONTROL_RATE)
    for index in order[: (len(order) + 1) // 2]:
        distance = np.abs(chosen - onsets[index])
        if (distance < ACCENT_GAP).any() or (distance < 2).sum() >= 4 * ACCENTS_PER_SECOND:
            continue
        chosen = np.append(chosen, onsets[index])
        step = min(clock.index(float(onsets[index])), n_steps - 1)
        accents[step] = 0.2 + 0.8 * (rank[index] - 0.5) * 2
    return accents


def integrated_loudness(spectrogram: Spectrogram) -> float:
    """Integrated loudness of the mono mix, LUFS, gated as in BS.1770-4 (-inf where all is silent)."""
    span, hop = round(0.4 * float(spectrogram.rate)), round(0.1 * float(spectrogram.rate))
    power = spectrogram.power.astype(np.float64)
    if len(power) < span:
        blocks = power.mean(keepdims=True) if len(power) else np.zeros(0)
    else:
        total = np.concatenate([[0.0], np.cumsum(power)])
        blocks = (total[span:] - total[:-span])[::hop] / span
    blocks = blocks[to_lufs(blocks) > ABSOLUTE_GATE]
    if len(blocks) == 0:
        return float("-inf")
    blocks = blocks[to_lufs(blocks) > float(to_lufs(blocks.mean())) + RELATIVE_GATE]
    return float(to_lufs(blocks.mean()))


def to_lufs(power: np.ndarray | float) -> np.ndarray:
    """Loudness of a mean-square power that is already K-weighted, LUFS."""
    return LOUDNESS_OFFSET + 10 * np.log10(np.maximum(power, 1e-12))


def energy_curve(spectrogram: Spectrogram, loudness: float, n_steps: int) -> np.ndarray:
    """Loudness over ENERGY_SPAN relative to the whole, mapped to [0, 1]: [n_steps] float32."""
    if not np.isfinite(loudness):
        return np.zeros(n_steps, np.float32)
    half = round(ENERGY_SPAN / 2 * float(spectrogram.rate))
    relative = to_lufs(moving_mean(spectrogram.power, half, half)) - loudness
    curve = np.clip((relative - ENERGY_FLOOR) / (ENERGY_CEILING - ENERGY_FLOOR), 0, 1)
    return to_steps(curve, spectrogram.rate, n_steps)


def to_steps(curve: np.ndarray, rate: Fraction, n_steps: int) -> np.ndarray:
    """A smooth curve [T] at `rate` read at the control clock's times: [n_steps] float32."""
    if len(curve) == 0:
        return np.zeros(n_steps, np.float32)
    times = Clock(CONTROL_RATE).times(n_steps)
    return np.interp(times, Clock(rate).times(len(curve)), curve).astype(np.float32)


def novelty_curve(compressed: np.ndarray, rate: Fraction, chroma: np.ndarray, n_steps: int) -> np.ndarray:
    """Difference of the next NOVELTY_SPAN from the last one, in [0, 1]: [n_steps] float32.

    A Gaussian checkerboard slid along the self-similarity of timbre and harmony (Foote 2000): similarity within both
    sides less similarity across. compressed: [T, N_BANDS] at `rate`; chroma: [U, 12] at CHROMA_RATE.
    """
    hop = float(rate) / NOVELTY_RATE
    n = int(len(compressed) / hop)
    half = round(NOVELTY_SPAN * NOVELTY_RATE)
    if n < 4:
        return np.zeros(n_steps, np.float32)
    centres = np.rint((np.arange(n) + 0.5) * hop).astype(int)
    bands = compressed.reshape(len(compressed), -1, 6).mean(axis=2)  # 16 broad bands
    smooth = moving_mean(bands, round(hop / 2), round(hop / 2))[centres]
    timbre = smooth - smooth.mean(axis=0)
    timbre = timbre / max(float(np.sqrt((timbre**2).sum(axis=1).mean())), 0.5)
    slow = moving_mean(chroma, 5, 5)  # a second of harmony
    at = np.clip(np.rint((np.arange(n) + 0.5) / NOVELTY_RATE * float(CHROMA_RATE)).astype(int), 0, len(chroma) - 1)
    harmony = slow[at] - slow.mean(axis=0)
    harmony = harmony / max(float(np.sqrt((harmony**2).sum(axis=1).mean())), 0.1)
    features = np.concatenate([timbre, 0.7 * harmony], axis=1)
    novelty = checkerboard(features, half)
    times = (np.arange(n) + 0.5) / NOVELTY_RATE
    curve = np.clip(1.5 * novelty, 0, 1)
    return np.interp(Clock(CONTROL_RATE).times(n_steps), times, curve).astype(np.float32)


def checkerboard(features: np.ndarray, half: int) -> np.ndarray:
    """Novelty [N] of features [N, D]: half the distance, squared, of the Gaussian-weighted means of both sides."""
    n = len(features)
    offset = np.arange(half) + 0.5
    weight = np.exp(-0.5 * (offset / (0.5 * half)) ** 2)
    padded = np.pad(features, ((half, half), (0, 0)))
    valid = np.pad(np.ones(n), half)
    past = np.lib.stride_tricks.sliding_window_view(padded, half, axis=0)[:n]  # [N, D, half], oldest first
    coming = np.lib.stride_tricks.sliding_window_view(padded, half, axis=0)[half : half + n]
    past_weight = np.lib.stride_tricks.sliding_window_view(valid, half)[:n] * weight[::-1]
    coming_weight = np.lib.stride_tricks.sliding_window_view(valid, half)[half : half + n] * weight
    past_weight = past_weight / np.maximum(past_weight.sum(axis=1, keepdims=True), 1e-9)
    coming_weight = coming_weight / np.maximum(coming_weight.sum(axis=1, keepdims=True), 1e-9)
    # The kernel's sum of similarities is the squared distance between the two weighted means.
    old = np.einsum("ndk,nk->nd", past, past_weight)
    new = np.einsum("ndk,nk->nd", coming, coming_weight)
    difference = ((new - old) ** 2).sum(axis=1) / 4
    edge = np.minimum(np.arange(n) + 1, np.arange(n)[::-1] + 1) / half
    return difference * np.clip(edge * 2, 0, 1)  # too little is known at the ends
