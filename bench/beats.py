"""How well beats, downbeats and onsets are heard: F-measures of mir_eval on music whose beats are known.

    python bench/beats.py --soundfont FluidR3_GM.sf2                        # written pieces, played by a soundfont
    python bench/beats.py --soundfont FluidR3_GM.sf2 --midi pop909 --limit 30
    python bench/beats.py                                                   # the same pieces as plain numpy tones
    python bench/beats.py ... --other madmom                                # beside it a tracker that is installed

--midi: a folder of NAME/NAME.mid with NAME/beat_midi.txt (time, -, is_downbeat), as POP909 has them. Trackers for
--other (madmom, librosa) are never needed by OpenVMAS; install them yourself, mind their licences.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import mir_eval
import numpy as np

from openvmas.music.beats import track_beats
from openvmas.music.onsets import onset_strength, pick_onsets

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))

import midi_scores
import rendered_scores
from synthetic_pieces import STYLES, Note, Piece, synthesise, write_piece

SAMPLE_RATE = 44_100
Tracker = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]  # wave [L], Hz -> beats, downbeats, s
TEMPI = {
    "rock": (96, 120, 148),
    "electronic": (110, 126, 140),
    "waltz": (96, 138, 168),
    "swing": (108, 132, 164),
    "ballad": (66, 80, 96),
    "strings": (72, 96, 116),
    "bossa": (100, 124, 140),
    "chiptune": (112, 140, 160),
}


def written_pieces(seconds: float) -> Iterator[Piece]:
    """Every style at three tempi, steady; then with a tempo that sways by 4 % (10 % for the ballad: rubato)."""
    for style in STYLES:
        for seed, tempo in enumerate(TEMPI[style]):
            yield write_piece(style, tempo, seconds, seed)
        yield write_piece(style, TEMPI[style][1], seconds, 9, drift=0.1 if style == "ballad" else 0.04)


def pop909_pieces(folder: Path, limit: int, seconds: float) -> Iterator[Piece]:
    """The first `limit` pieces of a folder in POP909's layout, their first `seconds`."""
    for path in sorted(folder.rglob("*.mid"))[:limit]:
        rows = np.loadtxt(path.with_name("beat_midi.txt"), ndmin=2)
        rows = rows[rows[:, 0] < seconds]
        heard = [note for note in midi_scores.read_midi(path).notes if note.start < seconds]
        notes = tuple(Note(n.start, n.end, n.pitch, n.velocity, n.program) for n in heard)
        downbeats = rows[rows[:, 2] == 1, 0]
        if len(rows) < 8 or len(downbeats) < 2:
            continue
        per_bar = round(float(np.median(np.diff(downbeats)) / np.median(np.diff(rows[:, 0]))))
        yield Piece(f"pop909-{path.stem}", notes, rows[:, 0], downbeats, per_bar)


def play(piece: Piece, soundfont: str) -> np.ndarray:
    """The piece through a soundfont: [L] float32 at SAMPLE_RATE."""
    score = midi_scores.Score(piece.name, piece.notes, piece.beats, piece.downbeats, piece.beats_per_bar)
    return rendered_scores.play(score, Path(soundfont), sample_rate=SAMPLE_RATE).mean(axis=0)


def ours(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    found = track_beats(wave, sample_rate)
    return found.beats, found.downbeats


def madmom_tracker(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """madmom's recurrent network and bar-pointer model (Böck et al. 2016); models are for non-commercial use."""
    from madmom.audio.signal import Signal
    from madmom.features.downbeats import DBNDownBeatTrackingProcessor, RNNDownBeatProcessor

    activation = RNNDownBeatProcessor()(Signal((wave * 32767).astype(np.int16), sample_rate=sample_rate))
    found = DBNDownBeatTrackingProcessor(beats_per_bar=[3, 4], fps=100)(activation)
    return found[:, 0], found[found[:, 1] == 1, 0]


def librosa_tracker(wave: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """librosa's beat_track (Ellis 2007); it knows no downbeats."""
    import librosa

    return librosa.beat.beat_track(y=wave, sr=sample_rate, units="time")[1], np.zeros(0)


OTHERS: dict[str, Tracker] = {"madmom": madmom_tracker, "librosa": librosa_tracker}


def measure(piece: Piece, beats: np.ndarray, downbeats: np.ndarray) -> list[float]:
    """F-measure (±70 ms) of beats and of downbeats, and AMLt; as usual the first 5 s do not count.

    AMLt: the share of beats in continuity at the piece's tempo, its double or half, or between its beats.
    """
    trim = mir_eval.beat.trim_beats
    scores = []
    for reference, estimated in ((piece.beats, beats), (piece.downbeats, downbeats)):
        estimated = estimated[estimated <= piece.beats[-1] + 0.1]
        pair = trim(reference), trim(estimated)
        scores.append(float(mir_eval.beat.f_measure(*pair)) if len(pair[1]) else 0.0)
    pair = trim(piece.beats), trim(beats[beats <= piece.beats[-1] + 0.1])
    return [*scores, float(mir_eval.beat.continuity(*pair)[3]) if len(pair[1]) > 1 else 0.0]


def onset_f(piece: Piece, wave: np.ndarray) -> float:
    """F-measure (±50 ms) of onsets."""
    found = pick_onsets(onset_strength(wave, SAMPLE_RATE))
    return float(mir_eval.onset.f_measure(piece.onsets, found, window=0.05)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--soundfont", help="an .sf2 file; plain numpy tones if left out")
    parser.add_argument("--midi", type=Path, help="a folder in POP909's layout; written pieces if left out")
    parser.add_argument("--limit", type=int, default=1000, help="how many pieces of --midi")
    parser.add_argument("--seconds", type=float, default=60.0, help="how much of each piece")
    parser.add_argument("--other", choices=sorted(OTHERS), help="another tracker to measure beside")
    options = parser.parse_args()
    pieces = (
        pop909_pieces(options.midi, options.limit, options.seconds) if options.midi else written_pieces(options.seconds)
    )
    columns = ["onsets", "beats", "bars", "AMLt"]
    if options.other:
        columns += [options.other, "bars", "AMLt"]
    print(f"{'piece':18s} {'true':>6s} {'heard':>6s} {'conf':>5s}" + "".join(f" {name:>7s}" for name in columns))
    rows: list[list[float]] = []
    for piece in pieces:
        wave = play(piece, options.soundfont) if options.soundfont else synthesise(piece, SAMPLE_RATE)
        begun = time.process_time()
        found = track_beats(wave, SAMPLE_RATE)
        speed = len(wave) / SAMPLE_RATE / (time.process_time() - begun)
        row = [onset_f(piece, wave), *measure(piece, found.beats, found.downbeats)]
        if options.other:
            row += measure(piece, *OTHERS[options.other](wave, SAMPLE_RATE))
        tempo = 60 / float(np.median(np.diff(piece.beats)))
        line = f"{piece.name:18s} {tempo:6.1f} {found.tempo:6.1f} {found.confidence:5.2f}"
        print(line + "".join(f" {value:7.3f}" for value in row) + f"  {speed:.0f}x", flush=True)
        rows.append(row)
    print(f"{'mean of ' + str(len(rows)):38s}" + "".join(f" {value:7.3f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
