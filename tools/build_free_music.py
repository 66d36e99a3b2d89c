"""The corpus "free-music": recorded music from Debian packages, fetched by name, checked and listed with its terms.

    python tools/build_free_music.py CORPUS                   # all packages: 8 GB to download, 40 h of music
    python tools/build_free_music.py CORPUS --only vonsh amoebax-data
    python tools/build_free_music.py CORPUS --tag LISTING.csv # then tags, fitted to the labels of the listing

CORPUS/packages/NAME holds each package, CORPUS/manifest.csv every usable track (path, title, author, licence and
seconds; what recipes/free-music.toml reads) and CORPUS/left_out.csv the others with the reason. What was fetched is
kept, so a second run goes on. --tag makes CORPUS/tags with tools/tag_music.py; the weights that it needs come with
tools/fetch_eval_weights.py.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

from openvmas.data.sources.free_music import LEFT_OUT, MIRROR, PACKAGES, FreeTrack, fetch_package, list_tracks
from openvmas.data.sources.licences import normalise_licence
from openvmas.errors import InputError

COLUMNS = ("path", "collection", "title", "author", "licence", "seconds")


def write_table(path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """A CSV file, written beside its place first."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    part.replace(path)


def fetch_all(names: list[str], folder: Path, mirror: str) -> list[str]:
    """The packages that could not be had, after trying all."""
    missing = []
    for name in names:
        if name in LEFT_OUT:
            raise InputError(f"{name} is left out for {LEFT_OUT[name]}; choose another package.")
        try:
            fetch_package(name, folder, mirror)
        except InputError as error:
            missing.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
    return missing


def list_all(corpus: Path, names: list[str]) -> None:
    found = list(list_tracks(corpus / "packages", tuple(names)))
    good = [track for track in found if not track.problem]

    def row(track: FreeTrack) -> tuple[object, ...]:
        licence = normalise_licence(track.licence)
        return track.path, track.package, track.title, track.author, licence, track.seconds

    write_table(corpus / "manifest.csv", COLUMNS, [row(track) for track in good])
    bad = [(track.path, track.problem) for track in found if track.problem]
    write_table(corpus / "left_out.csv", ("path", "problem"), bad)
    hours = sum(track.seconds for track in good) / 3600
    print(f"{len(good)} tracks, {hours:.1f} h; {len(bad)} left out")
    print(f"author given: {sum(bool(t.author) for t in good)}, licence given: {sum(bool(t.licence) for t in good)}")
    for licence, count in Counter(str(row(track)[4]) or "not said" for track in good).most_common(12):
        print(f"  {count:4d}  {licence}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--only", nargs="+", default=list(PACKAGES), help="packages; all if left out")
    parser.add_argument("--mirror", default=MIRROR, help="used where apt-get is missing, or if it is not the default")
    parser.add_argument("--tag", type=Path, metavar="LISTING", help="CSV with labels, see tools/tag_music.py")
    options = parser.parse_args()
    try:
        missing = fetch_all(options.only, options.corpus / "packages", options.mirror)
    except InputError as error:
        sys.exit(f"error: {error}")
    list_all(options.corpus, [name for name in options.only if name not in missing])
    if options.tag:
        command = [sys.executable, str(Path(__file__).with_name("tag_music.py")), str(options.tag)]
        subprocess.run([*command, str(options.corpus / "packages"), str(options.corpus / "tags")], check=True)
    if missing:
        sys.exit(f"error: {len(missing)} packages could not be fetched: {', '.join(missing)}; run again to go on.")


if __name__ == "__main__":
    main()
