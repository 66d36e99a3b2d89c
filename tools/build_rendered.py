"""The corpus "rendered": MIDI through free soundfonts in several orchestrations, with its truth.

    python tools/build_rendered.py CORPUS                      # everything: fetch, write pieces, render
    python tools/build_rendered.py CORPUS --written 6 --limit 4 --seconds 40
    python tools/build_rendered.py CORPUS --measure 60         # F-measures of openvmas.music.beats, up to 60 s each

Pieces: openttd-openmsx (GPL-2, 31 arrangements) and `rule_scores` (written by rule, CC0). Soundfonts:
TimGM6mb (GPL-2) and MuseScore General Lite (MIT), in turn. Truth lies beside each
file: beats, downbeats, chords, sections. CORPUS/manifest.csv is what recipes/rendered.toml reads.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
from midi_scores import Score, grid_agreement, read_midi
from rendered_scores import ORCHESTRATIONS, orchestrate, play, truth_of, with_form, write
from rule_scores import compose

from openvmas.data.sources.free_music import MIRROR, fetch_package
from openvmas.errors import InputError
from openvmas.music.beats import track_beats

MIDI_PACKAGE = "openttd-openmsx"
SOUNDFONTS = {
    "timgm6mb": ("timgm6mb-soundfont", "usr/share/sounds/sf2/TimGM6mb.sf2"),
    "musescore": ("musescore-general-soundfont-small", "usr/share/sounds/sf3/MuseScore_General_Lite.sf3"),
}
N_WRITTEN = 60
PER_PIECE = 3  # orchestrations of every piece, its own among them
MIN_GRID = 0.8  # see grid_agreement
SKIPPED = 5.0  # s at the start that do not count, as in mir_eval


def scores(packages: Path, n_written: int, limit: int) -> Iterator[Score]:
    """Read or write all pieces, each with chords and sections."""
    folder = packages / MIDI_PACKAGE / "usr/share/games/openttd/baseset/openmsx"
    for path in sorted(folder.glob("*.mid"))[:limit]:
        score = read_midi(path, f"openmsx-{path.stem}")
        if grid_agreement(score) < MIN_GRID:
            print(f"left out {path.name}: its notes do not keep to its own beats")
            continue
        yield with_form(replace(score, author="OpenMSX (see its readme)", licence="GPL-2.0-only"))
    for seed in range(n_written):
        yield compose(seed)


def render_all(corpus: Path, options: argparse.Namespace) -> None:
    """Write what is not there yet, and the manifest."""
    (corpus / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number, score in enumerate(scores(corpus / "packages", options.written, options.limit)):
        others = [name for name in ORCHESTRATIONS if name != "written"]
        chosen = ["written", *(others[(number + k * 2) % len(others)] for k in range(PER_PIECE - 1))]
        for k, orchestration in enumerate(chosen):
            font = list(SOUNDFONTS)[(number + k) % len(SOUNDFONTS)]
            path = corpus / "audio" / f"{score.name}.{orchestration}.{font}.ogg"
            if not path.exists():
                made = orchestrate(score, orchestration)
                package, place = SOUNDFONTS[font]
                wave = play(made, corpus / "packages" / package / place, options.seconds)
                write(wave, truth_of(made, orchestration, options.seconds) | {"soundfont": font}, path)
            row = (f"audio/{path.name}", score.name, score.title)  # all of a piece are split together
            rows.append((*row, score.author, score.licence))
    part = corpus / "manifest.csv.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "collection", "title", "author", "licence"))
        writer.writerows(rows)
    part.replace(corpus / "manifest.csv")
    print(f"{len(rows)} files")


def compare(reference: np.ndarray, estimated: np.ndarray) -> tuple[float, float]:
    """F-measure (±70 ms) and AMLt (share in continuity at this tempo, its double or half, or between the beats)."""
    import mir_eval

    reference, estimated = reference[reference >= SKIPPED], estimated[estimated >= SKIPPED]
    if len(reference) < 2 or len(estimated) < 2:
        return 0.0, 0.0
    both = mir_eval.beat.f_measure(reference, estimated), mir_eval.beat.continuity(reference, estimated)[3]
    return float(both[0]), float(both[1])


def measure(corpus: Path, seconds: float) -> None:
    """Print beats and downbeats that are found against the truth, by collection and orchestration."""
    rows: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for path in sorted((corpus / "audio").glob("*.ogg")):
        truth = json.loads(path.with_suffix(".truth.json").read_text())
        wave, rate = soundfile.read(path, frames=round(seconds * soundfile.info(path).samplerate), dtype="float32")
        heard = track_beats(wave.mean(axis=1), rate)
        end = min(len(wave) / rate, truth["duration"])
        beats, downbeats = (np.array(truth[name]) for name in ("beats", "downbeats"))
        f, amlt = compare(beats[beats < end], heard.beats[heard.beats < end])
        bars, _ = compare(downbeats[downbeats < end], heard.downbeats[heard.downbeats < end])
        collection = "openmsx" if path.name.startswith("openmsx") else "written"
        for name in (f"{collection} {truth['orchestration']}", f"all {collection}"):
            rows[name].append((f, amlt, bars))
        tempo = 60 / float(np.median(np.diff(beats)))
        line = f"{path.stem[:52]:52s} {tempo:6.1f} heard {heard.tempo:6.1f} confidence {heard.confidence:.2f}"
        print(f"{line}  beats {f:.3f} AMLt {amlt:.3f} downbeats {bars:.3f}", flush=True)
    for name, part in sorted(rows.items()):
        mean = np.mean(part, axis=0)
        print(f"{name:20s} n {len(part):3d}  beats {mean[0]:.3f}  AMLt {mean[1]:.3f}  downbeats {mean[2]:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--written", type=int, default=N_WRITTEN, help="how many pieces are written by rule")
    parser.add_argument("--limit", type=int, default=1000, help="how many MIDI files are taken")
    parser.add_argument("--seconds", type=float, help="render only so much of each")
    parser.add_argument("--measure", type=float, metavar="SECONDS", help="measure beats on what is there instead")
    parser.add_argument("--mirror", default=MIRROR)
    options = parser.parse_args()
    try:
        if options.measure:
            return measure(options.corpus, options.measure)
        for name in (MIDI_PACKAGE, *(package for package, _ in SOUNDFONTS.values())):
            fetch_package(name, options.corpus / "packages", options.mirror)
        render_all(options.corpus, options)
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
