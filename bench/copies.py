"""Is generated music copied from its training music? The longest passage each piece shares with the corpus.

    python bench/copies.py WAVES GENERATED [GENERATED ...] [--cache words.npz] [--held-out 30]
    python bench/copies.py WAVES CODES.npy [CODES.npy ...] --codes EXAMPLES/codes [--held-out 30]

With sound: WAVES is the folder that `openvmas train corpus` wrote; GENERATED are audio files or folders of
them, heard
at the original speed. With codes, much faster: arrays [K, T] of the tracks in EXAMPLES/codes (as written by
`openvmas train examples`), and of generated pieces. --held-out adds the yardstick: as many real tracks that
nothing
was trained on, 30 s of each. Passages longer than the yardstick's are copies. Needs the extra `eval`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from memorization import RATE, Copy, Corpus, Words, code_words, fingerprint

from openvmas.settings import CONTROL_RATE
from openvmas.train.codec.corpus import SAMPLE_RATE, Track, read_index
from openvmas.train.decoder.examples import key_of

SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3"}
SECONDS = 30  # of each held-out track


def read_track(folder: Path, track: Track) -> np.ndarray:
    """[L] float32 at SAMPLE_RATE."""
    waves = np.memmap(folder / "waves.s16", dtype="<i2", mode="r")
    return waves[track.start : track.start + track.length].astype(np.float32) / 32768


def corpus_words(folder: Path, cache: Path | None) -> list[tuple[str, Words]]:
    """Fingerprints of all training tracks, kept in `cache` if one is named."""
    if cache and cache.exists():
        with np.load(cache) as data:
            return [(name, Words(data[f"seeds {name}"], data[f"symbols {name}"])) for name in data["names"].tolist()]
    tracks = [track for track in read_index(folder) if not track.is_held_out]
    words = [(track.name, fingerprint(read_track(folder, track), SAMPLE_RATE)) for track in tracks]
    if cache:
        arrays = {f"seeds {name}": item.seeds for name, item in words}
        arrays |= {f"symbols {name}": item.symbols for name, item in words}
        np.savez(cache, names=np.array([name for name, _ in words]), **arrays)
    return words


def sounds(paths: list[Path]) -> Iterator[tuple[str, Words]]:
    """Fingerprints of audio files and of all files in folders."""
    files = [file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    for file in files:
        if file.suffix.lower() in SUFFIXES:
            wave, sample_rate = soundfile.read(file, dtype="float32", always_2d=True)
            yield file.name, fingerprint(wave.mean(axis=1), sample_rate)


def held_out(folder: Path, n: int) -> Iterator[tuple[str, Words]]:
    """The middle of n real tracks that are not in the corpus, spread over all of them."""
    tracks = [track for track in read_index(folder) if track.is_held_out and track.length > SECONDS * SAMPLE_RATE]
    for track in tracks[:: max(1, len(tracks) // max(n, 1))][:n]:
        wave = read_track(folder, track)
        first = (len(wave) - SECONDS * SAMPLE_RATE) // 2
        yield track.name, fingerprint(wave[first : first + SECONDS * SAMPLE_RATE], SAMPLE_RATE)


def code_tracks(folder: Path, examples: Path, is_held_out: bool) -> list[tuple[str, Words]]:
    """Codes of all tracks that were trained on, or of those that were not."""
    found = []
    for track in read_index(folder):
        path = examples / f"{key_of(track)}.npy"
        if track.is_held_out == is_held_out and path.exists() and path.stat().st_size:
            found.append((track.name, code_words(np.load(path))))
    return found


def spread(tracks: list[tuple[str, Words]], n: int) -> list[tuple[str, Words]]:
    """The middle SECONDS of n of the tracks, by their codes."""
    chosen = tracks[:: max(1, len(tracks) // max(n, 1))][:n]
    size = round(SECONDS * CONTROL_RATE)
    middles = [max(0, (len(words) - size) // 2) for _, words in chosen]
    return [
        (name, Words(words.seeds[first : first + size], words.symbols[first : first + size]))
        for (name, words), first in zip(chosen, middles, strict=True)
    ]


def show(name: str, found: Copy, rate: float) -> float:
    seconds = found.length / rate
    place = f"at {found.start / rate:.1f} s, from {found.track} at {found.track_start / rate:.1f} s" if seconds else ""
    print(f"{seconds:7.2f} s {found.agreement:6.2f}  {name}  {place}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("waves", type=Path)
    parser.add_argument("generated", type=Path, nargs="*")
    parser.add_argument("--codes", type=Path, help="folder with the codes of the tracks; GENERATED are codes too")
    parser.add_argument("--cache", type=Path, help="file in which the corpus' fingerprints are kept")
    parser.add_argument("--held-out", type=int, default=0, help="how many real tracks to measure as a yardstick")
    arguments = parser.parse_args()
    if arguments.codes:
        rate = float(CONTROL_RATE)
        corpus = Corpus(code_tracks(arguments.waves, arguments.codes, False))
        pieces = ((path.name, code_words(np.load(path))) for path in arguments.generated)
        others = iter(spread(code_tracks(arguments.waves, arguments.codes, True), arguments.held_out))
    else:
        rate = float(RATE)
        corpus = Corpus(corpus_words(arguments.waves, arguments.cache))
        pieces, others = sounds(arguments.generated), held_out(arguments.waves, arguments.held_out)
    for title, group in (("generated", pieces), ("held-out real tracks", others)):
        lengths = [show(name, corpus.find(words), rate) for name, words in group]
        if lengths:
            print(f"{title}: longest {max(lengths):.2f} s, median {np.median(lengths):.2f} s of {len(lengths)}\n")


if __name__ == "__main__":
    main()
