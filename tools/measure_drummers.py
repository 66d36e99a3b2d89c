"""Timing and touch of real drummers, style by style, from the Groove MIDI dataset.

    python tools/measure_drummers.py FOLDER_OR_ARCHIVE openvmas/symbolic/players/drummers.json

The dataset (Gillick et al., *Learning to Groove with Inverse Sequence Transformations*, ICML 2019; CC-BY-4.0) holds
1,150 performances to a metronome. What is stored are statistics by style, drum and place in the bar, not the
performances: how late a stroke falls against the drummer's own wandering
mean (ms), how much that varies, how hard it is against
the drum's ordinary strokes, how often a soft stroke of the snare (a ghost note) is played, and how much of a deviation
goes on to the next stroke.
"""

from __future__ import annotations

import argparse
import csv
import json
import tarfile
import tempfile
from collections import defaultdict
from pathlib import Path

import mido
import numpy as np

DRUMS = {
    "kick": (35, 36), "snare": (37, 38, 39, 40), "hat": (22, 26, 42, 44, 46), "ride": (51, 53, 59),
    "tom": (41, 43, 45, 47, 48, 50, 58),
}  # fmt: skip
FAMILIES = {  # style of a file → ours
    "rock": "rock", "pop": "rock", "funk": "funk", "jazz": "jazz", "hiphop": "hiphop", "latin": "latin",
    "afrocuban": "latin", "afrobeat": "funk", "soul": "soul", "gospel": "soul", "reggae": "reggae",
    "country": "country", "punk": "punk", "blues": "country", "neworleans": "funk",
}  # fmt: skip
SOFT = 45  # velocity up to which a stroke of the snare is a ghost note
LEAST = 40  # strokes at a place, below which the drum's mean is used
FAR = 0.4  # of a step, beyond which a stroke is no stroke of that place


def strokes_of(path: Path) -> list[tuple[float, str, int]]:
    """(beat, drum, velocity) of a performance; its file is in beats of the metronome."""
    file = mido.MidiFile(path)
    which = {pitch: drum for drum, pitches in DRUMS.items() for pitch in pitches}
    found = []
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            if message.type == "note_on" and message.velocity > 0 and message.note in which:
                found.append((tick / file.ticks_per_beat, which[message.note], message.velocity))
    return sorted(found)


def _wandering(late: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """The slow wandering of a drummer about the metronome: the running median over about two bars."""
    half = 12
    kept = np.where(usable, late, np.nan)
    return np.array(
        [np.nanmedian(kept[max(0, i - half) : i + half + 1]) if usable[i] else 0.0 for i in range(len(late))]
    )


def measure_file(
    strokes: list[tuple[float, str, int]], tempo: float
) -> tuple[int, list[tuple[str, int, float, int]], float]:
    """Steps in a beat (4 or 3) that fit a performance, its strokes as (drum, place in the bar, ms late, velocity), and
    the correlation of a deviation with the next."""
    beats = np.array([beat for beat, _, _ in strokes])
    off = {n: np.abs(beats * n - np.round(beats * n)).mean() / n for n in (4, 3)}
    # A grid of three steps is a coarser net, so that chance lies farther off.
    steps = 3 if off[3] < 0.7 * off[4] else 4
    places = np.round(beats * steps)
    late = (beats * steps - places) / steps
    usable = np.abs(late) * steps < FAR
    ms = (late - _wandering(late, usable)) * 60_000 / tempo
    rows = [
        (drum, int(place) % (4 * steps), float(t), velocity)
        for (_, drum, velocity), place, t, ok in zip(strokes, places, ms, usable, strict=True)
        if ok
    ]
    kept = ms[usable]
    drift = float(np.corrcoef(kept[:-1], kept[1:])[0, 1]) if len(kept) > 20 and kept.std() > 0 else np.nan
    return steps, rows, drift


def summarise(rows: list[tuple[str, int, float, int]], steps: int, n_bars: float) -> dict:
    """Curves by drum over the places of a bar."""
    found: dict = {}
    for drum in DRUMS:
        mine = [row for row in rows if row[0] == drum]
        full = [row for row in mine if row[3] > SOFT or drum != "snare"]
        if len(full) < LEAST:
            continue
        usual = float(np.median([v for *_, v in full]))
        entry: dict = {"late": [], "spread": [], "touch": []}
        whole = np.array([t for _, _, t, _ in full])
        touch_spread = float(np.std([v / usual for *_, v in full]))
        for place in range(4 * steps):
            here = [row for row in full if row[1] == place]
            times = np.array([t for _, _, t, _ in here]) if len(here) >= LEAST else whole
            touch = np.mean([v / usual for *_, v in here]) if len(here) >= LEAST else 0.85
            entry["late"].append(round(float(np.clip(np.median(times), -30, 30)), 1))
            entry["spread"].append(round(float(np.clip(1.48 * np.median(np.abs(times - np.median(times))), 2, 20)), 1))
            entry["touch"].append(round(float(touch), 2))
        entry["touch_spread"] = round(touch_spread, 2)
        if drum == "snare":
            soft = np.bincount([row[1] for row in mine if row[3] <= SOFT], minlength=4 * steps)
            entry["ghosts"] = [round(float(share), 3) for share in np.clip(soft / max(n_bars, 1), 0, 1)]
        found[drum] = entry
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.source
        if folder.is_file():
            with tarfile.open(folder) as archive:
                archive.extractall(scratch, filter="data")
            folder = Path(scratch)
        table = next(folder.rglob("info.csv"))
        rows: dict = defaultdict(list)
        bars: dict = defaultdict(float)
        drifts: dict = defaultdict(list)
        with table.open() as lines:
            for line in csv.DictReader(lines):
                family = FAMILIES.get(line["style"].split("/")[0].split("-")[0])
                if family is None or line["beat_type"] != "beat" or line["time_signature"] != "4-4":
                    continue
                strokes = strokes_of(table.parent / line["midi_filename"])
                if len(strokes) < 16:
                    continue
                steps, found, drift = measure_file(strokes, float(line["bpm"]))
                rows[family, steps] += found
                bars[family, steps] += (strokes[-1][0] - strokes[0][0]) / 4
                drifts[family].append(drift)
    result: dict = {
        "source": "Groove MIDI dataset v1.0, Google, CC-BY-4.0; made by tools/measure_drummers.py",
        "styles": {},
    }
    for (family, steps), found in sorted(rows.items()):
        if bars[family, steps] < 60:
            continue
        entry = result["styles"].setdefault(family, {"drift": round(float(np.nanmedian(drifts[family])), 2)})
        entry[str(steps)] = summarise(found, steps, bars[family, steps])
        print(
            f"{family:8s} {steps} steps  {bars[family, steps]:6.0f} bars  {len(found):7d} strokes  "
            f"drift {entry['drift']}"
        )
    given.out.write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(f"{given.out}: {given.out.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
