"""Soundfonts: .sf2, and .sf3 whose samples are Ogg Vorbis streams.

Format: SoundFont 2.04 specification (Creative, 2006), with Vorbis streams in place of samples as MuseScore writes it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RECORDS = {
    "phdr": "<20sHHHIII", "pbag": "<HH", "pgen": "<HH", "inst": "<20sH", "ibag": "<HH", "igen": "<HH",
    "shdr": "<20sIIIIIBbHH",
}  # fmt: skip
# Generators by number, with the values that the specification gives where a font says nothing.
DEFAULTS = {8: 13500, 17: 0, 34: -12000, 35: -12000, 36: -12000, 37: 0, 38: -12000, 48: 0, 51: 0, 52: 0, 54: 0, 58: -1}
KEY_RANGE, VELOCITY_RANGE, INSTRUMENT, SAMPLE = 43, 44, 41, 53
LEFT, COMPRESSED = 4, 0x10  # of a sample's kind


class Font:
    """The records of a soundfont and the bytes of its samples. Raises ValueError for what is none."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            # Fonts may have a GiB, of which a piece needs little.
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self.data[:4] != b"RIFF" or self.data[8:12] != b"sfbk":
            raise ValueError("it does not begin as a soundfont")
        self.samples = 0
        self.records: dict[str, list[tuple[Any, ...]]] = {}
        for kind, start, size in self._chunks(12, len(self.data)):
            if kind != b"LIST":
                continue
            for inner, at, length in self._chunks(start + 4, start + size):
                name = inner.decode()
                if name == "smpl":
                    self.samples = at
                elif name in RECORDS:
                    step = struct.calcsize(RECORDS[name])
                    rows = range(at, at + length - step + 1, step)
                    self.records[name] = [struct.unpack_from(RECORDS[name], self.data, row) for row in rows]
        if missing := sorted(set(RECORDS) - set(self.records)):
            raise ValueError(f"its {missing[0]} records are missing")

    def _chunks(self, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        while at + 8 <= end:
            size = struct.unpack_from("<I", self.data, at + 4)[0]
            yield self.data[at : at + 4], at + 8, size
            at += 8 + size
            # Chunks of odd size are padded in RIFF, but not by the writer of this font.
            at += size % 2 and not self.data[at : at + 4].isalpha()

    def zones(self, kind: str, index: int) -> Iterator[dict[int, int]]:
        """The generators of every zone of preset ("p") or instrument ("i") `index`, those of its global zone added."""
        heads = self.records["phdr" if kind == "p" else "inst"]
        bags, generators = self.records[f"{kind}bag"], self.records[f"{kind}gen"]
        first = 3 if kind == "p" else 1
        last = INSTRUMENT if kind == "p" else SAMPLE
        everywhere: dict[int, int] = {}
        for bag in range(heads[index][first], heads[index + 1][first]):
            own = dict(generators[bags[bag][0] : bags[bag + 1][0]])
            if last in own:
                yield everywhere | own
            else:
                everywhere = own

    @property
    def presets(self) -> dict[tuple[int, int], str]:
        """Bank and program → name."""
        heads = self.records["phdr"][:-1]
        return {(head[2], head[1]): head[0].split(b"\0")[0].decode("latin-1").strip() for head in heads}

    def preset(self, bank: int, program: int, velocity: int | None = None) -> Iterator[dict[str, Any]]:
        """Every zone of a preset, or those that sound at a velocity. Raises ValueError if there is no such preset."""
        for index, head in enumerate(self.records["phdr"][:-1]):
            if (head[2], head[1]) == (bank, program):
                for outer in self.zones("p", index):
                    for inner in self.zones("i", outer[INSTRUMENT]):
                        ranges = [zone.get(VELOCITY_RANGE, 127 << 8) for zone in (outer, inner)]
                        if velocity is None or all(r & 255 <= velocity <= r >> 8 for r in ranges):
                            yield self._settle(outer, inner)
                return
        raise ValueError(f"the soundfont has no preset {program} in bank {bank}")

    def _settle(self, outer: dict[int, int], inner: dict[int, int]) -> dict[str, Any]:
        """One zone in the units of openvmas.symbolic.instruments: s, Hz, dB, keys."""

        def value(number: int) -> int:
            own = signed(inner.get(number, DEFAULTS[number]))
            return own + (signed(outer.get(number, 0)) if number not in (54, 58) else 0)

        def seconds(number: int) -> float:
            return round(2 ** (value(number) / 1200), 4) if value(number) > -11950 else 0.0

        sample = self.records["shdr"][inner[SAMPLE]]
        _, start, end, loop_start, loop_end, rate, key, correction, link, kind = sample
        is_stream = bool(kind & COMPRESSED)
        at = 0 if is_stream else start
        low = max(zone.get(KEY_RANGE, 127 << 8) & 255 for zone in (outer, inner))
        high = min(zone.get(KEY_RANGE, 127 << 8) >> 8 for zone in (outer, inner))
        root = (value(58) if value(58) >= 0 else key) - value(51) - (value(52) + correction) / 100
        return {
            "sample": inner[SAMPLE],
            "link": link,
            "side": kind & ~COMPRESSED,
            "is_stream": is_stream,
            "bytes": tuple(self.samples + at * (1 if is_stream else 2) for at in (start, end)),
            "keys": [low, high],
            "root": round(root, 3),
            "rate": rate,
            # In a stream places count from its beginning, in PCM from that of all samples.
            "loop": [loop_start - at, loop_end - at] if value(54) & 1 and loop_end > loop_start + 8 else None,
            # Fonts mean 0.4 dB by each dB of attenuation: what the EMU8000 did and most players do.
            "gain_db": round(-0.04 * value(48), 2),
            "pan": round(max(-500, min(500, value(17))) / 500, 3),
            "cutoff": round(8.176 * 2 ** (value(8) / 1200)) if value(8) < 13400 else None,
            "envelope": [seconds(34), seconds(35), seconds(36), round(min(value(37), 1000) / 10, 1), seconds(38)],
            "velocities": [
                max(zone.get(VELOCITY_RANGE, 127 << 8) & 255 for zone in (outer, inner)),
                min(zone.get(VELOCITY_RANGE, 127 << 8) >> 8 for zone in (outer, inner)),
            ],
        }


def signed(value: int) -> int:
    return value - 65536 if value > 32767 else value
