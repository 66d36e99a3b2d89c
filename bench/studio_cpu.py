"""Processor time of the studio's page while it rests and while it plays.

    python bench/studio_cpu.py [--video examples/landscape.mp4] [ADDRESS PROJECT]

Starts a studio of its own and has the video scored; or looks at PROJECT, which has a finished take, of the studio at
ADDRESS. Says the share of one core that the page's main thread takes (scripts, layout), that of its process, and that
of all of Chromium, in which the video is decoded and, without a graphics card, composed in software. Must hold: the
page's own work at rest below 1 %, and with a take playing below 12 % above a page that has nothing but the video.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.studio import browser as look
from tests.studio.kit import make_project, running, submit, wait_job

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10.0
MOST_AT_REST, MOST_PLAYING = 0.01, 0.12  # of a core


def cpu_times(session: Any) -> dict[str, float]:
    """Seconds of processor time by kind of process."""
    found: dict[str, float] = {}
    for process in session.send("SystemInfo.getProcessInfo")["processInfo"]:
        found[process["type"]] = found.get(process["type"], 0.0) + process["cpuTime"]
    return found


def share(session: Any, page: Any, metrics: Any) -> tuple[float, float, float]:
    """Shares of a core over SECONDS: main thread of the page, its process, all of the browser."""
    before, began = cpu_times(session), time.perf_counter()
    tasks = task_time(metrics)
    page.wait_for_timeout(SECONDS * 1000)
    passed, after = time.perf_counter() - began, cpu_times(session)
    page_share = (after["renderer"] - before["renderer"]) / passed
    return (task_time(metrics) - tasks) / passed, page_share, (sum(after.values()) - sum(before.values())) / passed


def task_time(metrics: Any) -> float:
    """Seconds that the page's main thread has been busy."""
    return next(
        one["value"] for one in metrics.send("Performance.getMetrics")["metrics"] if one["name"] == "TaskDuration"
    )


@contextlib.contextmanager
def scored(video: Path) -> Iterator[tuple[str, str]]:
    """Address and project of a studio with one finished take."""
    with tempfile.TemporaryDirectory() as name, running(Path(name) / "home", is_real=True) as studio:
        with studio.client() as client:
            project = make_project(client, video)
            wait_job(client, submit(client, project)["id"], "done")
        yield studio.url, project


def main() -> int:
    """Print the shares at rest, with the original and with a take playing, and of the video alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", nargs="*", metavar="ADDRESS PROJECT")
    parser.add_argument("--video", type=Path, default=ROOT / "examples" / "landscape.mp4")
    given = parser.parse_args()
    if len(given.place) not in (0, 2):
        parser.error("give ADDRESS and PROJECT, or neither.")
    place = contextlib.nullcontext(tuple(given.place)) if given.place else scored(given.video)
    with place as (address, project):
        found = look_at(address, project)
    own = found["take"][1] - found["video"][1]
    return 0 if found["rests"][1] < MOST_AT_REST and own < MOST_PLAYING else 1


def look_at(address: str, project: str) -> dict[str, tuple[float, float, float]]:
    """State of the page → its shares, as they are printed."""
    found: dict[str, tuple[float, float, float]] = {}

    def tell(name: str) -> None:
        found[name] = share(session, page, metrics)
        print(f"{name:10} {'  '.join(f'{100 * value:10.1f} %' for value in found[name])}", flush=True)

    with look.chromium() as browser, look.opened(browser, address, viewport={"width": 1440, "height": 900}) as page:
        look.open_plan(page, address, project)
        page.wait_for_timeout(10_000)  # the style cards are written
        session, metrics = browser.new_browser_cdp_session(), page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        print("state      main thread  page's process  all of Chromium")
        for name, act in (("rests", ""), ("original", "k"), ("take", "x")):
            if act:
                page.keyboard.press(act)
                page.wait_for_timeout(1500)
            tell(name)
        # The floor: the browser's own viewer with nothing but the video.
        page.goto(f"{address}/api/projects/{project}/video")
        page.evaluate("document.querySelector('video').play()")
        page.wait_for_timeout(1500)
        tell("video")
    return found


if __name__ == "__main__":
    sys.exit(main())
