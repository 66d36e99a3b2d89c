"""Sound of an arrangement: stretches of the recording at its own speed, joined where both sides agree.

Tempo is changed by leaving out or repeating a few milliseconds between onsets, where the waveform is most like itself
(synchronised overlap-add: Roucos & Wilgus 1985; WSOLA: Verhelst & Roelands 1993, but with as few splices as the drift
allows), so that attacks stay as they were played and nothing is filtered. A join is the same splice between two places:
an equal-power crossfade that ends before the beat, at the phase where both signals agree.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from openvmas.fitting.arrangement import Arrangement, Run
from openvmas.fitting.sound import Sound
from openvmas.fitting.track import Track
from openvmas.settings import SAMPLE_RATE_OUT

COARSE = 4  # samples that are averaged before waveforms are compared: 12 kHz
WINDOW = 0.02  # s that are compared
JOIN_FADE = 0.03  # s
SPLICE_FADE = 0.012  # s
BEFORE_BEAT = 0.008  # s that a join's crossfade ends before the beat, whose attack may lie a little early
SEARCH = 0.12  # s before the beat in which a join may lie
JOIN_LAG = 0.008  # s that the new side may be shifted for its phase; beats stay within 10 ms
DRIFT, MOST_DRIFT = 0.007, 0.016  # s: from the first on a splice is looked for, the second is never passed
LEAST_LAG, MOST_LAG = 0.004, 0.024  # s that a splice leaves out or repeats
MARGIN = 0.4  # s of the recording that are read around a run
START_FADE = 0.006  # s, where a moment that is asked follows at once
# s, where the music begins inside the recording: breaking in is a strong accent that nobody asked for
ENTRY_FADE = 0.25
BEFORE_HIT = 0.05  # s before the first moment that is asked, where that fade has ended
RING_FADE = 1.2  # s at most, where the ring of the last note is cut
LOOP_FADE = 2.0  # s, at the end of a recording that has no ending
BLOCK = SAMPLE_RATE_OUT


@dataclass(frozen=True)
class Join:
    """time: s of the target, source_from, source_to: s of the recording; agreement: correlation at the crossfade."""

    time: float
    source_from: float
    source_to: float
    agreement: float


@dataclass(frozen=True)
class _Piece:
    """From sample `start` of the target on the recording is heard at its own speed, sample `start + shift`.

    The crossfade from what was before lasts from start to start + fade; agreement: correlation there.
    """

    start: int
    shift: int
    fade: int
    agreement: float = 0.0


class Source:
    """The spans of a recording that an arrangement plays, [2, n] float32 at 48 kHz; silence outside the recording."""

    def __init__(self, sound: Sound, spans: Sequence[tuple[float, float]]) -> None:
        """spans: s. Reads the sound up to the end of the last span. Raises InputError."""
        wanted = _merged([(round(a * SAMPLE_RATE_OUT), round(b * SAMPLE_RATE_OUT)) for a, b in spans])
        self._spans = [(first, np.zeros((2, last - first), np.float32)) for first, last in wanted]
        position, end = 0, max((last for _, last in wanted), default=0)
        for block in sound.blocks():
            for first, wave in self._spans:
                low, high = max(first, position), min(first + wave.shape[1], position + block.shape[1])
                if low < high:
                    wave[:, low - first : high - first] = block[:, low - position : high - position]
            position += block.shape[1]
            if position >= end:
                break

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start to stop - 1: [2, n]."""
        found = np.zeros((2, max(stop - start, 0)), np.float32)
        for first, wave in self._spans:
            low, high = max(first, start), min(first + wave.shape[1], stop)
            if low < high:
                found[:, low - start : high - start] = wave[:, low - first : high - first]
        return found

    def coarse(self, start: int, n: int) -> np.ndarray:
        """n values of the mono sound from sample `start` on, each the mean of COARSE samples."""
        return self.read(start, start + n * COARSE).mean(axis=0).reshape(n, COARSE).mean(axis=1)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for first, last in sorted((max(a, 0), b) for a, b in spans):
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        elif last > first:
            found.append((first, last))
    return found


