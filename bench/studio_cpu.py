"""Processor time of the studio's page while it rests and while it plays: `python bench/studio_cpu.py ADDRESS PROJECT`.

ADDRESS: of a running studio; PROJECT: the id of one with a finished take. Says the share of one core that the page's
own process (scripts, layout, drawing of the page) takes, and that of all of Chromium, in which the video is decoded
and, without a graphics card, composed in software.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from tests.studio import browser as look

SECONDS = 10.0


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


def main(address: str, project: str) -> None:
    """Print both shares at rest, with the original and with a take playing."""
    with look.chromium() as browser, look.opened(browser, address, viewport={"width": 1440, "height": 900}) as page:
        look.open_plan(page, address, project)
        page.wait_for_timeout(3000)
        session, metrics = browser.new_browser_cdp_session(), page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        print("state      main thread  page's process  all of Chromium")
        for name, act in (
            ("rests", ""), ("original", "k"), ("take", "x"),
        ):  # fmt: skip
            if act:
                page.keyboard.press(act)
                page.wait_for_timeout(1500)
            tell(name, share(session, page, metrics))
        # The floor: the browser's own viewer with nothing but the video.
        page.goto(f"{address}/api/projects/{project}/video")
        page.evaluate("document.querySelector('video').play()")
        page.wait_for_timeout(1500)
        tell("video", share(session, page, metrics))


def tell(name: str, shares: tuple[float, float, float]) -> None:
    """Print one line of the table."""
    print(f"{name:10} {'  '.join(f'{100 * value:10.1f} %' for value in shares)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
