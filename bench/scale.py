"""What many videos cost: measured here, and worked out for a million. Writes docs/scale.json and docs/scale.md.

python bench/scale.py clip VIDEO VOICE processor time, memory and storage of clips of 60 s
python bench/scale.py memory [N]       memory of one process over N stubs of 1 s (1,000 if left out)
python bench/scale.py nodes [N ...]    stubs on clusters of one, two and three nodes of one core on this machine
python bench/scale.py page             the page, from what was measured

Figures are processor seconds (user and system) wherever they can be: they hold on a machine that others use, which a
clock does not. Stubs are videos of 160 × 96 whose music is sines, so that what is measured is everything but composing.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from openvmas.batch import run  # noqa: E402
from openvmas.batch.clip import BatchSettings  # noqa: E402
from openvmas.batch.manifest import Clip  # noqa: E402
from openvmas.generate.deliver import space_needed  # noqa: E402
from openvmas.media.probe import probe  # noqa: E402
from tests.batch import sines  # noqa: E402
from tests.clips import write_clip  # noqa: E402

RESULTS, PAGE = ROOT / "docs" / "scale.json", ROOT / "docs" / "scale.md"
VOICES = ("symbolic", "mini")
LENGTH, MANY = 60, 1_000_000  # s, and clips


def keep(name: str, found: Any) -> None:
    """Put figures into the results."""
    known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    known[name] = dict(found) | {"measured": time.strftime("%Y-%m-%d"), "cores": os.cpu_count()}
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(json.dumps(found), flush=True)


def make_clip(source: Path, target: Path) -> Path:
    """LENGTH seconds of a video in H.264 at its own size, from its beginning again where it is shorter; no sound."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        picture = reader.streams.video[0]
        rate = picture.average_rate or Fraction(25)
        made: Any = writer.add_stream("libx264", rate=rate)
        made.width, made.height, made.pix_fmt = picture.width, picture.height, "yuv420p"
        n, wanted = 0, round(LENGTH * rate)
        while n < wanted:
            reader.seek(0)
            for frame in reader.decode(picture):
                frame.pts, frame.time_base = n, 1 / rate
                writer.mux(made.encode(frame))
                n += 1
                if n == wanted:
                    break
        writer.mux(made.encode(None))
    return target


def scoring() -> list[psutil.Process]:
    """Processes below this one that score."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if any("batch." in word and ":start" in word for word in process.cmdline())]


def peak_memory(process: psutil.Process) -> int:
    """The largest resident size that a process ever had, bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def measure_clip(source: Path, voice: str) -> None:
    """Two clips by one process: the first has loading in it, the second has not."""
    with tempfile.TemporaryDirectory() as scratch:
        first = make_clip(source, Path(scratch) / "0.mp4")
        info, rows, peak = probe(first), [], 0
        clips = [Clip(i, str(first), str(Path(scratch) / f"made{i}"), {"model": voice}) for i in range(2)]
        for row in run.score_clips(clips, BatchSettings()):
            assert row.status == "scored", row
            rows.append(row)
            peak = max([peak, *map(peak_memory, scoring())])
        written = Path(rows[1].output)
        found = {
            "picture": f"{info.width} × {info.height}, {float(info.fps):.0f} frames a second",
            "scratch_bytes": space_needed(info, 1), "first": rows[0].processor_seconds, "rss": peak,
            "next": rows[1].processor_seconds, "added_bytes": written.stat().st_size - first.stat().st_size,
            "sidecar_bytes": written.with_suffix(".json").stat().st_size,
        }  # fmt: skip
    keep(f"clip_{voice}", found)


def stubs(folder: Path, n: int) -> Iterator[Clip]:
    """n clips of one stub, each with a result of its own; nothing but the results takes room."""
    stub = write_clip(folder / "stub.mp4", 1.0)
    (folder / "notes").mkdir(exist_ok=True)
    os.environ["OPENVMAS_TEST_NOTES"] = str(folder / "notes")
    return (Clip(i, str(stub), str(folder / "made" / f"{i:05d}")) for i in range(n))


