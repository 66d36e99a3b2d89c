"""The bank of samples: `instruments.npz` holds a table of zones and their sounds as Opus, decoded when needed."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas.errors import ModelError
from openvmas.symbolic.desk.rooms import fast_size

SOFT_CUTOFF = 900.0  # Hz, from which the softest notes lack treble
LEAST_RELEASE = 0.06  # s
SHADES = 4  # steps between the softest and the hardest stroke
LEVEL_DB = -18.0  # of every instrument at its hardest, before the mix
TURNS = (0, 1, -1)  # semitones
USUAL_KIT = "kit"
SEAM = 480  # samples before the end of a loop that fade into those before its beginning
MIDDLE_KEYS, KIT_KEYS = (50, 62, 74), (36, 38)


@dataclass(frozen=True)
class Zone:
    """One sample over a range of keys.

    keys: lowest and highest. root: key (with its fraction) at which it sounds as recorded, at `rate` Hz. loop: first
    and last sample of what repeats, or None. envelope: attack, hold, decay (s), sustain (dB down), release (s to −100
    dB), as the SoundFont specification means them. cutoff: Hz of a fixed low pass, or None. velocities: lowest and
    highest of the strokes that it is for.
    """

    sample: int
    keys: tuple[int, int]
    root: float
    rate: int
    loop: tuple[int, int] | None
    gain_db: float
    pan: float
    cutoff: float | None
    envelope: tuple[float, float, float, float, float]
    velocities: tuple[int, int] = (1, 127)

    @property
    def has_layers(self) -> bool:
        """Whether other samples play softer or harder strokes, so that none needs to be filtered."""
        return self.velocities != (1, 127)


class Bank:
    """Instruments by name. A sound is decoded when it is first asked for and kept."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path) as data:
                table: dict[str, Any] = json.loads(data["table"].tobytes())
                self._offsets, self._streams = data["offsets"], data["streams"]
            self._keep(
                {name: tuple(read_zone(row) for row in entry["zones"]) for name, entry in table.items()},
                {name: int(entry["program"]) for name, entry in table.items()},
                {name: tuple(read_zone(row) for row in entry.get("releases", ())) for name, entry in table.items()},
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no bank of instruments ({error}); install openvmas again.") from error

    def _keep(
        self,
        zones: dict[str, tuple[Zone, ...]],
        programs: dict[str, int],
        releases: dict[str, tuple[Zone, ...]] | None = None,
    ) -> None:
        self._zones, self.programs = zones, programs
        self._releases = releases or {}
        self._waves: dict[int, np.ndarray] = {}
        self._trims: dict[str, float] = {}
        self._shaded: dict[tuple[int, int | None, int], np.ndarray] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._zones)

    def zones(self, instrument: str, key: int, velocity: int = 100, turn: int = 0) -> list[Zone]:
        """The zones that sound together at a key; empty where the instrument has none there.

        turn: 1 and 2 take the samples of the keys a semitone above and below, so that a repeated note is not the same
        each time. Drums that a kit has not are those of the usual kit.
        """
        is_kit = instrument.endswith("kit")
        places = (
            ((instrument, key), (USUAL_KIT, key)) if is_kit else ((instrument, key + TURNS[turn]), (instrument, key))
        )
        for name, near in places:
            found = [
                zone
                for zone in self._zones.get(name, ())
                if zone.keys[0] <= near <= zone.keys[1] and zone.velocities[0] <= velocity <= zone.velocities[1]
            ]
            if found:
                return found
        return []

    def releases(self, instrument: str, key: int) -> list[Zone]:
        """The zones that sound once when a key is let go, such as a piano's damper; most instruments have none."""
        return [zone for zone in self._releases.get(instrument, ()) if zone.keys[0] <= key <= zone.keys[1]]

    def wave(self, zone: Zone, shade: int) -> np.ndarray:
        """The zone's sample [C, L] at its rate, filtered: shade 0 is the softest stroke, SHADES the hardest."""
        key = (zone.sample, None if zone.cutoff is None else int(zone.cutoff), shade)
        if key not in self._shaded:
            wave = self._decoded(zone.sample)
            if zone.loop is not None:
                middle = wave[:, slice(*zone.loop)].mean(axis=1, keepdims=True)  # some synthetic tones are not centred
                wave = seamless(wave - middle, zone.loop)
            cutoff = min(zone.cutoff or 1e9, SOFT_CUTOFF * 2 ** (5.0 * shade / SHADES) if shade < SHADES else 1e9)
            self._shaded[key] = darken(wave, cutoff, zone.rate)
        return self._shaded[key]

    def trim_db(self, instrument: str) -> float:
        """The gain that brings an instrument to LEVEL_DB: the mean of its middle keys' first half seconds."""
        if instrument not in self._trims:
            keys = KIT_KEYS if instrument.endswith("kit") else MIDDLE_KEYS
            levels = []
            for layers in filter(None, (self.zones(instrument, key) for key in keys)):
                starts = [self.wave(zone, SHADES)[:, : zone.rate // 2].astype(float) for zone in layers]
                gains = [10 ** (zone.gain_db / 20) for zone in layers]
                loud = sum(gain * (start**2).mean() ** 0.5 for gain, start in zip(gains, starts, strict=True))
                levels.append(20 * np.log10(loud + 1e-9))
            self._trims[instrument] = LEVEL_DB - float(np.mean(levels)) if levels else 0.0
        return self._trims[instrument]

    def _decoded(self, sample: int) -> np.ndarray:
        if sample not in self._waves:
            stream = self._streams[self._offsets[sample] : self._offsets[sample + 1]].tobytes()
            with av.open(io.BytesIO(stream), "r") as container:
                frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
            self._waves[sample] = np.concatenate(frames, axis=1).astype(np.float32)
        return self._waves[sample]


def seamless(wave: np.ndarray, loop: tuple[int, int]) -> np.ndarray:
    """The wave [C, L] whose loop ends as what comes before its beginning, so that nothing jumps where it repeats."""
    start, end = loop[0], min(loop[1], wave.shape[1])
    n = min(SEAM, start, (end - start) // 2)
    if n < 2:
        return wave
    share = np.linspace(0, 1, n, dtype=np.float32)
    wave = wave.copy()
    wave[:, end - n : end] = wave[:, end - n : end] * (1 - share) + wave[:, start - n : start] * share
    return wave


def darken(wave: np.ndarray, cutoff: float, rate: int) -> np.ndarray:
    """The wave [..., L] through a low pass of 12 dB an octave without phase shift; itself if that changes nothing."""
    if cutoff >= rate / 2:
        return wave
    size = fast_size(wave.shape[-1] + 256)  # lengths with large prime factors cost ten times as much
    frequency = np.fft.rfftfreq(size, 1 / rate)
    gain = 1 / np.sqrt(1 + (frequency / cutoff) ** 4)
    return np.fft.irfft(np.fft.rfft(wave, size) * gain, size)[..., : wave.shape[-1]].astype(np.float32)


def read_zone(row: dict[str, Any]) -> Zone:
    attack, hold, decay, sustain, release = row["envelope"]
    return Zone(
        sample=int(row["sample"]),
        keys=(int(row["keys"][0]), int(row["keys"][1])),
        root=float(row["root"]),
        rate=int(row["rate"]),
        loop=(int(row["loop"][0]), int(row["loop"][1])) if row["loop"] else None,
        gain_db=float(row["gain_db"]),
        pan=float(row["pan"]),
        cutoff=None if row["cutoff"] is None else float(row["cutoff"]),
        envelope=(attack, hold, decay, sustain, max(release, LEAST_RELEASE)),
        velocities=tuple(row.get("velocities", (1, 127))),
    )
