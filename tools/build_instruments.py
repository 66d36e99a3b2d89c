"""Make the symbolic composer's instruments from a free soundfont: a few samples of each, as they are compressed there.

    apt-get download fluidr3mono-gm-soundfont && dpkg -x fluidr3mono-gm-soundfont_*.deb FONT
    python tools/build_instruments.py FONT

FONT is the unpacked package. Writes openvmas/weights/symbolic: instruments.npz, LICENSE.txt (the package's copyright
file) and the manifest. Nothing is decoded or encoded, so nothing is lost: a sample is an Ogg Vorbis stream in an .sf3.
Format: SoundFont 2.04 specification (Creative, 2006), with Vorbis streams in place of samples as MuseScore writes it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.pretrained import PRESETS_FOLDER, write_manifest

VELOCITY = 100  # of fonts with several layers the one for this velocity is taken
DRUM_BANK = 128
# name: (bank, General MIDI program, keys that are needed, how many zones are skipped after each one that is kept)
PRESETS: dict[str, tuple[int, int, tuple[int, int], int]] = {
    "piano": (0, 0, (28, 100), 0),
    "electric_piano": (0, 4, (36, 96), 0),
    "celesta": (0, 8, (60, 103), 1),
    "vibraphone": (0, 11, (52, 91), 1),
    "marimba": (0, 12, (45, 91), 0),
    "organ": (0, 16, (36, 96), 0),
    "nylon_guitar": (0, 24, (40, 84), 0),
    "steel_guitar": (0, 25, (40, 84), 1),
    "clean_guitar": (0, 27, (40, 84), 1),
    "muted_guitar": (0, 28, (40, 76), 1),
    "overdriven_guitar": (0, 29, (40, 84), 1),
    "acoustic_bass": (0, 32, (26, 57), 1),
    "fingered_bass": (0, 33, (26, 57), 1),
    "synth_bass": (0, 38, (24, 60), 0),
    "cello": (0, 42, (36, 67), 1),
    "pizzicato": (0, 45, (36, 91), 1),
    "harp": (0, 46, (36, 96), 1),
    "timpani": (0, 47, (36, 57), 0),
    "strings": (0, 48, (36, 96), 0),
    "synth_strings": (0, 50, (36, 96), 0),
    "choir": (0, 52, (48, 79), 1),
    "trumpet": (0, 56, (54, 86), 0),
    "horn": (0, 60, (40, 79), 1),
    "oboe": (0, 68, (58, 88), 1),
    "clarinet": (0, 71, (50, 88), 1),
    "flute": (0, 73, (60, 96), 0),
    "square_lead": (0, 80, (36, 100), 0),
    "saw_lead": (0, 81, (36, 100), 0),
    "fantasia": (0, 88, (36, 96), 0),
    "warm_pad": (0, 89, (36, 96), 0),
    "taiko": (0, 116, (36, 60), 0),
    "reverse_cymbal": (0, 119, (60, 60), 0),
}
# name: (program of the drum bank, General MIDI drum keys)
KITS: dict[str, tuple[int, tuple[int, ...]]] = {
    "kit": (0, (36, 37, 38, 39, 41, 42, 44, 45, 46, 48, 49, 51, 54, 55, 56, 69, 70, 75, 81)),
    "electronic_kit": (25, (36, 37, 38, 39, 42, 46, 56, 70)),
}
RECORDS = {
    "phdr": "<20sHHHIII", "pbag": "<HH", "pgen": "<HH", "inst": "<20sH", "ibag": "<HH", "igen": "<HH",
    "shdr": "<20sIIIIIBbHH",
}  # fmt: skip
# Generators by number, with the values that the specification gives where a font says nothing.
DEFAULTS = {8: 13500, 17: 0, 34: -12000, 35: -12000, 36: -12000, 37: 0, 38: -12000, 48: 0, 51: 0, 52: 0, 54: 0, 58: -1}
KEY_RANGE, VELOCITY_RANGE, INSTRUMENT, SAMPLE = 43, 44, 41, 53


class Font:
    """The records of a soundfont and the bytes of its samples."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
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

    def preset(self, bank: int, program: int) -> Iterator[dict[str, Any]]:
        """Every zone of a preset that sounds at VELOCITY. Raises ValueError if there is no such preset."""
        for index, head in enumerate(self.records["phdr"][:-1]):
            if (head[2], head[1]) == (bank, program):
                for outer in self.zones("p", index):
                    for inner in self.zones("i", outer[INSTRUMENT]):
                        ranges = [zone.get(VELOCITY_RANGE, 127 << 8) for zone in (outer, inner)]
                        if all(r & 255 <= VELOCITY <= r >> 8 for r in ranges):
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
        _, start, end, loop_start, loop_end, rate, key, correction, _, _ = sample
        low = max(zone.get(KEY_RANGE, 127 << 8) & 255 for zone in (outer, inner))
        high = min(zone.get(KEY_RANGE, 127 << 8) >> 8 for zone in (outer, inner))
        root = (value(58) if value(58) >= 0 else key) - value(51) - (value(52) + correction) / 100
        return {
            "sample": inner[SAMPLE],
            "bytes": (self.samples + start, self.samples + end),
            "keys": [low, high],
            "root": round(root, 3),
            "rate": rate,
            "loop": [loop_start, loop_end] if value(54) & 1 and loop_end > loop_start + 8 else None,
            # Fonts mean 0.4 dB by each dB of attenuation: what the EMU8000 did and most players do.
            "gain_db": round(-0.04 * value(48), 2),
            "pan": round(max(-500, min(500, value(17))) / 500, 3),
            "cutoff": round(8.176 * 2 ** (value(8) / 1200)) if value(8) < 13400 else None,
            "envelope": [seconds(34), seconds(35), seconds(36), round(min(value(37), 1000) / 10, 1), seconds(38)],
        }


