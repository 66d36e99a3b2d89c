"""How long after a press of "Score" is music heard in the studio, and does it ever stop?

    python bench/studio_first_sound.py [--seconds 60] [--presses 3] [--browser chromium] [VIDEO]

A studio of its own, with the model that ships, and a real browser: the video (examples/city.mp4 over and over until it
lasts so long) is uploaded and watched; then Score is pressed several times, each with another seed. The last take is
heard to its end, the others are cancelled once they are heard. Printed are the parts of the time, from the press to
the first sample that is heard, and how often the music stopped. Must hold: every first sound within 3 s, and no stop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import av

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.studio import browser as chromium
from tests.studio.firefox import Firefox, firefox
from tests.studio.kit import RunningStudio, running

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 3.0  # s
REST = 3.0  # s after the picture has been watched, so that nothing else is going on


class Page(Protocol):
    """What is needed of a browser: `tests.studio.firefox.Firefox` is one."""

    def open(self, url: str) -> None: ...
    def evaluate(self, expression: str) -> Any: ...
    def wait_until(self, expression: str) -> Any: ...
    def wait_player(self, condition: str) -> dict[str, str]: ...
    def click(self, selector: str) -> None: ...
    def give_file(self, selector: str, path: Path) -> None: ...


class Chromium:
    """The same over Playwright."""

    def __init__(self, page: Any) -> None:
        self._page = page
        self.open, self.evaluate, self.click = page.goto, page.evaluate, page.click
        self.give_file = page.set_input_files

    def wait_until(self, expression: str) -> Any:
        return chromium.wait_until(self._page, expression)

    def wait_player(self, condition: str) -> dict[str, str]:
        return chromium.wait_player(self._page, condition)


@contextlib.contextmanager
def browsing(name: str, url: str, folder: Path) -> Iterator[Chromium | Firefox]:
    if name == "firefox":
        with firefox(folder) as page:
            page.open(url)
            yield page
    else:
        with chromium.chromium() as browser, chromium.opened(browser, url) as page:
            yield Chromium(page)


def loop_video(source: Path, target: Path, duration: float) -> Path:
    """The packets of a video over and over, until they last so long."""
    with av.open(str(target), "w") as writer, av.open(str(source)) as reader:
        streams = [*reader.streams.video[:1], *reader.streams.audio[:1]]
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in streams}
        picture = streams[0]
        assert picture.duration is not None and picture.time_base is not None
        length = picture.duration * picture.time_base
        for turn in range(int(duration / length) + 1):
            reader.seek(0)
            for packet in reader.demux(streams):
                if packet.pts is None or packet.dts is None or packet.pts * packet.time_base >= length:
                    continue
                if packet.pts * packet.time_base + turn * length < duration:
                    shift = round(turn * length / packet.time_base)
                    packet.pts, packet.dts, packet.stream = (
                        packet.pts + shift,
                        packet.dts + shift,
                        copies[packet.stream.index],
                    )
                    writer.mux(packet)
    return target


def press(page: Page, studio: RunningStudio, seed: int, is_last: bool) -> dict[str, Any]:
    """One press of Score: the parts of the time until it is heard, s."""
    project = page.evaluate("location.hash.split('=')[1]")
    with studio.client() as client:
        client.patch(f"/projects/{project}", json={"settings": {"seed": seed}})
        page.open(f"{studio.url}/?{seed}#project={project}")
        page.wait_until("document.querySelector('[data-key=score]:enabled') && true")
        time.sleep(REST)
        page.click("[data-key=score]")
        begun = page.wait_player("data.firstSoundMs && data.state === 'playing'")
        take = client.get(f"/takes/{begun['source']}").json()
        found = {"first_sound": float(begun["firstSoundMs"]) / 1000}
        if not is_last:
            client.post(f"/jobs/{take['job']}/cancel")
            return found
        print(f"heard after {found['first_sound']:.2f} s; listening to all of it", file=sys.stderr)
        page.wait_player("data.state === 'stopped'")
        heard = page.evaluate("({...document.getElementById('player').dataset})")
        page.wait_until("document.querySelector('[data-key=score]') && true")
        job = client.get(f"/jobs/{take['job']}").json()
        report = client.get(f"/takes/{take['id']}/report.json").json()
    return found | parts_of(page, found["first_sound"], job, report["seconds"]) | {
        "interruptions": int(heard["underruns"]), "composed_in": report["seconds"]["compose"],
        "times_real_time": round(take["duration"] / report["seconds"]["compose"], 2),
    }  # fmt: skip


def parts_of(page: Page, total: float, job: dict[str, Any], seconds: dict[str, float]) -> dict[str, float]:
    """Of the time from the press: the page and the request, the queue, and what the worker did."""
    sent = page.evaluate(
        "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/jobs'))"
        ".map((one) => (performance.timeOrigin + one.startTime) / 1000).at(-1)"
    )
    parts = {
        "request": job["created"] - sent,
        "queue": job["started"] - job["created"],
        "weights": seconds["load"],
        "condition": seconds["condition"],
        "first_block": seconds["first_block"] - seconds["condition"],
    }
    parts["until_enough_and_heard"] = total - sum(parts.values())
    return {name: round(value, 3) for name, value in parts.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path, nargs="?", default=ROOT / "examples" / "city.mp4")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--presses", type=int, default=3)
    parser.add_argument("--browser", choices=("chromium", "firefox"), default="chromium")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = loop_video(given.video, folder / "clip.mp4", given.seconds)
        with (
            running(folder / "home", is_real=True) as studio,
            browsing(given.browser, studio.url, folder) as page,
        ):
            page.give_file("#file", clip)
            page.wait_until("document.querySelector('.section .choose') && true")
            found = [press(page, studio, seed, seed == given.presses) for seed in range(1, given.presses + 1)]
    print(json.dumps(found, indent=1))
    return 0 if found[-1]["interruptions"] == 0 and max(one["first_sound"] for one in found) < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
