"""What the analysis of a picture costs, stage by stage, beside plain decoding with PyAV.

    python bench/looking.py VIDEO... [--runs 3]

Prints for each video the processor seconds of decoding, scaling, shots, motion, picture network and the rest (the
stages one after the other), then of the whole analysis its wall time, the cores it keeps busy, and how many times
longer it takes than PyAV needs to decode every frame and throw it away. The best of `--runs` alternating runs counts.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import av

from openvmas.media import video
from openvmas.vision import analysis

CONSUMERS = {"shots": analysis.ShotFinder, "motion": analysis.MotionTracker, "network": analysis._Extractor}


def processor_time() -> float:
    """Processor seconds of all threads of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def decode(path: Path) -> None:
    """Decode every frame with PyAV's own threads."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass


def stages(path: Path) -> dict[str, float]:
    """Processor seconds of each stage, where the whole analysis runs in this thread."""
    seconds: Counter[str] = Counter()

    def timed(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.thread_time() - began

        return call

    with mock.patch.object(analysis, "_read_ahead", lambda items, depth: items), mock.patch.object(
        video._Scaler, "__call__", timed("scale", video._Scaler.__call__)
    ), mock.patch.multiple(
        analysis.ShotFinder, push=timed("shots", analysis.ShotFinder.push)
    ):
        began = processor_time()
        analysis.analyze(path)
        whole = processor_time() - began
    return {"decode": whole - sum(seconds.values()), **seconds}
