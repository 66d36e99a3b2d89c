"""How long scoring takes and how much memory: a 60-second video in 1080p with sound, and ten minutes of the same.

    python bench/score_speed.py [--minutes 10] [-- OPTIONS OF openvmas score]

Prints wall time, real-time factor, cores used on average, seconds of each stage, peak memory of the process, and beside
them how long reading the file's bytes takes and the share of the machine's memory; exit code 1 if a bar is missed: 60 s
in 15 s, ten minutes in 140 s, under 0.5 GB. `--size 3840x2160` and `--fps 60` make other pictures. POSIX only (wait4).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

SAMPLE_RATE = 48_000
SHOT = 2.5  # s
SECONDS_PER_MINUTE = {1: 15.0, 10: 140.0}  # bars
MAX_GB = 0.5


@dataclass(frozen=True)
class Run:
    """One scoring. duration, wall, cpu, reading (of the file's bytes): s; memory: peak resident set, bytes."""

    duration: float
    wall: float
    cpu: float
    reading: float
    memory: int
    stages: dict[str, float]


def write_video(path: Path, duration: int, size: tuple[int, int] = (1920, 1080), fps: int = 30) -> None:
    """A camera that glides over painted noise, cut every 2.5 s, with a babbling sound that comes and goes."""
    rng = np.random.default_rng(0)
    width, height = size
    coarse = rng.integers(0, 255, (4, 24, 40, 3), np.uint8)
    block = max(64, 64 * width // 1920)
    scenes = [np.kron(scene, np.ones((block, block, 1), np.uint8)) for scene in coarse]
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "26"})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        sound: Any = container.add_stream("aac", rate=SAMPLE_RATE, layout="stereo")
        for index in range(duration * fps):
            shot, place = divmod(index, round(SHOT * fps))
            left, top = 4 * place % (40 * block - width), 2 * place % (24 * block - height)
            view = np.ascontiguousarray(scenes[shot % 4][top : top + height, left : left + width])
            frame = av.VideoFrame.from_ndarray(view, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        for start in range(0, duration * SAMPLE_RATE, 1024):
            loud = 0.15 * (np.sin(start / SAMPLE_RATE) > 0)
            wave = (loud * rng.standard_normal((2, 1024))).astype(np.float32)
            block = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(sound.encode(block))
        container.mux(sound.encode(None))


def repeat_video(source: Path, target: Path, times: int, duration: int) -> None:
    """The same packets several times one after the other."""
    with av.open(str(target), "w") as writer:
        copies: dict[int, Any] = {}
        last: dict[int, int] = {}
        for turn in range(times):
            with av.open(str(source)) as reader:
                for stream in reader.streams:
                    if turn == 0:
                        copies[stream.index] = writer.add_stream_from_template(stream)
                for packet in reader.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift, index = round(turn * duration / packet.time_base), packet.stream.index
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    if packet.dts > last.get(index, -(10**9)):  # sound overlaps by the encoder's delay
                        last[index] = packet.dts
                        packet.stream = copies[index]
                        writer.mux(packet)


def score(video: Path, duration: float, arguments: list[str]) -> Run:
    """Score in a process of its own and take its peak memory from the system."""
    output = video.with_name(f"{video.stem}.scored.mp4")
    command = [sys.executable, "-m", "openvmas", "score", str(video), "--output", str(output), "--overwrite", "--quiet"]
    began = time.perf_counter()
    with video.open("rb") as file:
        while file.read(1 << 20):
            pass
    reading, began = time.perf_counter() - began, time.perf_counter()
    process = os.posix_spawn(sys.executable, [*command, *arguments], os.environ)
    _, status, usage = os.wait4(process, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"scoring failed with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    stages = json.loads(output.with_suffix(".json").read_text())["seconds"]
    return Run(duration, wall, usage.ru_utime + usage.ru_stime, reading, usage.ru_maxrss * unit, stages)


def show(run: Run) -> None:
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in run.stages.items())
    print(
        f"{run.duration:6.0f} s of video: {run.wall:6.1f} s ({run.duration / run.wall:.2f} times real time, "
        f"{run.wall / run.reading:.0f} times reading), {run.cpu / run.wall:.1f} cores, "
        f"peak {run.memory / 1e9:.2f} GB, {run.memory / total_memory():.1%} of the machine's  [{stages}]",
        flush=True,
    )


def total_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def is_missed(run: Run, minutes: int) -> bool:
    return run.wall > SECONDS_PER_MINUTE.get(minutes, 15.0 * minutes) or run.memory > MAX_GB * 1e9


def main() -> int:
    parser = argparse.ArgumentParser(description="Time and memory of openvmas score.")
    parser.add_argument("--minutes", type=int, default=10, help="length of the long video; 0 to leave it out")
    parser.add_argument("arguments", nargs="*", help="options of openvmas score, after --")
    parser.add_argument("--size", default="1920x1080", help="of the picture")
    parser.add_argument("--fps", type=int, default=30)
    given = parser.parse_args()
    width, height = map(int, given.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        short, long = Path(folder) / "short.mp4", Path(folder) / "long.mp4"
        write_video(short, 60, (width, height), given.fps)
        first = score(short, 60, given.arguments)
        show(first)
        missed = is_missed(first, 1)
        if given.minutes:
            repeat_video(short, long, given.minutes, 60)
            second = score(long, 60 * given.minutes, given.arguments)
            show(second)
            missed |= is_missed(second, given.minutes)
    print("a bar is missed" if missed else "all bars are met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