def signed(value: int) -> int:
    return value - 65536 if value > 32767 else value


def thin(zones: list[dict[str, Any]], keys: tuple[int, int], skip: int) -> list[dict[str, Any]]:
    """The zones that reach into the keys, without `skip` after each kept one; the kept ones reach to each other."""
    needed = [zone for zone in zones if zone["keys"][1] >= keys[0] and zone["keys"][0] <= keys[1]]
    if len({zone["pan"] for zone in needed}) > 1 and all(abs(zone["pan"]) > 0.5 for zone in needed):
        needed = [zone for zone in needed if zone["pan"] < 0]  # one side of a stereo pair
        needed = [zone | {"pan": 0.0} for zone in needed]
    tracks: list[list[dict[str, Any]]] = []  # layers that sound together, each with zones side by side
    for zone in sorted(needed, key=lambda zone: zone["keys"]):
        track = next((track for track in tracks if track[-1]["keys"][1] < zone["keys"][0]), None)
        if track is None:
            tracks.append(track := [])
        track.append(zone)
    for i, track in enumerate(tracks):
        kept = track[:: skip + 1] if len(track) > 3 else track
        borders = [(a["root"] + b["root"]) / 2 for a, b in itertools.pairwise(kept)]
        lows, highs = [0, *(int(b) + 1 for b in borders)], [*(int(b) for b in borders), 127]
        tracks[i] = [z | {"keys": [low, high]} for z, low, high in zip(kept, lows, highs, strict=True)]
    return [zone for track in tracks for zone in track]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path)
    parser.add_argument("--out", type=Path, default=PRESETS_FOLDER / "symbolic")
    arguments = parser.parse_args()
    font = Font(next(arguments.package.rglob("*.sf3")))
    instruments: dict[str, Any] = {}
    for name, (bank, program, keys, skip) in PRESETS.items():
        instruments[name] = {"program": program, "zones": thin(list(font.preset(bank, program)), keys, skip)}
    for name, (program, keys) in KITS.items():
        zones = [z for z in font.preset(DRUM_BANK, program) if any(z["keys"][0] <= k <= z["keys"][1] for k in keys)]
        instruments[name] = {"program": program, "is_kit": True, "zones": zones}
    spans: dict[int, tuple[int, int]] = {}
    for instrument in instruments.values():
        for zone in instrument["zones"]:
            spans[zone["sample"]] = zone.pop("bytes")
    places = {sample: place for place, sample in enumerate(sorted(spans))}
    for instrument in instruments.values():
        for zone in instrument["zones"]:
            zone["sample"] = places[zone["sample"]]
    streams = [font.data[a:b] for _, (a, b) in sorted(spans.items())]
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.out / "instruments.npz",
        table=np.frombuffer(json.dumps(instruments, separators=(",", ":")).encode(), np.uint8),
        offsets=np.cumsum([0, *map(len, streams)]),
        streams=np.frombuffer(b"".join(streams), np.uint8),
    )
    shutil.copyfile(next(arguments.package.rglob("copyright")), arguments.out / "LICENSE.txt")
    write_manifest(
        arguments.out, name="symbolic", version="1.0", licence="MIT", files={"instruments": "instruments.npz"}, sizes={}
    )
    for name, instrument in instruments.items():
        samples = {zone["sample"] for zone in instrument["zones"]}
        print(f"{name:18} {len(instrument['zones']):3} zones {sum(len(streams[s]) for s in samples) // 1024:5} KiB")
    print(f"{(arguments.out / 'instruments.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
