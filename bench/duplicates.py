"""How many planted copies the near-duplicate search finds, and whether it ever takes two tracks for one.

    python bench/duplicates.py WAVES [--tracks 1000] [--copies 200] [--seconds 25] [--json results.json]
    python bench/duplicates.py --planted DIR        # videos with truth.jsonl, from tools/make_planted_set.py

WAVES is made by `openvmas train corpus`. Tracks are a passage of each recording there, filled up to
--tracks
with pieces of drawn notes; copies of every fifth go through MP3, Opus, trimming, gain, noise, other speed, other pitch
(tempo kept) and other tempo (pitch kept). Recordings found alike that are one recording are no mistakes, and listed
apart: their waveforms correlate, or their names differ in "_fast" or "_f" only (a game's faster version). Fingerprints
are made as the stages make them, put into a work folder, and the set stage `duplicates` judges. Needs the extras `data`
and `eval`.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from openvmas.data.curation.record import Catalogue, Origin, Record, make_id, read_catalogue
from openvmas.data.curation.record_media import Media
from openvmas.data.duplicates.groups import Duplicates
from openvmas.data.duplicates.sound_print import find_peaks
from openvmas.data.stages.features import PicturePrint, SoundPrint

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

from synthetic_pieces import Note, Piece, synthesise

RATE = 32_000
SEMITONE = 2 ** (1 / 12)
Prints = Iterator[tuple[Record, dict[str, np.ndarray]]]


def through(kind: str, subtype: str, level: float, rate: int = RATE) -> Callable[[np.ndarray], np.ndarray]:
    """A lossy codec and back."""

    def change(wave: np.ndarray) -> np.ndarray:
        data = io.BytesIO()
        sent = np.clip(soxr.resample(wave, RATE, rate), -1, 1)
        soundfile.write(data, sent, rate, format=kind, subtype=subtype, compression_level=level)
        data.seek(0)
        return soxr.resample(soundfile.read(data, dtype="float32")[0], rate, RATE)

    return change


def faster(ratio: float) -> Callable[[np.ndarray], np.ndarray]:
    """Played faster and higher."""
    return lambda wave: soxr.resample(wave, RATE * ratio, RATE)


def stretched(ratio: float, n: int = 2048) -> Callable[[np.ndarray], np.ndarray]:
    """Faster at the same pitch: a phase vocoder (Flanagan & Golden 1966)."""

    def change(wave: np.ndarray) -> np.ndarray:
        hop, window = n // 4, np.hanning(n + 1)[:-1]
        spectra = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(wave, n)[::hop] * window)
        places = np.arange(0, len(spectra) - 1, ratio)
        advance = 2 * np.pi * hop * np.arange(n // 2 + 1) / n
        phase, out = np.angle(spectra[0]), np.zeros(len(places) * hop + n)
        for step, place in enumerate(places):
            first, second = spectra[int(place)], spectra[int(place) + 1]
            share = place - int(place)
            size = (1 - share) * np.abs(first) + share * np.abs(second)
            out[step * hop : step * hop + n] += np.fft.irfft(size * np.exp(1j * phase)) * window
            drift = np.angle(second) - np.angle(first) - advance
            phase = phase + advance + drift - 2 * np.pi * np.round(drift / (2 * np.pi))
        return (out / 1.5).astype(np.float32)

    return change


def noisy(wave: np.ndarray) -> np.ndarray:
    """Noise 20 dB below."""
    return wave + np.random.default_rng(0).normal(0, 0.1 * wave.std(), len(wave)).astype(np.float32)


MP3, OPUS = through("MP3", "MPEG_LAYER_III", 0.95), through("OGG", "OPUS", 0.97, 48_000)
CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "MP3": MP3,
    "Opus": OPUS,
    "gain -20 dB, middle 15 s": lambda wave: 0.1 * wave[5 * RATE : 20 * RATE],
    "noise": noisy,
    "speed +3 %": faster(1.03),
    "speed -6 %, MP3": lambda wave: MP3(faster(1 / SEMITONE)(wave)),
    "speed +6 %": faster(SEMITONE),
    "pitch +1 semitone": lambda wave: stretched(1 / SEMITONE)(faster(SEMITONE)(wave)),
    "tempo +4 %": stretched(1.04),
    "trimmed, speed +2 %, MP3": lambda wave: MP3(faster(1.02)(wave[6 * RATE :])),
}


def passages(folder: Path, n: int, seconds: float) -> Iterator[tuple[str, np.ndarray]]:
    """n tracks: name and wave [L]."""
    waves = np.memmap(folder / "waves.s16", np.int16, "r")
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    length = int(seconds * RATE)
    names: set[str] = set()
    for line in lines[:n]:
        entry = json.loads(line)
        names.add(entry["name"])
        start = entry["start"] + max(0, min(5 * RATE, entry["length"] - length))
        wave = waves[start : entry["start"] + entry["length"]][:length]
        yield entry["name"], wave.astype(np.float32) / 32768
    for number in range(n - len(lines)):
        piece = draw_piece(np.random.default_rng(number), seconds)
        yield f"drawn {number}", soxr.resample(synthesise(piece, 16_000, number), 16_000, RATE)[:length]


def draw_piece(rng: np.random.Generator, seconds: float) -> Piece:
    """Chords and a tune of drawn notes, so that no two pieces have a bar in common."""
    step = float(rng.uniform(0.2, 0.45))
    notes = []
    for start in np.arange(0, seconds, step):
        if rng.random() < 0.75:
            length = step * int(rng.integers(1, 4))
            notes.append(Note(start, start + length, int(rng.integers(60, 90)), int(rng.integers(60, 120)), 0))
    for start in np.arange(0, seconds, 4 * step):
        for pitch in rng.choice(np.arange(36, 62), 3, replace=False):
            notes.append(Note(start, start + 4 * step, int(pitch), 70, int(rng.choice([0, 24, 48]))))
    return Piece("drawn", tuple(notes), np.zeros(0), np.zeros(0), 4)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Highest normalised correlation of two waves [L] over all shifts that leave four seconds."""
    a, b = (wave[::4] - wave[::4].mean() for wave in (first, second))
    n = 1 << (len(a) + len(b) - 1).bit_length()
    products = np.fft.irfft(np.fft.rfft(b, n) * np.conj(np.fft.rfft(a, n)), n)
    powers = [np.concatenate([[0.0], np.cumsum(x.astype(float) ** 2)]) for x in (a, b)]
    best = 0.0
    for place in np.argsort(-np.abs(products))[:300]:
        shift = int(place) if place < len(b) else int(place) - n
        low, high = max(0, shift), min(len(b), shift + len(a))
        if high - low >= RATE:
            size = (powers[0][high - shift] - powers[0][low - shift]) * (powers[1][high] - powers[1][low])
            best = max(best, float(abs(products[place]) / (np.sqrt(size) + 1e-9)))
    return best