def measure_memory(n: int) -> None:
    """Resident size of the process that scores, and of this one, after every tenth of n stubs."""
    sizes: list[tuple[int, int, int]] = []
    run.start = sines.start
    with tempfile.TemporaryDirectory() as scratch:
        for done, result in enumerate(run.score_clips(stubs(Path(scratch), n), BatchSettings()), 1):
            assert result.status == "scored", result
            if done % max(1, n // 10) == 0:
                (process,) = scoring()
                sizes.append((done, process.memory_info().rss, psutil.Process().memory_info().rss))
                keep("memory", {"sizes": sizes})


def processor_time() -> float:
    """Processor seconds of all processes below this one, the ended ones that were collected included."""
    spent = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            spent += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return spent


def measure_nodes(counts: Sequence[int]) -> None:
    """Stubs on clusters: processor seconds of scoring them, of everything, and by the clock."""
    from tests.ray_cluster import start_cluster

    run.start = sines.start
    found: dict[str, Any] = {"rows": []}
    for n_nodes in (1, 2, 3):
        with tempfile.TemporaryDirectory() as scratch:
            os.environ["OPENVMAS_TEST_NOTES"] = str(Path(scratch) / "notes")
            opened = start_cluster(n_nodes)
            cluster = next(opened)
            for round_, n in enumerate((n_nodes * 2, *counts)):  # the first has the starts of all processes in it
                folder = Path(scratch) / str(round_)
                folder.mkdir()
                os.environ["OPENVMAS_TEST_NOTES"] = str(Path(scratch) / "notes")
                (Path(scratch) / "notes").mkdir(exist_ok=True)
                clips = list(stubs(folder, n))
                before, began = processor_time(), time.monotonic()
                rows = list(run.score_clips(clips, BatchSettings(), ray=cluster.address))
                assert [row.status for row in rows] == ["scored"] * n
                spent, wall = processor_time() - before, time.monotonic() - began
                scoring = sum(row.processor_seconds for row in rows)
                if round_:
                    found["rows"].append([n_nodes, n, round(scoring, 2), round(spent, 2), round(wall, 2)])
                    keep("nodes", found)
            next(opened, None)


def hours(seconds: float) -> str:
    """Core-hours with the thousands apart."""
    return f"{seconds / 3600:,.0f}"


def write_page() -> None:
    """docs/scale.md from docs/scale.json."""
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    template = Path(__file__).with_name("scale.md.txt").read_text(encoding="utf-8")
    clip = {voice: known[f"clip_{voice}"] for voice in VOICES}
    any_clip = clip[VOICES[0]]
    memory = [
        f"| {done:,} | {child / 1e6:.0f} | {own / 1e6:.0f} |"
        for done, child, own in known.get("memory", {"sizes": []})["sizes"]
    ]
    costs = [
        f"| {voice} | {clip[voice]['first']:.1f} | {clip[voice]['next']:.1f} | {hours(clip[voice]['next'] * MANY)} | "
        f"{clip[voice]['next'] * MANY / 3600 / 24 / 1000:.1f} | {clip[voice]['rss'] / 1e6:.0f} | "
        f"{clip[voice]['added_bytes'] / 1e6:.2f} | "
        f"{(clip[voice]['added_bytes'] + clip[voice]['sidecar_bytes']) * MANY / 1e12:.2f} |"
        for voice in VOICES
    ]
    rows = known.get("nodes", {"rows": []})["rows"]
    alone = {n: scoring / n for nodes, n, scoring, _, _ in rows if nodes == 1}
    nodes = [
        f"| {nodes} | {n:,} | {scoring / n:.3f} | {spent / n:.3f} | {scoring / spent:.0%} | "
        f"{alone[n] / (scoring / n):.0%} | {wall:.0f} |"
        for nodes, n, scoring, spent, wall in rows
    ]
    text = template.format(
        costs="\n".join(costs), nodes="\n".join(nodes or ["| not measured yet |"]),
        memory="\n".join(memory or ["| not measured yet |"]), cores=any_clip["cores"],
        picture=any_clip["picture"], scratch=f"{any_clip['scratch_bytes'] / 1e6:.0f}", date=any_clip["measured"],
        kills=kills(known),
    )  # fmt: skip
    PAGE.write_text(text, encoding="utf-8")


def kills(known: dict[str, Any]) -> str:
    """What came out of bench/kill.py, a line each."""
    return "\n".join(f"- {known[name]['sentence']}." for name in ("kill_list", "kill_studio") if name in known)


def main(words: Sequence[str]) -> int:
    what, *more = words or ["page"]
    if what == "clip":
        measure_clip(Path(more[0]), more[1])
    elif what == "memory":
        measure_memory(int(more[0]) if more else 1000)
    elif what == "nodes":
        measure_nodes([int(word) for word in more] or [1, 10, 100, 1000])
    else:
        write_page()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
