"""What each stage of curation costs, in its first version and now: processor time for one clip that passes all.

First version: the stages in the order in which they were thought of, each opening and decoding the file for itself, the
decode test reading every frame. Now: cheapest first, everything decoded once and shared, key frames and a few places
before the whole. Refusals are noted and passed over, so that both versions do all of the work.

python bench/curation.py [FILE...] [--seconds 8] [--only-now] [--write COSTS.json]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.curation.record import Drop, Origin, Record, make_id
from openvmas.data.curation.record_media import Media
from openvmas.data.report.costs import Costs
from openvmas.data.stages import STAGES
from openvmas.media.video import FrameRequest, read_frames

ROOT = Path(__file__).resolve().parent.parent
FIRST_ORDER = (
    "probe", "decode", "size", "picture", "moving", "shots", "music", "speech", "singing", "quality", "picture_print",
    "sound_print", "fit", "cut", "features",
)  # fmt: skip
PICTURE_STAGES = ("decode", "glance", "moving", "shots", "picture_print", "fit", "cut", "features")
HOUR = 3600.0

Times = dict[str, float]


def run_stage(stage: Any, record: Record, media: Media, times: Times) -> list[Record]:
    """The stage's records; a refusal is passed over, and a cut that keeps nothing keeps the whole."""
    began = time.process_time()
    result = stage(record, media)
    times[stage.name] = times.get(stage.name, 0.0) + time.process_time() - began
    if isinstance(result, Drop):  # printed, since a file that is refused for good reasons is a poor choice
        print(f"  {stage.name} would refuse it: {result.reason} {result.detail}")
        return [result.record]
    return (result or [record]) if isinstance(result, list) else [result]


def first_version(record: Record, scratch: str) -> Times:
    """Every stage with media of its own."""
    times: Times = {}
    for name in FIRST_ORDER:
        stage = STAGES[name]()
        with Media(record, scratch=scratch) as media:
            if name == "decode":
                began = time.process_time()
                path, _, _ = media._cut()
                for _ in read_frames(path, [FrameRequest(None, 160, True)]):
                    pass
                times[name] = time.process_time() - began
                continue
            records = run_stage(stage, record, media, times)
            record = record if len(records) != 1 or name == "cut" else records[0]
    return times


def this_version(record: Record, scratch: str) -> tuple[Times, int, int]:
    """As `openvmas data build` runs them: times, clips and bytes kept."""
    times: Times = {}
    n_clips = n_bytes = 0
    order = [name for name in STAGES if name != "tags"]
    with Media(record, scratch=scratch) as media:
        todo = [(record, media)]
        for name in order:
            stage = STAGES[name]()
            later: list[tuple[Record, Media]] = []
            for item, its_media in todo:
                for made in run_stage(stage, item, its_media, times):
                    is_part = (made.start, made.end) != (item.start, item.end)
                    later.append((made, its_media.part(made) if is_part else its_media))
            todo = later
        for item, its_media in todo:
            n_clips += 1
            n_bytes += sum(np.asarray(a).nbytes for n, a in its_media.arrays.items() if not n.endswith("_print"))
            n_bytes += len(item.to_json())
    return times, n_clips, n_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[ROOT / "examples" / "city.mp4"])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each file")
    parser.add_argument("--write", type=Path, help="costs of this version, for `openvmas data plan`")
    parser.add_argument("--only-now", action="store_true", help="leave the first version out")
    options = parser.parse_args()
    first: Times = {}
    now: Times = {}
    n_clips = n_bytes = n_source = 0
    with tempfile.TemporaryDirectory() as scratch:
        for path in options.files:
            record = Record(make_id("bench", path.name), "video", Origin("bench", str(path)), 0.0, options.seconds)
            earlier = {} if options.only_now else first_version(record, scratch)
            for name, seconds in earlier.items():
                first[name] = first.get(name, 0.0) + seconds
            times, clips, kept = this_version(record, scratch)
            for name, seconds in times.items():
                now[name] = now.get(name, 0.0) + seconds
            n_clips, n_bytes, n_source = n_clips + clips, n_bytes + kept, n_source + path.stat().st_size
    n = len(options.files)
    print(f"{n} files of {options.seconds:g} s; processor time of each, s")
    print(f"{'stage':<14}{'first':>9}{'now':>9}{'clips per core-hour now':>26}")
    for name in dict.fromkeys((*now, *first)):
        rate = f"{HOUR * n / now[name]:,.0f}" if now.get(name, 0) > 1e-6 else "–"
        print(f"{name:<14}{first.get(name, 0) / n:>9.3f}{now.get(name, 0) / n:>9.3f}{rate:>26}")
    for title, chosen in (("picture work", PICTURE_STAGES), ("everything", tuple(dict.fromkeys((*first, *now))))):
        a, b = (sum(times.get(name, 0.0) for name in chosen) / n for times in (first, now))
        print(f"{title:<14}{a:>9.3f}{b:>9.3f}{f'{a / b:.1f} times cheaper' if a else '':>26}")
    if options.write:
        about = f"bench/curation.py, {n} file(s) through every stage (no codec codes, no tags)"
        stages = {name: (n, seconds) for name, seconds in now.items()}
        costs = Costs(n, n, stages, n * options.seconds, n_bytes, n_source, about)
        options.write.write_text(costs.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
