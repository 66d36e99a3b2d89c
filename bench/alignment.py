"""Does meaning find the music of a montage, and if not, which side loses it: the picture's, or the music's?

    python tools/label_bank.py BANK.npz [BANK.npz ...] PICTURES.npz
    python bench/alignment.py PACKED PICTURES.npz BANK.npz [BANK.npz ...] [--model FOLDER]

Montages of held-out pieces with held-out pictures, 15.4 s, in rounds of 64 pieces. Their pictures are chosen, as always
(`openvmas.data.montage.editor`), by the axes of music and picture: once by what was told of the pictures by looking at
them, once by the stated rules. Each row of the table is a way of knowing the picture and a way of knowing the music:
the true axes, what the head states, what can be read off the embedding of the music (by a linear map that is learned
from training music), and both embeddings, through `generate.similarity.Aligner` as users have them. "times chance": how
often the own music is first; "less alike": share of other music that fits less. Intervals: 95 %, bootstrap over pieces.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES
from openvmas.data.montage.bank import Bank
from openvmas.data.montage.curves import analyze_montage
from openvmas.data.montage.music_clips import axis_weights
from openvmas.generate.similarity import Aligner, Vectors
from openvmas.pretrained import find_alignment, find_weights
from openvmas.train.decoder.examples import Examples, read_packed
from openvmas.train.joint.meaning_trainer import LabelledPictures
from openvmas.train.joint.pairs import TEST_ROUND, MontagePairs, select_pictures, song_of
from openvmas.vision.analysis import LOOKS
from openvmas.vision.mood import read_head
from openvmas.vision.stated_axes import state_pictures

N_STEPS, SEED, N_BOOTSTRAP = 768, 99, 1000
TAUGHT = 400  # spans of training music that the map from embeddings to axes is learned from
PENALTY = 3.0  # of that map, in spans


class Pair(NamedTuple):
    """A montage with its music. piece: of the music; truth, heard: axes; stated: of the head; seen, music: vectors."""

    piece: int
    told: np.ndarray
    truth: np.ndarray
    stated: np.ndarray
    seen: Vectors
    music: Vectors


def join(banks: Sequence[Bank], paths: set[str]) -> Bank:
    """One bank of the stills with these paths."""
    parts = [select_pictures(b, [i for i, p in enumerate(b.paths) if str(p) in paths]) for b in banks]
    arrays = {n: np.concatenate([getattr(p, n) for p in parts]) for n in
              ("paths", "sizes", "views", "features", "classes", "looks", "thumbs", "motion")}  # fmt: skip
    first = np.cumsum([0, *(n for p in parts for n in np.diff(p.first))])
    return Bank(**arrays, first=first, motion_first=np.zeros(len(arrays["paths"]) + 1, int))


def draw(examples: Examples, bank: Bank, tags: np.ndarray, aligner: Aligner, n_rounds: int) -> list[Pair]:
    """Pairs in rounds of TEST_ROUND pieces. tags: what the pictures of the bank are chosen by."""
    source, generator = MontagePairs(examples, bank, N_STEPS, 2.0, SEED), np.random.default_rng(SEED)
    source.montages.tags = tags
    n_axes, pairs = len(read_head().axes), []
    pieces = [clip for clip in source.montages.clips if len(clip.axes)]
    for k in [k for _ in range(n_rounds) for k in generator.permutation(len(pieces))[:TEST_ROUND]]:
        source.montages.clips = [pieces[k]]
        montage = source.montages.make(int(generator.integers(2**31)))
        piece, start = int(montage.music), round(montage.start * 50)
        example = examples.examples[piece]
        analysis = analyze_montage(montage, bank)
        shares = np.array([take.duration for take in montage.takes])
        looks = np.stack([analysis.looks[name] for name in LOOKS[:4]], axis=1)
        stated = state_pictures(analysis.features, looks, analysis.classes)[:, :n_axes].mean(axis=0)
        codes = example.codes[:, start : start + N_STEPS]
        n_steps = min(N_STEPS, codes.shape[1], len(analysis.motion))
        pairs.append(Pair(
            piece, shares @ tags[list(montage.files)] / shares.sum(),
            song_of(example, "").axes_at(start / 50, (start + N_STEPS) / 50), stated,
            aligner.embed_picture(analysis, n_steps), aligner.embed_music(codes[:, :n_steps]),
        ))  # fmt: skip
    return pairs


def learn_axes(examples: Examples, aligner: Aligner, n: int) -> np.ndarray:
    """A map from embeddings of training music (and 1) to its axes: [E + 1, A], by ridge regression."""
    generator, rows, axes = np.random.default_rng(SEED), [], []
    while len(rows) < n:
        example = examples.examples[int(generator.integers(len(examples.examples)))]
        room = example.codes.shape[1] - 320
        if room < 0 or not len(example.axes):
            continue
        start = int(generator.integers(room + 1))
        rows.append(np.append(aligner.embed_music(example.codes[:, start : start + 320]).embeddings[0], 1.0))
        axes.append(song_of(example, "").axes_at(start / 50, start / 50 + 6.4))
    x, y = np.array(rows), np.array(axes)
    return np.linalg.solve(x.T @ x + PENALTY * np.diag([*[1.0] * (x.shape[1] - 1), 0.0]) * x.var(0).mean(), x.T @ y)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def ranks(pairs: Sequence[Pair], seen: np.ndarray, music: np.ndarray) -> np.ndarray:
    """Rank of the own music of each pair in its round [N], from unit rows of both."""
    found = []
    for i in range(0, len(pairs), TEST_ROUND):
        table = seen[i : i + TEST_ROUND] @ music[i : i + TEST_ROUND].T
        own = table.diagonal()[:, None]
        found.append((table > own).sum(1) + ((table == own).sum(1) - 1) / 2)
    return np.concatenate(found)


def line(name: str, found: np.ndarray, pieces: np.ndarray) -> str:
    """A row of the table, with intervals over pieces."""
    generator, names = np.random.default_rng(0), np.unique(pieces)
    rows = [np.flatnonzero(pieces == piece) for piece in names]
    drawn = [
        np.concatenate([rows[i] for i in generator.integers(len(rows), size=len(rows))]) for _ in range(N_BOOTSTRAP)
    ]

    def both(value) -> str:
        low, high = np.percentile([value(found[sample]) for sample in drawn], [2.5, 97.5])
        return f"{value(found):.3g} [{low:.3g}, {high:.3g}]"

    first, less = (lambda x: TEST_ROUND * (x < 0.5).mean()), (lambda x: 1 - x.mean() / (TEST_ROUND - 1))
    return f"| {name} | {both(first)} | {np.median(found):.0f} | {both(less)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("banks", type=Path, nargs="+")
    parser.add_argument("--model", default="mini")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    aligner = Aligner(find_alignment(given.model), CodecRunner(find_weights("mini"), threads=1))
    (music, held_out), pictures = read_packed(given.packed), LabelledPictures.load(given.pictures)
    row = {str(pictures.paths[i]): i for i in np.flatnonzero(pictures.is_held_out)}
    bank = join([Bank.load(path) for path in given.banks], set(row))
    own = [row[str(path)] for path in bank.paths]
    reading, weights, head = learn_axes(music, aligner, TAUGHT), axis_weights(), read_head().axes
    columns = [AXES.index(axis) for axis in head]
    for name in ("told", "rules"):
        tags = getattr(pictures, name)[own].astype(np.float64)
        pairs = draw(held_out, bank, tags, aligner, given.rounds)
        pieces = np.array([pair.piece for pair in pairs])
        stated = np.zeros((len(pairs), len(weights)))
        stated[:, columns] = [pair.stated for pair in pairs]
        told = np.array([pair.told for pair in pairs])
        mean = np.array([np.average(p.music.embeddings, axis=0) for p in pairs])
        heard = np.column_stack([mean, np.ones(len(mean))]) @ reading
        truth = np.array([pair.truth for pair in pairs])
        r = np.mean([np.corrcoef(heard[:, i], truth[:, i])[0, 1] for i in range(truth.shape[1])])
        compared = [[aligner.compare_vectors(p.seen, q.music) for q in pairs[i - i % TEST_ROUND :][:TEST_ROUND]]
                    for i, p in enumerate(pairs)]  # fmt: skip
        n_pieces = len(np.unique(pieces))
        print(f"\nPictures chosen by {name}: {len(pairs)} pairs of {n_pieces} pieces and {len(bank)} pictures.")
        print(f"Axes read off the music's embedding: mean r {r:.2f}.\n")
        print("| picture / music | times chance | median rank | less alike |\n|---|---|---|---|")
        sides = {"true": unit((told - tags.mean(0)) * weights), "head": unit((stated - stated.mean(0)) * weights)}
        others = {"true": unit(truth * weights), "embedding": unit(heard * weights)}
        for a, b in (("true", "true"), ("head", "true"), ("true", "embedding"), ("head", "embedding")):
            print(line(f"{a} axes / {b}{' axes' if b == 'true' else ''}", ranks(pairs, sides[a], others[b]), pieces))
        for part in ("meaning", "timing", "combined"):
            tables = np.array([[getattr(one, part) for one in many] for many in compared])
            place = np.arange(len(pairs)) % TEST_ROUND
            mine = tables[np.arange(len(pairs)), place][:, None]
            found = (tables > mine).sum(1) + ((tables == mine).sum(1) - 1) / 2
            print(line(f"**similarity, {part}**", found, pieces), flush=True)


if __name__ == "__main__":
    main()
