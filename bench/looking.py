"""What the analysis of a picture costs, stage by stage, beside plain decoding with PyAV.

    python bench/looking.py VIDEO... [--runs 3]

Prints for each video the processor seconds of decoding (with reading the file), scaling, shots, motion, picture network
and the rest, measured with the stages one after the other; then of the analysis as it is used its processor and wall
time, the cores it kept busy, and how many times longer it takes than PyAV needs to decode every frame and throw it
away. Of `--runs` runs, alternating with those of PyAV, the fastest counts.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import av

from openvmas.media import video
from openvmas.vision import analysis

STAGES = {
    "scale": (video._Scaler, "__call__"),
    "shots": (analysis.ShotFinder, "push"),
    "motion": (analysis.MotionTracker, "push"),
    "network": (analysis._Extractor, "push"),
    "rest": (analysis, "assemble"),
}


def processor_time() -> float:
    """Processor seconds of all threads of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(work: Callable[[], Any]) -> tuple[float, float]:
    """Processor and wall seconds of a call."""
    began = processor_time(), time.perf_counter()
    work()
    return processor_time() - began[0], time.perf_counter() - began[1]


def decode(path: Path) -> None:
    """Decode every frame with PyAV and FFmpeg's own threads."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass


def stage_times(path: Path) -> dict[str, float]:
    """Processor seconds of each stage, all of them in this thread."""
    seconds = dict.fromkeys(STAGES, 0.0)

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began = time.thread_time()
            result = function(*arguments)
            seconds[name] += time.thread_time() - began
            return result

        return call

    patches = [mock.patch.object(o, attribute, timed(n, getattr(o, attribute))) for n, (o, attribute) in STAGES.items()]
    patches.append(mock.patch.object(analysis, "_read_ahead", lambda items, depth: items))
    for patch in patches:
        patch.start()
    whole, _ = measure(lambda: analysis.analyze(path))
    for patch in patches:
        patch.stop()
    return {"decode": whole - sum(seconds.values()), **seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time of the analysis of a picture.")
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    for path in given.videos:
        stages, whole, plain = [], [], []
        for _ in range(given.runs):
            stages.append(stage_times(path))
            whole.append(measure(lambda path=path: analysis.analyze(path)))
            plain.append(measure(lambda path=path: decode(path)))
        processor, wall = min(whole, key=lambda run: run[1])
        best = min(plain, key=lambda run: run[1])
        print(f"{path.name}: " + ", ".join(f"{n} {min(s[n] for s in stages):.2f}" for n in stages[0]))
        print(
            f"  analysis {processor:.2f} s of processor, {wall:.2f} s wall ({processor / wall:.1f} cores); "
            f"PyAV decodes in {best[0]:.2f} s, {best[1]:.2f} s wall: "
            f"{processor / best[0]:.1f} and {wall / best[1]:.1f} times as long",
            flush=True,
        )


if __name__ == "__main__":
    main()
