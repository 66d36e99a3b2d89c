"""Pictures of a study's page for docs/study.md: desk and phone, light and dark.

python tools/study_screenshots.py STUDY [FOLDER]
STUDY is a folder of `openvmas study create` (a copy is used: no answers are added). Needs Playwright and Chromium.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from playwright.sync_api import Page, sync_playwright

from openvmas.study.server import make_app
from openvmas.study.session import Study

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1100, "height": 800}
# Plays every sound at once and to its end, so that a whole study takes seconds.
HURRY = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { this.playbackRate = 16; this.muted = true; return play.call(this); };
"""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """A server on a free port: its address."""
    server = uvicorn.Server(uvicorn.Config(make_app(Study(folder), "no results here"), port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def listen(page: Page) -> None:
    """Play everything on the screen to its end."""
    for button in page.locator(".play").all():
        button.click()
        button.locator("xpath=..").locator(".heard", has_text="heard").wait_for()


def answer(page: Page) -> None:
    """Some answer to the step on the screen, and on to the next."""
    heading = page.locator("h1").inner_text()
    count = page.locator("#count").inner_text()
    if "volume" in heading:
        page.locator(".play").click()
        page.locator('.main[aria-disabled="false"]').wait_for()
    else:
        listen(page)
        for group in page.locator("fieldset").all():
            group.locator("input").nth(1).check()
    page.locator(".actions .main").click()
    page.wait_for_function("count => document.getElementById('count').textContent !== count", arg=count)


def walk(page: Page, address: str, folder: Path, name: str, theme: str) -> None:
    """Through a study, with a picture of each kind of screen."""
    page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
    page.goto(address)
    seen: set[str] = set()

    def shoot(kind: str) -> None:
        if kind not in seen:
            seen.add(kind)
            page.screenshot(path=folder / f"{kind}-{name}.jpg", type="jpeg", quality=80)

    page.locator(".agree").wait_for()
    shoot("consent")
    page.locator("#agree").check()
    page.get_by_role("button", name="Begin").click()
    page.locator(".play").first.wait_for()
    while "Thank" not in page.locator("h1").inner_text():
        kind = page.evaluate("state.kind === 'pair' ? state.part : state.kind")
        if kind not in seen and not page.evaluate("state.is_training"):
            if kind not in ("volume", "headphones"):
                listen(page)
                page.locator("fieldset").first.locator("input").nth(0).check()
            shoot(kind)
        answer(page)
    shoot("thanks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/study"))
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    program = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        copy = Path(scratch) / "study"
        shutil.copytree(arguments.study, copy, ignore=shutil.ignore_patterns("answers.sqlite*"))
        browser = playwright.chromium.launch(
            executable_path=program, args=["--autoplay-policy=no-user-gesture-required"]
        )
        with running(copy) as address:
            for name, size, theme in (("desk", DESK, "light"), ("phone", PHONE, "dark")):
                context = browser.new_context(viewport=size, device_scale_factor=1 if name == "desk" else 1.5)
                page = context.new_page()
                page.add_init_script(HURRY)
                walk(page, address, arguments.folder, name, theme)
                context.close()
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
