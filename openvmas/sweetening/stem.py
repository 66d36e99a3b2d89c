"""Accents added to finished music: which sound goes where, how loud, and the stem that holds them all.

Works on any music with the moments of its plan: the key and the beat are heard in the music itself. Sounds are varied
and apart from each other, so that they stay events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.files import hidden_name
from openvmas.media.audio import WavReader, write_wav
from openvmas.media.loudness import k_weighting_power
from openvmas.music.beats import take_chroma, track_beats
from openvmas.music.key import Key, find_key
from openvmas.music.onsets import take_spectrogram
from openvmas.planning.schema import Hit, ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT
from openvmas.sweetening import sounds

APART = 1.0  # s between moments that get a sound
PER_SECOND = 0.5  # moments that get a sound, at most, on average
LEAST = 0.3  # of the strongest moment's strength
LAST = 1.0  # s before the end, in which only the user's moments get a sound: there the music is ending
GREAT, MIDDLE = 0.25, 0.65  # shares of the moments, the strongest first, that get large and middle sounds
LEAD_APART = 5.0  # s between risers or swells
LEVELS = {"great": 1.0, "middle": -1.5, "small": -4.0}  # dB against the music around
LEAD_LEVEL = -9.0  # dB of a riser or swell against the music before its moment
LOWEST_LEVEL = -38.0  # LUFS: in silence sounds are not made as faint as it
AROUND = (1.5, 0.5)  # s before and after a moment that are the music around it
HEARD = 300.0  # s of the music in which key and beat are looked for
USUAL_BEAT = 0.5  # s
BLOCK = SAMPLE_RATE_OUT


@dataclass(frozen=True)
class Cue:
    """A sound to be added. time: s of its moment; lead: s that it begins before; kind: of `sounds`; level: dB."""

    time: float
    kind: str
    level: float
    lead: float = 0.0
    is_great: bool = False


@dataclass(frozen=True)
class Added:
    """A record of what was added. cues: in order of time; key, tempo: of the music, as heard."""

    cues: tuple[Cue, ...]
    key: str
    tempo: float

    def describe(self) -> dict[str, Any]:
        """The entry in the report."""
        listed = [{"time": round(cue.time, 3), "kind": cue.kind, "lead": round(cue.lead, 3)} for cue in self.cues]
        return {"key": self.key, "tempo": round(self.tempo, 1), "sounds": listed}


def choose_moments(plan: ScorePlan) -> list[Hit]:
    """The moments that get a sound, in order of time: the user's, then the strongest of the picture, apart."""
    own = [hit for hit in plan.hits if hit.source == "user"]
    early = float(plan.duration) - LAST
    others = [hit for hit in plan.hits if hit.source != "user" and hit.time <= early]
    others.sort(key=lambda hit: -hit.strength)
    most = max(1, round(PER_SECOND * float(plan.duration)))
    least = LEAST * others[0].strength if others else 0.0
    chosen = list(own)
    for hit in others:
        if len(chosen) >= most or hit.strength < least:
            break
        if all(abs(hit.time - other.time) >= APART for other in chosen):
            chosen.append(hit)
    return sorted(chosen, key=lambda hit: hit.time)


def place_cues(plan: ScorePlan, beat: float, gain_db: float, seed: int) -> list[Cue]:
    """Sounds for the chosen moments. beat: s; gain_db: added to all levels."""
    rng = np.random.default_rng((seed, 7))
    moments = choose_moments(plan)
    borders = np.array([section.start for section in plan.sections[1:]])
    rank = {
        id(hit): place / max(len(moments), 1)
        for place, hit in enumerate(sorted(moments, key=lambda hit: (hit.source != "user", -hit.strength)))
    }
    cues: list[Cue] = []
    last_lead = last_time = -LEAD_APART
    for hit in moments:
        is_border = bool(len(borders)) and float(np.abs(borders - hit.time).min()) < 0.3
        is_great = hit.source == "user" or is_border or rank[id(hit)] < GREAT
        size = "great" if is_great else "middle" if rank[id(hit)] < MIDDLE else "small"
        level = LEVELS[size] + gain_db
        if size == "great":
            cues.append(Cue(hit.time, "impact", level, is_great=True))
            if rng.random() < 0.6:
                cues.append(Cue(hit.time, "sub_drop" if rng.random() < 0.5 else "cymbal", level - 5))
            lead = beat * int(rng.choice([2, 4]))
            lead = min(lead, hit.time - last_time - 0.3, hit.time)
            if hit.time - last_lead >= LEAD_APART and lead >= 0.6:
                kind = "swell" if is_border or rng.random() < 0.5 else "riser"
                cues.append(Cue(hit.time, kind, LEAD_LEVEL + gain_db, lead))
                last_lead = hit.time
        elif size == "middle":
            cues.append(Cue(hit.time, str(rng.choice(["impact", "low_hit", "cymbal"], p=[0.35, 0.4, 0.25])), level))
        else:
            cues.append(Cue(hit.time, "low_hit", level))
        last_time = hit.time
    return cues


