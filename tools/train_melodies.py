"""Train the network that proposes melodies (openvmas/symbolic/melodist) from scores, and measure it against rules.

    nice python tools/train_melodies.py openscore-lieder.tar.xz openscore-quartets.tar.xz --out FOLDER --minutes 30
    python tools/train_melodies.py --out FOLDER --ship       # into openvmas/weights/symbolic, with its manifest

Scores are MusicXML in archives or folders (OpenScore Lieder and String Quartets, CC0). FOLDER keeps the segments and
the state of training, so the same command goes on where it was stopped; at its end it holds `melodist.onnx`, and
`report.json` with the likelihood of the melodies of held-out composers: under the network, under a smoothed model of
intervals, and under the costs of the rules (openvmas/symbolic/melody.py) as a Boltzmann distribution.
One composer in ten is held out for testing, one for validation. A composer is in one part only.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from melody_models import interval_likelihood, rules_likelihood
from musicxml_melodies import Segment, read_segments
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from openvmas.pretrained import find_weights, write_manifest
from openvmas.symbolic.melodist.events import (
    BEFORE,
    COLUMNS,
    CONTOUR,
    EARLIER,
    MAX_NOTES,
    N_PITCHES,
    encode,
    pitch_class,
    tell_pitch,
)

WIDTH, N_LAYERS, N_HEADS, HIDDEN = 96, 3, 4, 288
LEARNING_RATE, WARMUP, BATCH, DROPOUT = 3e-3, 100, 48, 0.2
UNTOLD = 0.5  # share of segments whose contour is not told in training
EMA = 0.995
N_READERS = 4
KEEP_SECONDS = 30  # of processor time between two states on disk


class Melodist(nn.Module):
    """Logits of the pitch of each note from what is asked of it and the notes before it."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, WIDTH) for n in COLUMNS.values())
        self.tones = nn.Linear(12, WIDTH, bias=False)
        self.layers = nn.ModuleList(Layer() for _ in range(N_LAYERS))
        self.distance = nn.Parameter(torch.zeros(N_HEADS, MAX_NOTES))  # by how many notes lie between
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, N_PITCHES)
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.3 / len(COLUMNS) ** 0.5)

    def forward(self, rows: torch.Tensor, past: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """rows: [B, n, len(COLUMNS) + 12]; past: [N_LAYERS, 2, B, N_HEADS, m, WIDTH / N_HEADS], m notes before them.

        Returns logits [B, n, N_PITCHES] and the new past.
        """
        x = self.tones(rows[..., len(COLUMNS) :].float())
        for i, table in enumerate(self.tables):
            x = x + table(rows[..., i])
        m, n = past.shape[4], rows.shape[1]
        here = torch.arange(m, m + n)[:, None] - torch.arange(m + n)[None]
        bias = self.distance[:, here.clamp(0, MAX_NOTES - 1)].masked_fill(here < 0, -1e9)
        kept = []
        for i, layer in enumerate(self.layers):
            x, state = layer(x, past[i], bias)
            kept.append(state)
        return self.head(self.norm(x)), torch.stack(kept)


class Layer(nn.Module):
    """Attention to all notes before, and a gated feed-forward (pre-norm)."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.mix, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.drop = nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, past: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, n, _ = x.shape
        mixed = self.mix(self.norms[0](x)).reshape(batch, n, 3, N_HEADS, WIDTH // N_HEADS).permute(2, 0, 3, 1, 4)
        state = torch.cat([past, mixed[1:]], dim=3)
        weights = mixed[0] @ state[0].transpose(-1, -2) / (WIDTH // N_HEADS) ** 0.5 + bias
        heard = (torch.softmax(weights, dim=-1) @ state[1]).transpose(1, 2).reshape(batch, n, WIDTH)
        x = x + self.drop(self.out(heard))
        return x + self.drop(self.down(functional.gelu(self.up(self.norms[1](x))))), state


def no_past(batch: int) -> torch.Tensor:
    return torch.zeros(N_LAYERS, 2, batch, N_HEADS, 0, WIDTH // N_HEADS)


def composer_of(path: Path) -> str:
    return path.name.split("__")[0]


def split_of(composer: str) -> str:
    """The part of a composer, by a hash of the name."""
    number = hashlib.sha256(composer.encode()).digest()[0] % 10
    return {0: "test", 1: "validation"}.get(number, "train")


def rows_of(segment: Segment) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the true pitches before each note, [n, columns], and pitch classes [n]."""
    rows = encode(segment.events, segment.metre, segment.is_minor)
    for i in range(len(segment.events)):
        tell_pitch(rows, segment.events, i, segment.pitches)
    return rows, np.array([pitch_class(pitch) for pitch in segment.pitches])


def read_all(sources: Sequence[Path]) -> dict[str, list[Segment]]:
    """Segments of every score in archives or folders, by part."""
    found: dict[str, list[Segment]] = {"train": [], "validation": [], "test": []}
    for source in sources:
        with tempfile.TemporaryDirectory() as scratch:
            if source.is_file():
                with tarfile.open(source) as archive:
                    archive.extractall(scratch, filter="data")
            paths = sorted((Path(scratch) if source.is_file() else source).rglob("*.musicxml"))
            with ProcessPoolExecutor(N_READERS) as pool:
                for path, segments in zip(paths, pool.map(_read, paths, chunksize=8), strict=True):
                    found[split_of(composer_of(path))] += segments
    return found


def _read(path: Path) -> list[Segment]:
    try:
        return read_segments(path)
    except (ET.ParseError, ValueError) as error:
        print(f"{path.name}: {error}")
        return []


def batches(data: list[tuple[np.ndarray, np.ndarray]], rng: np.random.Generator, size: int) -> Iterator[Any]:
    """Rows [B, n, c] and pitch classes [B, n] (−100 beyond the end) of segments of about one length, once through."""
    order = np.argsort([len(pitches) + rng.uniform(0, 4) for _, pitches in data])
    groups = [order[i : i + size] for i in range(0, len(order), size)]
    for k in rng.permutation(len(groups)):
        members = [data[j] for j in groups[k]]
        n = max(len(pitches) for _, pitches in members)
        rows = np.zeros((len(members), n, members[0][0].shape[1]), np.int64)
        goal = np.full((len(members), n), -100)
        for i, (row, pitches) in enumerate(members):
            rows[i, : len(row)], goal[i, : len(row)] = row, pitches
        yield torch.from_numpy(rows), torch.from_numpy(goal)


@torch.no_grad()
def measure(net: Melodist, data: list[tuple[np.ndarray, np.ndarray]], is_told: bool) -> float:
    """Mean negative log-likelihood of a pitch, nats; is_told: with the contour of each bar."""
    net.eval()
    total = count = 0.0
    for rows, goal in batches(data, np.random.default_rng(0), 256):
        if not is_told:
            rows[..., CONTOUR] = 0
        logits, _ = net(rows, no_past(len(rows)))
        total += float(functional.cross_entropy(logits.flatten(0, 1), goal.flatten(), reduction="sum"))
        count += float((goal >= 0).sum())
    net.train()
    return total / count


def train(net: Melodist, data: dict[str, list[Any]], out: Path, minutes: float) -> Melodist:
    """Train for so many minutes of processor time in all, going on from what `out` holds.

    Returns the averaged net that told the melodies of the composers for validation best.
    """
    average, best, least = Melodist(), Melodist(), float("inf")
    average.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.03)
    path, spent, step, epoch = out / "state.pt", 0.0, 0, 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        best.load_state_dict(state["best"])
        optimiser.load_state_dict(state["optimiser"])
        least = state["least"]
        spent, step, epoch = state["spent"], state["step"], state["epoch"]
    begun = kept = time.process_time() - spent
    kept = time.process_time()
    while (used := time.process_time() - begun) < 60 * minutes:
        rng = np.random.default_rng((7, epoch))
        for rows, goal in batches(data["train"], rng, BATCH):
            used = time.process_time() - begun
            share = min(used / (60 * minutes), 1.0)
            for group in optimiser.param_groups:
                group["lr"] = float(LEARNING_RATE * min((step + 1) / WARMUP, 0.5 * (1 + np.cos(np.pi * share)) + 0.01))
            rows[..., CONTOUR][torch.rand(len(rows)) < UNTOLD] = 0
            # Now and then what came before is unknown, so that a phrase may begin anywhere.
            unknown = torch.rand(rows.shape[:2]) < 0.02
            rows[..., BEFORE][unknown] = 0
            rows[..., EARLIER][unknown] = 0
            logits, _ = net(rows, no_past(len(rows)))
            loss = functional.cross_entropy(logits.flatten(0, 1), goal.flatten(), label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            step += 1
            with torch.no_grad():
                for kept_, now in zip(average.parameters(), net.parameters(), strict=True):
                    kept_.lerp_(now, 1 - min(EMA, step / (step + 50)))
            if used > 60 * minutes:
                break
            if time.process_time() - kept > KEEP_SECONDS:
                told = measure(average, data["validation"], False)
                if told < least:
                    least = told
                    best.load_state_dict(average.state_dict())
                states = {"net": net, "average": average, "best": best, "optimiser": optimiser}
                _keep(path, states, spent=used, step=step, epoch=epoch, least=least)
                print(f"{used / 60:.1f} min, epoch {epoch}, step {step}: validation {told:.4f}", flush=True)
                kept = time.process_time()
        epoch += 1
    return best


def _keep(path: Path, states: dict[str, Any], **numbers: float) -> None:
    state = {name: held.state_dict() for name, held in states.items()} | numbers
    torch.save(state, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def export(net: Melodist, path: Path) -> None:
    """Write the graph, its weights in 16 bit; ONNX Runtime widens them once when it is opened."""
    net.eval()
    example = torch.zeros(2, 1, len(COLUMNS) + 12, dtype=torch.int64)
    past = torch.zeros(N_LAYERS, 2, 2, N_HEADS, 2, WIDTH // N_HEADS)
    torch.onnx.export(
        net, (example, past), str(path), dynamo=False, opset_version=17, input_names=["rows", "past"],
        output_names=["logits", "present"],
        dynamic_axes={"rows": {0: "lines"}, "past": {2: "lines", 4: "before"}, "present": {2: "lines", 4: "after"}},
    )  # fmt: skip
    model = onnx.load(str(path))
    nodes = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= 64:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + "_half"))
            nodes.append(helper.make_node("Cast", [name + "_half"], [name], to=TensorProto.FLOAT))
    for i, node in enumerate(nodes):
        model.graph.node.insert(i, node)
    onnx.save(model, str(path))


def ship(path: Path) -> None:
    """Copy the network into the symbolic composer's weights and name it in their manifest: then it writes melodies."""
    weights = find_weights("symbolic")
    shutil.copyfile(path, weights.folder / path.name)
    files = {role: file.name for role, file in weights.files.items()} | {"melodist": path.name}
    write_manifest(
        weights.folder, name=weights.name, version=weights.version, licence=weights.licence, files=files,
        sizes=weights.sizes,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=35.0, help="of processor time")
    parser.add_argument("--ship", action="store_true", help="only take the trained network into the package")
    options = parser.parse_args()
    if options.ship:
        ship(options.out / "melodist.onnx")
        return
    torch.set_num_threads(1)
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    cached = options.out / "segments.pt"
    if not cached.exists():
        torch.save(read_all(options.sources), cached)
    segments: dict[str, list[Segment]] = torch.load(cached, weights_only=False)
    data = {part: [rows_of(segment) for segment in found] for part, found in segments.items()}
    for part, found in data.items():
        print(part, len(found), "segments", sum(len(pitches) for _, pitches in found), "notes", flush=True)
    net = Melodist()
    print("parameters", sum(weight.numel() for weight in net.parameters()))
    net = train(net, data, options.out, options.minutes)
    export(net, options.out / "melodist.onnx")
    report = {
        "test, network": measure(net, data["test"], False),
        "test, network, contour told": measure(net, data["test"], True),
        "test, intervals": interval_likelihood(segments["train"], segments["test"]),
        "test, rules": rules_likelihood(segments["validation"], segments["test"]),
    }
    (options.out / "report.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
