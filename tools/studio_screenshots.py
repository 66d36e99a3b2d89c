"""Pictures of the studio's page for the docs: `python tools/studio_screenshots.py [VIDEO]`, or `… URL PROJECT TALL`.

Starts the studio as a user would, with a folder of its own, has VIDEO scored, and its middle as a vertical video, and
writes JPEG files to docs/studio/; or takes projects with a finished take of a studio that runs, the second one of a
vertical video. Needs Chromium and the extra `dev`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "studio"
PATIENCE = 600_000  # ms
SIZES = {"1440": (1440, 900), "1366": (1366, 657), "1024": (1024, 768), "390": (390, 844)}
QUALITY = 46  # small, and text can still be read
FINISHED = "[data-key=deliver]"


def shoot(page: Page, name: str) -> None:
    """One picture of what is on the screen."""
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(700)
    path = TARGET / f"{name}.jpg"
    page.screenshot(path=path, type="jpeg", quality=QUALITY)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def make_project(page: Page, url: str, video: Path) -> str:
    """Have a video watched and scored; returns the project's id."""
    page.set_default_timeout(PATIENCE)
    page.goto(url)
    page.set_input_files("#file", video)
    page.wait_for_selector(".section .choose")
    page.locator("[data-key=score]").click()
    page.wait_for_selector(FINISHED)
    return page.url.partition("#project=")[2]


def crop(video: Path, target: Path) -> Path:
    """The middle of a video's picture as a vertical one of 360 by 640 pixels, without sound."""
    with av.open(str(video)) as reader, av.open(str(target), "w") as writer:
        source = reader.streams.video[0]
        stream = writer.add_stream("libx264", rate=source.average_rate, width=360, height=640, pix_fmt="yuv420p")
        for frame in reader.decode(source):
            width = frame.height * 9 // 16
            left = (frame.width - width) // 2
            middle = np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:, left : left + width])
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(middle, format="rgb24").reformat(360, 640)))
        writer.mux(stream.encode())
    return target


def walk_vertical(browser: Browser, url: str, project: str) -> None:
    """A vertical video with a marked part, in all sizes."""
    for name, (width, height) in SIZES.items():
        page = browser.new_context(viewport={"width": width, "height": height}).new_page()
        page.goto(f"{url}#project={project}")
        page.wait_for_selector(FINISHED)
        page.wait_for_timeout(1500)
        page.locator(".segments button").last.click()
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("i")
        shoot(page, f"now-vertical-{name}")
        page.context.close()


def walk(browser: Browser, url: str, project: str) -> None:
    """The first page, and a finished take in all sizes and both themes."""
    for theme in ("dark", "light"):
        for name, (width, height) in SIZES.items():
            page = browser.new_context(viewport={"width": width, "height": height}).new_page()
            page.add_init_script(f"localStorage.setItem('studio.theme', '{theme}')")
            page.goto(f"{url}#project={project}")
            page.wait_for_selector(FINISHED)
            page.wait_for_timeout(1500)
            page.locator(".segments button").last.click()
            if theme == "light":
                page.locator("#tab-Sound").click()
                page.get_by_label("Music under speech").scroll_into_view_if_needed()
            else:
                page.evaluate("for (const one of document.querySelectorAll('.styles details')) one.open = true")
            shoot(page, f"now-{name}-{theme}")
            if (name, theme) == ("1440", "dark"):
                page.locator(FINISHED).click()
                shoot(page, "now-finished")
                page.goto(url)
                page.wait_for_selector(".examples button")
                shoot(page, "now-first")
            page.context.close()


def shoot_joins(browser: Browser, url: str, project: str) -> None:
    """The joins of a recording: one moved and locked, a span left out and another one chosen."""
    page = browser.new_context(viewport={"width": 1440, "height": 1300}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{url}#project={project}")
    page.wait_for_selector(".section .choose")
    page.locator("#tab-Sound").click()
    page.locator("[data-key=model]").select_option("music:free")
    page.locator("[data-key=score]").click()
    page.wait_for_selector("progress")
    page.wait_for_selector(FINISHED)
    page.wait_for_selector(".joins .part")
    page.locator(".segments button").last.click()
    number = page.locator(".joins .join")
    while number.count() < 2:  # a picture of joins has some
        page.get_by_role("button", name="Next best arrangement").click()
        page.wait_for_selector(".joins[aria-busy=true]", state="attached")
        page.wait_for_selector(".joins.draft[aria-busy=false]")
    number.first.focus()
    number.first.press("Enter")
    page.wait_for_selector(".joins .join.locked")
    lane = page.locator(".joins .lane.recording").bounding_box()
    assert lane is not None
    page.mouse.move(lane["x"] + 0.5 * lane["width"], lane["y"] + 20)
    page.mouse.down()
    page.mouse.move(lane["x"] + 0.6 * lane["width"], lane["y"] + 20, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="Leave it out").click()
    page.wait_for_selector(".decided li")
    page.keyboard.press("Home")
    page.get_by_role("button", name="Choose a span").click()
    page.wait_for_timeout(700)
    path = TARGET / "joins.jpg"
    page.locator("#timeline").screenshot(path=path, type="jpeg", quality=QUALITY)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    page.context.close()


def main(arguments: list[str]) -> None:
    """Take the pictures."""
    TARGET.mkdir(parents=True, exist_ok=True)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        if len(arguments) == 3:
            url = arguments[0].rstrip("/") + "/"
            walk(browser, url, arguments[1])
            shoot_joins(browser, url, arguments[1])
            walk_vertical(browser, url, arguments[2])
            return
        command = [sys.executable, "-m", "openvmas", "studio", "--port", "0", "--no-browser", "--folder", folder]
        studio = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        try:
            assert studio.stdout is not None
            found = re.search(r"http://\S+", studio.stdout.readline())
            assert found, "the studio did not start"
            video = Path(arguments[0]) if arguments else ROOT / "examples" / "city.mp4"
            url = found.group()
            project = make_project(browser.new_page(), url, video)
            walk(browser, url, project)
            shoot_joins(browser, url, project)
            tall = crop(video, Path(folder) / "vertical.mp4")
            walk_vertical(browser, url, make_project(browser.new_page(), url, tall))
            browser.close()
        finally:
            studio.terminate()
            studio.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