class Renderer:
    """Plays one arrangement of one recording; `joins` is complete when all blocks have been taken."""

    def __init__(
        self, sound: Sound, track: Track, arrangement: Arrangement, n_samples: int, first_hit: float = np.inf
    ) -> None:
        """first_hit: s of the first moment that is asked, which no fade may cover."""
        self.track, self.arrangement, self.n_samples = track, arrangement, n_samples
        self.first_hit = first_hit
        self.joins: list[Join] = []
        runs = arrangement.runs
        self.source = Source(sound, [(run.source_start - MARGIN, run.source_end + MARGIN) for run in runs])

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound in blocks [2, n] float32, together exactly `n_samples`."""
        position = 0
        gain = self._envelope()
        for part in self._parts():
            part = part[:, : self.n_samples - position]
            if part.shape[1]:
                yield (part * gain(position, part.shape[1])).astype(np.float32)
                position += part.shape[1]
        while position < self.n_samples:
            n = min(BLOCK, self.n_samples - position)
            yield np.zeros((2, n), np.float32)
            position += n

    def _parts(self) -> Iterator[np.ndarray]:
        pieces = self._pieces()
        piece = next(pieces)
        position = piece.start
        if position:
            yield np.zeros((2, position), np.float32)
        end = round(self.arrangement.runs[-1].end * SAMPLE_RATE_OUT) + round(0.2 * SAMPLE_RATE_OUT)
        for coming in itertools.chain(pieces, [None]):
            stop = end if coming is None else coming.start
            for first in range(position, stop, BLOCK):
                last = min(first + BLOCK, stop)
                yield self.source.read(first + piece.shift, last + piece.shift)
            if coming is None:
                return
            position = max(stop, position)
            low, high = position, position + coming.fade
            old = self.source.read(low + piece.shift, high + piece.shift)
            new = self.source.read(low + coming.shift, high + coming.shift)
            yield crossfade(old, new, coming.agreement)
            position, piece = high, coming

    def _envelope(self) -> Callable[[int, int], np.ndarray]:
        """A function of (start, n) that gives the gain [n]: fades where the recording is cut into at its ends."""
        runs, rate = self.arrangement.runs, SAMPLE_RATE_OUT
        first = runs[0]
        is_whole = first.source_start <= self.track.start + 0.05
        entry = float(np.clip(self.first_hit - BEFORE_HIT - first.start, START_FADE, ENTRY_FADE))
        rise = round(rate * (0.002 if is_whole else entry))
        begin = round(first.start * rate)
        end = round(runs[-1].end * rate)
        fall = 0
        if not self.track.has_ending:
            end = min(end, self.n_samples)
            fall = round(rate * min(LOOP_FADE, 0.1 + float(self.n_samples) / rate / 6))
        elif end > self.n_samples + rate // 50:
            last = self.arrangement.target_times(np.array([self.track.last]))
            since = self.n_samples / rate - (float(last[-1]) if len(last) else self.n_samples / rate - 1)
            end, fall = self.n_samples, round(rate * min(RING_FADE, max(0.3, 0.7 * since)))

        def gain(start: int, n: int) -> np.ndarray:
            at = np.arange(start, start + n, dtype=np.float64)
            value = np.sin(np.pi / 2 * np.clip((at - begin) / max(rise, 1), 0, 1)) ** 2
            if fall:
                value = value * np.sin(np.pi / 2 * np.clip((end - at) / fall, 0, 1)) ** 2
            return value.astype(np.float32)

        return gain

    def _pieces(self) -> Iterator[_Piece]:
        """Pieces in order: one for each run, and one after each splice that its tempo needs."""
        lag = 0
        shift = 0
        for index, run in enumerate(self.arrangement.runs):
            start = round(run.start * SAMPLE_RATE_OUT)
            if index == 0:
                piece = _Piece(start, round(run.source_start * SAMPLE_RATE_OUT) - start, 0)
            elif run.is_joined:
                piece, lag = self._join(run, shift, start)
            else:
                piece = _Piece(start, shift, 0)
            yield piece
            shift = piece.shift
            for splice in self._splices(run, piece, lag):
                yield splice
                shift = splice.shift

    def _join(self, run: Run, old_shift: int, start: int) -> tuple[_Piece, int]:
        """The crossfade from the sound at `old_shift` into a run, and the samples that its phase is shifted by."""
        new_shift = round(run.source_start * SAMPLE_RATE_OUT) - start
        attack = self._attack_lag(start + old_shift, start + new_shift)
        fade, reach = round(JOIN_FADE * SAMPLE_RATE_OUT), round(JOIN_LAG * SAMPLE_RATE_OUT)
        width = round(WINDOW * SAMPLE_RATE_OUT / COARSE)
        best = (-2.0, start - fade, attack)
        latest = start - round(BEFORE_BEAT * SAMPLE_RATE_OUT) - fade
        fine = round(0.003 * SAMPLE_RATE_OUT)
        low, high = max(attack - fine, -reach), min(attack + fine, reach)
        for at in range(max(latest - round(SEARCH * SAMPLE_RATE_OUT), 0), max(latest, 0) + 1, fade // 3):
            middle = at + fade // 2 - width * COARSE // 2
            old = self.source.coarse(middle + old_shift, width)
            n_lags = (high - low) // COARSE + 1
            new = self.source.coarse(middle + new_shift + low, width + n_lags - 1)
            found = correlate(old, new)
            k = int(found.argmax())
            value = float(found[k]) - 0.15 * (latest - at) / max(SEARCH * SAMPLE_RATE_OUT, 1)
            if value > best[0]:
                best = (value, at, low + k * COARSE)
        _, at, lag = best
        agreement = max(0.0, min(1.0, best[0]))
        self.joins.append(
            Join(
                start / SAMPLE_RATE_OUT, (start + old_shift) / SAMPLE_RATE_OUT,
                (start + new_shift + lag) / SAMPLE_RATE_OUT, round(agreement, 3),
            )
        )  # fmt: skip
        return _Piece(max(at, 0), new_shift + lag, fade, agreement), lag

    def _attack_lag(self, old: int, new: int) -> int:
        """Samples by which the attack at `new` comes later than that at `old` in the recording, within JOIN_LAG.

        Beats are known to about 10 ms; by the rise of both envelopes what was one beat apart stays one beat apart.
        """
        reach = round(JOIN_LAG * SAMPLE_RATE_OUT)
        hop, width = 48, round(0.16 * SAMPLE_RATE_OUT)

        def rise(start: int, n: int) -> np.ndarray:
            wave = self.source.read(start, start + n + hop)
            power = (wave**2).mean(axis=0)
            level = np.log(power[: len(power) // hop * hop].reshape(-1, hop).mean(axis=1) + 1e-7)
            smooth = np.convolve(level, np.ones(5) / 5, "same")
            return np.maximum(np.diff(smooth), 0)

        first = rise(old - width // 3, width)
        other = rise(new - width // 3 - reach, width + 2 * reach)
        if len(other) < len(first) or first.std() < 1e-6:
            return 0
        found = correlate(first, other)
        best = int(found.argmax())
        return int(np.clip(best * hop - reach, -reach, reach)) if found[best] > 0.5 else 0

    def _splices(self, run: Run, piece: _Piece, lag: int) -> Iterator[_Piece]:
        """Where a run leaves out or repeats a little, so that it keeps to its tempo."""
        rate = run.rate
        position, shift = round(run.start * SAMPLE_RATE_OUT), piece.shift
        stop = round(run.end * SAMPLE_RATE_OUT) - round(0.1 * SAMPLE_RATE_OUT)
        if rate == 1.0:
            return
        origin = run.source_start * SAMPLE_RATE_OUT + lag
        began = run.start * SAMPLE_RATE_OUT

        def drift(at: float, shift: int) -> float:
            """The recording's lag behind its place at a sample of the target, samples."""
            return origin + (at - began) * rate - (at + shift)

        sign = 1 if rate > 1 else -1
        fade = round(SPLICE_FADE * SAMPLE_RATE_OUT)
        while True:
            now = drift(position, shift) * sign
            first = position + max(0.0, DRIFT * SAMPLE_RATE_OUT - now) / abs(rate - 1)
            last = position + max(0.0, MOST_DRIFT * SAMPLE_RATE_OUT - now) / abs(rate - 1)
            if first >= stop:
                return
            last = min(max(last, first + fade), stop)
            at, leap, agreement = self._best_splice(int(first), int(last), shift, sign, drift)
            shift += leap
            yield _Piece(at, shift, fade, agreement)
            position = at + fade

    def _best_splice(
        self, first: int, last: int, shift: int, sign: int, drift: Callable[[float, int], float]
    ) -> tuple[int, int, float]:
        """(sample of the target, samples left out, agreement) of the least audible splice between two samples."""
        fade, width = round(SPLICE_FADE * SAMPLE_RATE_OUT), round(WINDOW * SAMPLE_RATE_OUT / COARSE)
        step = max(fade // 2, (last - first) // 40)
        best = (-9.0, first, 0, 0.0)
        strength = self.track.strength
        for at in range(first, last + 1, step):
            behind = drift(at, shift) * sign / SAMPLE_RATE_OUT
            low = max(LEAST_LAG, behind - 0.006)
            high = max(low + 0.004, min(MOST_LAG, behind + 0.010))
            lags = np.arange(round(low * SAMPLE_RATE_OUT), round(high * SAMPLE_RATE_OUT), COARSE)
            middle = at + shift + fade // 2 - width * COARSE // 2
            old = self.source.coarse(middle, width)
            if sign > 0:
                new = self.source.coarse(middle + int(lags[0]), width + len(lags) - 1)
                found = correlate(old, new)
            else:
                new = self.source.coarse(middle - int(lags[-1]), width + len(lags) - 1)
                found = correlate(old, new)[::-1]
            k = int(found.argmax())
            frames = np.arange(-3, 6) + round((at + shift) / SAMPLE_RATE_OUT * 100)
            onset = float(strength[np.clip(frames, 0, len(strength) - 1)].max())
            value = float(found[k]) - 0.12 * min(onset, 5.0)
            if value > best[0]:
                best = (value, at, sign * int(lags[k]), max(0.0, float(found[k])))
        return best[1], best[2], best[3]


def correlate(short: np.ndarray, long: np.ndarray) -> np.ndarray:
    """Normalised correlation in [-1, 1] of a signal [n] with each stretch of a longer one [m]: [m - n + 1].

    1 for two silences.
    """
    n = len(short)
    product = np.correlate(long, short, "valid")
    total = np.concatenate([[0.0], np.cumsum(long.astype(np.float64) ** 2)])
    energy = np.sqrt(np.maximum(total[n:] - total[:-n], 0)) * float(np.sqrt((short.astype(np.float64) ** 2).sum()))
    return np.where(energy > 1e-7, product / np.maximum(energy, 1e-7), 1.0)


def crossfade(old: np.ndarray, new: np.ndarray, agreement: float) -> np.ndarray:
    """The way from one sound [C, n] to another at constant power, whatever they have in common.

    agreement: their correlation in [0, 1]; at 0 the power of the gains is constant, at 1 their sum.
    """
    phase = (np.arange(old.shape[1]) + 0.5) / max(old.shape[1], 1) * np.pi / 2
    down, up = np.cos(phase), np.sin(phase)
    level = np.sqrt(1 + 2 * np.clip(agreement, 0, 1) * down * up)
    return (old * (down / level) + new * (up / level)).astype(np.float32)
