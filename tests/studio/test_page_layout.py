"""What is on screen, on which screens, and whether the timeline says what is so."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.studio import browser as look
from tests.studio.kit import RunningStudio, submit, wait_job

pytestmark = pytest.mark.browser

LANES = "(await import('/static/studio/paint.js')).LANES"


def n_inked(page: Page, lane: str) -> int:
    """How many columns of a lane have something on its ground, at the middle of its height."""
    return page.evaluate(
        f"""async (lane) => {{
          const {{ top, height }} = {LANES}[lane];
          const canvas = document.querySelector('canvas.paint');
          const y = Math.round((top + height / 2 - 1) * devicePixelRatio);
          const {{ data }} = canvas.getContext('2d').getImageData(0, y, canvas.width, 1);
          const colours = Array.from({{ length: canvas.width }}, (_, x) => data.slice(4 * x, 4 * x + 3).join());
          return colours.filter((colour) => colour !== '21,24,29').length; // --paint-lane in the dark
        }}""",
        lane,
    )


def wait_inked(page: Page, lane: str, least: int) -> None:
    look.wait_until(page, "document.querySelector('canvas.paint').width > 100")
    for _ in range(600):
        if n_inked(page, lane) >= least:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"the lane {lane} stays empty")


def bottom(page: Page, selector: str) -> float:
    box = look.box_of(page.locator(selector))
    return box["y"] + box["height"]


@pytest.mark.parametrize(("width", "height"), [(1366, 657), (1280, 600), (390, 700)])
def test_score_and_the_music_are_on_the_first_screen(
    browser: Browser, sines: RunningStudio, watched: str, width: int, height: int
) -> None:
    with look.opened(browser, sines.url, viewport={"width": width, "height": height}) as page:
        look.open_plan(page, sines.url, watched)
        assert bottom(page, "[data-key=score]") <= height
        lane = page.evaluate(f"(async () => {LANES}.wave)()")
        spread, foot = look.box_of(page.locator(".spread")), look.box_of(page.locator(".foot"))
        floor = foot["y"] if width < 900 else height
        assert spread["y"] + lane["top"] + lane["height"] <= floor
        look.check_accessible(page, f"{width} by {height}")


def test_the_timeline_shows_music_and_original_whatever_is_heard(
    browser: Browser, sines: RunningStudio, fresh: str
) -> None:
    with sines.client() as client:
        job = submit(client, fresh, options={"music_gain": -40})
        wait_job(client, job["id"], "done")
        take = job["takes"][0]["id"]
    asked: list[str] = []
    with look.opened(browser, sines.url) as page:
        page.on("request", lambda request: asked.append(request.url))
        look.open_plan(page, sines.url, fresh)
        wait_inked(page, "wave", 400)  # the original is heard
        wait_inked(page, "voice", 400)
        wait_inked(page, "film", 400)
        assert any(f"{take}/peaks" in url for url in asked)
        assert not any("of=mix" in url for url in asked if "peaks" in url), "the lane of the music has no noise in it"
        page.locator(".brand").click()
        page.locator(".card").first.wait_for()
        look.open_plan(page, sines.url, fresh)
        for lane in ("film", "wave", "voice"):
            wait_inked(page, lane, 400)
