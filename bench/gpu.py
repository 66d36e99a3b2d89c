"""What a graphics card brings: each graph of a model on both devices and in both precisions, and whole scores.

python bench/gpu.py [VIDEO] [--devices cpu,cuda] [--repeat 20]

Prints milliseconds a call (the least of --repeat), by number of rows of the batch for the step of the decoder, and
with VIDEO seconds a score by `openvmas score`, with 1, 2 and 4 processes that share the card. Written on a machine
without a card: the figures are for whoever has one.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from openvmas.devices import CPU, PROVIDERS, halve, open_session
from openvmas.errors import OpenVMASError
from openvmas.pretrained import find_weights

GRAPHS = {"codec": {"T": 250}, "codec_encoder": {"T": 250}, "condition": {"T": 250}}  # 5 s
ROWS = (1, 2, 4, 8, 16)  # of the decoder's batch: candidates, with and without the condition, of one or more videos


def inputs(session: Any, sizes: dict[str, int], rows: int) -> dict[str, np.ndarray]:
    """Random arrays in the shapes that a graph declares; names that are not in `sizes` stand for the batch."""
    rng = np.random.default_rng(0)
    made = {}
    for item in session.get_inputs():
        shape = [size if isinstance(size, int) else sizes.get(str(size), 0) for size in item.shape]
        free = [i for i, size in enumerate(shape) if not size]
        for place in free:
            shape[place] = rows if place == free[0] and len(shape) > 1 and "T" not in sizes else sizes.get("T", rows)
        is_whole = "int64" in item.type
        made[item.name] = rng.integers(0, 100, shape) if is_whole else rng.normal(size=shape).astype(np.float32)
    return made


def least(call: Callable[[], Any], repeat: int) -> float:
    """Milliseconds of the quickest of so many calls, after two that warm up."""
    times = []
    for _ in range(repeat + 2):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1000 * min(times[2:])


def time_graphs(devices: list[str], repeat: int) -> None:
    """A row for each graph and batch, a column for each device and precision."""
    weights = find_weights("mini")
    ways = [(device, is_half) for device in devices for is_half in ((False,) if device == CPU else (False, True))]
    print("| graph | rows | " + " | ".join(f"{d}{' fp16' if h else ' fp32'}, ms" for d, h in ways) + " |")
    print("|---" * (2 + len(ways)) + "|")
    cases = [(role, sizes, 1) for role, sizes in GRAPHS.items()] + [("decoder", {}, rows) for rows in ROWS]
    for role, sizes, rows in cases:
        cells = []
        for device, is_half in ways:
            session = open_session(weights.file(role), onnxruntime.SessionOptions(), device, is_half)
            given = inputs(session, sizes, rows)
            cells.append(f"{least(lambda s=session, g=given: s.run(None, g), repeat):.2f}")
        print(f"| {role} | {rows} | " + " | ".join(cells) + " |", flush=True)
    if len(devices) > 1:
        print(f"\nhalf precision is had by: {', '.join(r for r in weights.files if is_halved(weights.files[r]))}")


def is_halved(path: Path) -> bool:
    """Whether a graph can be had in half precision."""
    return path.suffix == ".onnx" and halve(path) is not None


def time_scores(video: Path, devices: list[str]) -> None:
    """Seconds by the clock for eight copies of a video, by device and number of processes."""
    print("\n| device | processes | videos | s by the clock | videos an hour |\n|---|---|---|---|---|")
    for device in devices:
        for workers in (1, 2, 4):
            with tempfile.TemporaryDirectory() as folder:
                names = [str(shutil.copy(video, Path(folder) / f"{i}{video.suffix}")) for i in range(8)]
                (Path(folder) / "list.csv").write_text("video\n" + "\n".join(names) + "\n")
                options = ["--model", "mini", "--device", device, "--workers", str(workers), "--quiet"]
                began = time.perf_counter()
                command = [sys.executable, "-m", "openvmas", "score", "--list", f"{folder}/list.csv", *options]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                spent = time.perf_counter() - began
            print(f"| {device} | {workers} | 8 | {spent:.1f} | {8 * 3600 / spent:.0f} |", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--devices", default="cpu,cuda")
    parser.add_argument("--repeat", type=int, default=20)
    given = parser.parse_args()
    devices = given.devices.split(",")
    unknown = set(devices) - set(PROVIDERS)
    if unknown:
        parser.error(f"there is no device {unknown.pop()}; choose from {', '.join(PROVIDERS)}")
    try:
        time_graphs(devices, given.repeat)
        if given.video is not None:
            time_scores(given.video, devices)
    except OpenVMASError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
