"""Put the mean of what a video encoder adds into a model's condition, and leave the encoder out.

    openvmas train run recipes/train/joint-mini-frozen.toml PACKED RUN --bank BANK --start-from mini/decoder.pt \\
        --video-from alignment --contrastive-weight 0 --timed-weight 0 --reading-weight 0 --batch 4 --features-alone
    python tools/fold_picture.py RUN BANK OUT [--model mini] [--version 0.5.4]

For an encoder that says the same of every picture (docs/LOG.md, 2026-12-01): its vector corrects what a decoder that
has learned from the curves of music is told by those of a picture. OUT is MODEL with another `condition.onnx`; it adds
the vector wherever events are told, to within rounding, with no node more.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from openvmas.model.video_encoder import PICTURE_CURVES, load_video_encoder
from openvmas.pretrained import find_weights, write_manifest
from openvmas.settings import CONTROL_RATE

N_SEQUENCES, SECONDS = 96, 6.4


def mean_of(run: Path, bank: Path) -> tuple[np.ndarray, float]:
    """The mean vector [D] over pictures of a bank drawn by lot, and the spread between them as a share of it."""
    encoder = load_video_encoder(str(run / "video_encoder.pt")).eval()
    with np.load(bank) as data:
        features = data["features"].astype(np.float32)
    chosen = np.random.default_rng(0).integers(len(features), size=(N_SEQUENCES, round(SECONDS * encoder.config.fps)))
    curves = torch.zeros(N_SEQUENCES, round(SECONDS * float(CONTROL_RATE)), len(PICTURE_CURVES))
    with torch.no_grad():
        means = encoder(torch.from_numpy(features[chosen]), curves).steps.mean(dim=1).double().numpy()
    mean = means.mean(axis=0)
    return mean, float(np.linalg.norm(means.std(axis=0)) / np.linalg.norm(mean))


def fold(path: Path, vector: np.ndarray) -> None:
    """Add a vector [D] to the conditions of a graph wherever events are told.

    The condition is `x + mix(x)`, where x has `no_events` in place of events that are not told: the vector goes into
    the bias of `mix`, and what undoes it into `no_events`.
    """
    model = onnx.load(str(path))
    named = {weight.name: weight for weight in model.graph.initializer}
    mix = next(node for node in model.graph.node if node.op_type == "MatMul" and node.output[0].startswith("/mix/"))
    matrix = numpy_helper.to_array(named[mix.input[1]]).astype(float) + np.eye(len(vector))
    changes = {"mix.bias": vector, "no_events": -np.linalg.solve(matrix.T, vector)}
    for name, change in changes.items():
        values = numpy_helper.to_array(named[name]) + change
        named[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    onnx.save(model, str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "bank", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--version", help="of the new model; that of MODEL if left out")
    parser.add_argument("--strength", type=float, default=1.0, help="share of the vector that is added")
    given = parser.parse_args()
    weights = find_weights(given.model)
    vector, spread = mean_of(given.run, given.bank)
    print(f"length {np.linalg.norm(vector):.2f}; between pictures it differs by {100 * spread:.1f} %")
    if given.out.resolve() != weights.folder.resolve():
        shutil.copytree(weights.folder, given.out)
    fold(given.out / weights.files["condition"].name, given.strength * vector)
    write_manifest(
        given.out, name=weights.name, version=given.version or weights.version, licence=weights.licence,
        files={role: file.name for role, file in weights.files.items()}, sizes=weights.sizes,
    )  # fmt: skip


if __name__ == "__main__":
    main()
