"""The codec's bench on made signals: pitch of solo notes, silence, full scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from codec_clips import NOTE_SECONDS, SoloNote, extreme_signals, solo_notes
from codec_measures import fundamental
from codec_systems import CodecSystem, Measured, System, kept

from openvmas.train.codec.corpus import SAMPLE_RATE

STEADY = (0.16, 0.80)  # s of a note, between which its pitch is measured
SETTLED = 0.1  # s after music has ended; what a window still holds of it does not count as noise


def pitches(wave: np.ndarray, notes: list[SoloNote]) -> np.ndarray:
    """Frequency of each note in a wave, Hz: [N]; NaN where there is silence."""
    start, end = (round(t * SAMPLE_RATE) for t in STEADY)
    return np.array([fundamental(wave[n.start + start : n.start + end], SAMPLE_RATE, n.frequency) for n in notes])


def measure_notes(systems: list[System], folder: Path, soundfont: Path | None) -> dict[str, Measured]:
    """`cents`: how far each note is from where it was, [N], by system's name; a lost note counts 200."""
    assert STEADY[1] <= NOTE_SECONDS
    wave, notes = solo_notes(soundfont)
    reference = pitches(wave, notes)
    results = {}
    for system in systems:

        def make(system: System = system) -> Measured:
            cents = 1200 * np.log2(pitches(system(wave).wave, notes) / reference)
            return {"cents": np.nan_to_num(cents, nan=200.0), "timbres": np.array([note.timbre for note in notes])}

        results[system.name] = kept(folder / system.id / f"notes-{len(notes)}.npz", make)
    return results


def to_dbfs(peak: float) -> float:
    """Peak in dB below full scale, at least -200."""
    return 20 * float(np.log10(max(peak, 1e-10)))


def measure_extremes(system: CodecSystem, music: np.ndarray) -> dict[str, dict[str, float]]:
    """By signal: peak out in dBFS (for silence after music, once it has settled), level change in dB, share over 1.

    finite is 1 if every sample is a number.
    """
    found = {}
    for name, wave in extreme_signals(music).items():
        output = system(wave).wave
        heard = output
        if name == "music, then silence":
            heard = output[len(wave) // 2 + round(SETTLED * SAMPLE_RATE) :]
        rms_in, rms_out = (float(np.sqrt(np.mean(np.square(w, dtype=np.float64)))) for w in (wave, output))
        found[name] = {
            "peak_dbfs": to_dbfs(float(np.abs(heard).max())),
            "level_db": to_dbfs(rms_out) - to_dbfs(rms_in) if rms_in > 0 else 0.0,
            "over": float(np.mean(np.abs(output) > 1)),
            "finite": float(np.isfinite(output).all()),
        }
    return found