def make_sound(cue: Cue, key: Key, rng: np.random.Generator) -> np.ndarray:
    """The sound of a cue: [2, n] float32."""
    root = 32.703 * 2 ** (key.tonic / 12)  # C1 up to B1
    root = root if root > 38 else root * 2
    if cue.kind == "impact":
        return sounds.impact(rng, root, 0.9 if cue.is_great else 0.45)
    if cue.kind == "low_hit":
        return sounds.low_hit(rng, root * (1.0 if rng.random() < 0.6 else 1.498))
    if cue.kind == "cymbal":
        return sounds.cymbal(rng, float(rng.uniform(1.2, 2.2)))
    if cue.kind == "sub_drop":
        return sounds.sub_drop(rng, root)
    if cue.kind == "riser":
        return sounds.riser(rng, root, cue.lead)
    return sounds.swell(rng, root, key.is_minor, cue.lead)


def loudness(wave: np.ndarray) -> float:
    """K-weighted level of a wave [2, n], LUFS without gates."""
    if not wave.shape[1]:
        return -120.0
    spectrum = np.abs(np.fft.rfft(wave, axis=1)) ** 2
    weights = k_weighting_power(np.fft.rfftfreq(wave.shape[1], 1 / SAMPLE_RATE_OUT))
    power = 2 * float((spectrum * weights).sum()) / wave.shape[1] ** 2
    return -0.691 + 10 * float(np.log10(max(power, 1e-12)))


class Stem:
    """All sounds for one piece of music, as blocks on its clock."""

    def __init__(self, music: WavReader, plan: ScorePlan, gain_db: float, seed: int) -> None:
        """music: at 48 kHz, stereo."""
        self.n_samples = music.n_samples
        heard = music.read(0, min(music.n_samples, round(HEARD * SAMPLE_RATE_OUT)))
        key = find_key(take_chroma(take_spectrogram(heard, SAMPLE_RATE_OUT)))
        beats = track_beats(heard, SAMPLE_RATE_OUT)
        beat = 60 / beats.tempo if beats.tempo and beats.confidence >= 0.35 else USUAL_BEAT
        cues = place_cues(plan, beat, gain_db, seed)
        self.added = Added(tuple(cues), str(key), 60 / beat)
        rng = np.random.default_rng((seed, 11))
        self._sounds: list[tuple[int, np.ndarray]] = []
        for cue in cues:
            sound = make_sound(cue, key, rng)
            low, high = (round((cue.time + k) * SAMPLE_RATE_OUT) for k in (-AROUND[0], AROUND[1]))
            around = max(loudness(music.read(max(low, 0), min(high, music.n_samples))), LOWEST_LEVEL)
            # Of a struck sound its first moments count, of one that grows its last.
            span = round(0.4 * SAMPLE_RATE_OUT)
            part = sound[:, -span:] if cue.lead else sound[:, :span]
            gain = 10 ** ((around + cue.level - loudness(part)) / 20)
            start = round((cue.time - cue.lead) * SAMPLE_RATE_OUT)
            self._sounds.append((start, self._ended(start, (sound * gain).astype(np.float32))))

    def _ended(self, start: int, sound: np.ndarray) -> np.ndarray:
        """A sound that would ring on behind the end of the music, faded out to it."""
        left = self.n_samples - start
        if sound.shape[1] <= left:
            return sound
        return sound[:, :left] * np.square(np.cos(np.linspace(0, np.pi / 2, left))).astype(np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples start to stop - 1: [2, n]."""
        found = np.zeros((2, stop - start), np.float32)
        for first, sound in self._sounds:
            low, high = max(first, start), min(first + sound.shape[1], stop)
            if low < high:
                found[:, low - start : high - start] += sound[:, low - first : high - first]
        return found

    def blocks(self, music: WavReader | None = None) -> Iterator[np.ndarray]:
        """The stem in blocks [2, n], added to the music if it is given."""
        for start in range(0, self.n_samples, BLOCK):
            stop = min(start + BLOCK, self.n_samples)
            part = self.read(start, stop)
            yield part if music is None else part + music.read(start, stop)


def sweeten(music: Path, plan: ScorePlan, gain_db: float, seed: int, stem: Path | None = None) -> dict[str, Any]:
    """Add sounds to a file of `write_wav` at 48 kHz, in place; the report says which. stem: also write them alone."""
    reader = WavReader(music)
    made = Stem(reader, plan, gain_db, seed)
    if stem is not None:
        write_wav(stem, made.blocks(), SAMPLE_RATE_OUT)
    partial = music.with_name(hidden_name(".wav"))
    try:
        write_wav(partial, made.blocks(reader), SAMPLE_RATE_OUT)
        partial.replace(music)
    finally:
        partial.unlink(missing_ok=True)
    return made.added.describe()
