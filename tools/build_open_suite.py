"""Build the 40 montages of suites/open.toml as they were planned: the same pictures and music, cut at the same moments.

    python tools/build_open_suite.py CORPUS [--only 000_beat 007_oner]

suites/open-montage.jsonl holds every plan: the song, where in it, and each take of the edit. The plans were drawn by
tools/build_montage.py (seed 2026) from held-out tracks of the corpus free-music. To render them only the packages
with these songs and pictures are fetched (about 4 GB, a third of it 0ad-data), and nothing is analysed. CORPUS/videos
and CORPUS/manifest.csv are what the suite reads; what is there is kept. CORPUS/library holds the held-out tracks of
the same packages that no montage uses, for the systems that take a recording.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from video_editor import MORE_PACKAGES, PACKAGES, Edit, Take, fetch

from openvmas.data.sources.free_music import MIRROR, fetch_package
from openvmas.errors import InputError
from openvmas.train.codec.corpus import find_files

ROOT = Path(__file__).resolve().parent.parent
PLANS = ROOT / "suites" / "open-montage.jsonl"
TRACKS = ROOT / "docs" / "tracks.csv"
SIZE = (480, 270)
SAMPLE_RATE = 32_000


def read_plans() -> list[dict[str, Any]]:
    """One dict a montage: name, song, start and seconds (s of the song), fps, takes."""
    return [json.loads(line) for line in PLANS.read_text(encoding="utf-8").splitlines()]


def read_song(plan: dict[str, Any], packages: Path) -> np.ndarray:
    """The span of the song: [1, L] float32 at SAMPLE_RATE. Raises InputError."""
    album, base = plan["song"].split("/", 1)
    folder = fetch_package(album, packages, MIRROR)
    found = [folder / base] if (folder / base).exists() else sorted(folder.rglob(Path(base).name))
    if not found:
        raise InputError(f"{album} holds no {base} any more; it may have changed since the suite was made.")
    with soundfile.SoundFile(found[0]) as file:
        file.seek(round(plan["start"] * file.samplerate))
        wave = file.read(round(plan["seconds"] * file.samplerate), dtype="float32", always_2d=True).mean(axis=1)
        return soxr.resample(wave, file.samplerate, SAMPLE_RATE, quality="HQ").astype(np.float32)[None]


def render(plan: dict[str, Any], corpus: Path) -> Path:
    """Write one montage beside its place, then move it there."""
    path = corpus / "videos" / f"{plan['name']}.mp4"
    if path.exists():
        return path
    sound = read_song(plan, corpus / "packages")
    takes = [Take(**{**take, "path": str(corpus / "media" / take["path"])}) for take in plan["takes"]]
    edit = Edit(takes, Fraction(plan["fps"]), SIZE, seed=len(takes))
    n = round(edit.labels.duration * SAMPLE_RATE)
    padded = np.pad(sound[:, :n], ((0, 0), (0, max(0, n - sound.shape[1]))))
    part = path.with_name(f"{plan['name']}.part.mp4")
    edit.write(part, sound=np.ascontiguousarray(padded), sample_rate=SAMPLE_RATE)
    part.with_suffix(".truth.json").replace(path.with_suffix(".truth.json"))
    return part.replace(path)


def lay_library(plans: list[dict[str, Any]], corpus: Path) -> int:
    """Link the held-out tracks that no plan uses into CORPUS/library; returns how many there are."""
    used = {plan["song"] for plan in plans}
    library = corpus / "library"
    library.mkdir(exist_ok=True)
    n = 0
    for row, path in find_files(TRACKS, corpus / "packages"):
        if row["split"] != "held out" or row["track"] in used:
            continue
        target = library / f"{row['package']} {path.name}"
        if not target.exists():
            target.hardlink_to(path)
        n += 1
    return n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="montages; all if left out")
    options = parser.parse_args()
    plans = [plan for plan in read_plans() if not options.only or plan["name"] in options.only]
    (options.corpus / "videos").mkdir(parents=True, exist_ok=True)
    fetch(options.corpus / "media", PACKAGES + MORE_PACKAGES)
    rows = []
    for plan in plans:
        try:
            path = render(plan, options.corpus)
        except InputError as error:
            sys.exit(f"error: {error}")
        print(path, flush=True)
        album = plan["song"].split("/", 1)[0]
        rows.append((f"videos/{path.name}", album, plan["song"], f"mixed: music of {album}, pictures of each"))
    part = options.corpus / "manifest.csv.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("path", "collection", "title", "licence"), *rows])
    part.replace(options.corpus / "manifest.csv")
    print(f"{lay_library(read_plans(), options.corpus)} tracks in {options.corpus / 'library'}")


if __name__ == "__main__":
    main()