def is_one_recording(names: tuple[str, str], waves: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether two tracks found alike are alike."""
    stems = [re.sub(r"_(fast|f)$", "", Path(name).stem) for name in names]
    return stems[0] == stems[1] or correlation(*waves) >= 0.3


def sounds(folder: Path, n: int, n_copies: int, seconds: float) -> Prints:
    """Prints of tracks, then of copies, whose title says what they copy and how."""
    every = max(n // n_copies, 1)
    for number, (name, wave) in enumerate(passages(folder, n, seconds)):
        yield sound_record(f"{number} {name}", ""), {"sound_print": find_peaks(wave, RATE)}
        if number % every == 0:
            change = list(CHANGES)[number // every % len(CHANGES)]
            uri = f"{number} {name}"
            yield sound_record(f"copy of {uri}", change, uri), {"sound_print": find_peaks(CHANGES[change](wave), RATE)}


def sound_record(uri: str, change: str, original: str = "") -> Record:
    origin = Origin("bench", uri, title=change, page=original)
    return Record(make_id("bench", uri), "audio", origin, 0.0, 25.0, arrays=("sound_print",))


def videos(folder: Path) -> Prints:
    """Prints of a planted set's good files and copies; facts say which sound and picture they hold."""
    for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines():
        truth = json.loads(line)
        if truth["made"] not in ("good", "ken_burns") and not truth["duplicate_of"]:
            continue
        origin = Origin("planted", truth["path"], title=truth["change"], page=truth["duplicate_of"])
        record = Record(make_id("planted", truth["path"]), "video", origin)
        with Media(record, folder / truth["path"]) as media:
            for stage in (SoundPrint(), PicturePrint()):
                record = stage(record, media)  # type: ignore[assignment]
            groups = {"sound": truth["sound_group"], "picture": truth["picture_group"]}
            record = replace(record.with_facts("truth", **groups), arrays=tuple(sorted(media.arrays)))
            yield record, dict(media.arrays)


def judge(prints: Prints, options: Duplicates) -> tuple[list[Record], Catalogue, float]:
    """Put prints into a work folder and look for near-duplicates: records, their catalogue, seconds of the search."""
    with tempfile.TemporaryDirectory() as name:
        work, records, arrays = Path(name), [], {}
        for record, own in prints:
            if "sound_print" in own:
                record = record.with_facts("sound_print", peaks=len(own["sound_print"]))
            records.append(record)
            arrays |= {f"{record.id}/{key}": values for key, values in own.items()}
        (work / "records-00000.jsonl").write_text("".join(r.to_json() + "\n" for r in records), encoding="utf-8")
        np.savez(work / "records-00000.npz", **arrays)  # type: ignore[arg-type]
        began = time.process_time()
        found = options(read_catalogue(work), work, work / "scratch")
        return records, found, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path, nargs="?")
    parser.add_argument("--planted", type=Path)
    parser.add_argument("--tracks", type=int, default=1000)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.planted:
        prints = videos(given.planted)
    elif given.waves:
        prints = sounds(given.waves, given.tracks, given.copies, given.seconds)
    else:
        parser.error("give WAVES or --planted DIR")
    records, found, seconds = judge(prints, Duplicates())
    place = {record.origin.uri: number for number, record in enumerate(records)}
    hits: dict[str, list[int]] = defaultdict(list)
    expected = list(range(len(records)))
    for number, record in enumerate(records):
        if record.origin.page in place:
            original = place[record.origin.page]
            expected[number] = original
            hits[record.origin.title].append(int(found.cluster[number] == found.cluster[original]))
    wrong = [
        (records[int(root)].origin.uri, records[number].origin.uri)
        for number, root in enumerate(found.cluster)
        if expected[int(root)] != expected[number] and root != number and not share_group(records, int(root), number)
    ]
    same: list[tuple[str, str]] = []
    if given.waves and not given.planted:
        heard = dict(passages(given.waves, given.tracks, 2 * given.seconds))
        pairs = [(pair, tuple(uri.removeprefix("copy of ").split(" ", 1)[1] for uri in pair)) for pair in wrong]
        same = [pair for pair, (a, b) in pairs if is_one_recording((a, b), (heard[a], heard[b]))]
    report = {
        "records": len(records),
        "copies": sum(map(len, hits.values())),
        "recall": round(sum(map(sum, hits.values())) / max(sum(map(len, hits.values())), 1), 4),
        "by_change": {name: f"{sum(found)}/{len(found)}" for name, found in sorted(hits.items())},
        "alike_indeed": same,
        "merged_wrongly": [pair for pair in wrong if pair not in same],
        "search_cpu_s": round(seconds, 2),
    }
    print(json.dumps(report, indent=1))
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def share_group(records: list[Record], a: int, b: int) -> bool:
    """Whether two records hold the same sound or picture, as far as the truth says."""
    mine, theirs = records[a].facts, records[b].facts
    return any(
        mine.get(f"truth.{name}") and mine.get(f"truth.{name}") == theirs.get(f"truth.{name}")
        for name in ("sound", "picture")
    )


if __name__ == "__main__":
    main()
