"""Pictures of the studio's page in each of its states, for the docs: `python tools/studio_screenshots.py [VIDEO]`.

Starts the studio as a user would, with a folder of its own, walks through it in Chromium and writes JPEG files to
docs/studio/. Needs Chromium and the extra `dev`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "studio"
PATIENCE = 600_000  # ms
LARGE, SMALL = {"width": 1360, "height": 860}, {"width": 390, "height": 844}


class Camera:
    """Takes a state in the asked themes and sizes."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def take(self, name: str, themes: tuple[str, ...] = ("light", "dark"), small: bool = False) -> None:
        for theme in themes:
            self._shoot(f"{name}-{theme}", theme, LARGE)
        if small:
            self._shoot(f"{name}-small", themes[-1], SMALL)
            self.page.set_viewport_size(LARGE)  # pyright: ignore[reportArgumentType]

    def _shoot(self, name: str, theme: str, size: dict[str, int]) -> None:
        self.page.emulate_media(color_scheme=theme)  # pyright: ignore[reportArgumentType]
        self.page.set_viewport_size(size)  # pyright: ignore[reportArgumentType]
        self.page.evaluate("scrollTo(0, 0)")
        self.page.wait_for_timeout(500)
        path = TARGET / f"{name}.jpg"
        self.page.screenshot(path=path, type="jpeg", quality=78)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def wait_until_watched(page: Page, url: str, share: float) -> None:
    """Until the filmstrip is drawn so far."""
    project = page.url.partition("#project=")[2]
    while True:
        video = page.request.get(f"{url}api/projects/{project}").json()["video"]
        if video and video["filmstrip"]["ready"] >= share * video["filmstrip"]["n"]:
            return
        page.wait_for_timeout(100)


def walk(page: Page, url: str, video: Path) -> None:
    """Through every state of the page."""
    camera = Camera(page)
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.get_by_text("Your projects will be listed here").wait_for()
    camera.take("first", small=True)
    page.set_input_files("#file", video)
    page.locator(".progress", has_text="Watching the picture").wait_for()
    wait_until_watched(page, url, 0.4)
    camera.take("watching", ("dark",))
    page.wait_for_selector(".section .choose")
    page.locator(".section .choose").first.click(position={"x": 20, "y": 10})
    page.get_by_role("button", name="hopeful").click()
    camera.take("plan", small=True)
    page.locator("#tab-Sound").click()
    camera.take("sound", ("light",))
    page.locator("[data-key=score]").click()
    page.wait_for_selector("#player[data-state=playing]")
    page.wait_for_timeout(2500)
    camera.take("writing", small=True)
    page.wait_for_selector("[data-key=score]")
    page.locator("#tab-Plan").click()
    page.locator(".section .choose").last.click(position={"x": 20, "y": 10})
    page.locator("[data-key=again]").click()
    page.wait_for_selector("[data-key=cancel]")
    page.wait_for_selector("[data-key=score]")
    page.locator("#tab-Takes").click()
    page.wait_for_selector("#report:not([hidden])")
    camera.take("takes", small=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1360, "height": 1300})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator("#report").screenshot(path=TARGET / "report-light.jpg", type="jpeg", quality=78)
    page.set_viewport_size(LARGE)  # pyright: ignore[reportArgumentType]
    page.keyboard.press("?")
    camera.take("keys", ("light",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path, nargs="?", default=ROOT / "examples" / "city.mp4")
    video = parser.parse_args().video
    TARGET.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "openvmas", "studio", "--port", "0", "--no-browser", "--folder", folder]
        studio = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert studio.stdout is not None
            found = re.search(r"http://\S+", studio.stdout.readline())
            assert found, "the studio did not start"
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            walk(browser.new_page(), found.group(), video)
            browser.close()
        finally:
            studio.terminate()
            studio.wait()


if __name__ == "__main__":
    main()
