"""A part of the music that is marked, by mouse, keys or a finger, and written again; and vertical videos."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from tests.clips import write_clip
from tests.studio import browser as look
from tests.studio.kit import RunningStudio, make_project, submit, wait_job

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tall(sines: RunningStudio, tmp_path_factory: pytest.TempPathFactory) -> str:
    clip = write_clip(tmp_path_factory.mktemp("tall") / "tall.mp4", 3.0, size=(144, 256))
    with sines.client() as client:
        return make_project(client, clip)


def music_point(page: Page, time: float, duration: float = 5.0) -> tuple[float, float]:
    """Where a time lies on the music's lane, px."""
    lane = look.box_of(page.locator(".volume"))
    return lane["x"] + lane["width"] * time / duration, lane["y"] + lane["height"] / 2


def marked(page: Page) -> list[float]:
    return [float(page.locator(f".edge.{name}").get_attribute("aria-valuenow") or -1) for name in ("start", "end")]


def scored(sines: RunningStudio, project: str) -> dict[str, Any]:
    with sines.client() as client:
        job = submit(client, project, options={"model": "mini"})
        wait_job(client, job["id"], "done")
        return job["takes"][0]


def test_a_part_is_marked_by_mouse_and_written_again(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    first = scored(sines, fresh)
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.keyboard.down("Alt")  # not drawn to cuts
        page.mouse.move(*music_point(page, 1.0))
        page.mouse.down()
        page.mouse.move(*music_point(page, 1.4), steps=3)
        page.mouse.move(*music_point(page, 3.0), steps=3)
        page.mouse.up()
        page.keyboard.up("Alt")
        start, end = marked(page)
        assert (start, end) == (pytest.approx(1.0, abs=0.05), pytest.approx(3.0, abs=0.05))
        assert start * 25 == pytest.approx(round(start * 25)), "it lies on frames"
        look.check_accessible(page, "a marked part")
        page.locator("[data-key=again-part]").click()
        look.wait_until(page, "document.querySelector('[data-key=again-part]:disabled') === null")
        page.wait_for_selector("[data-key=score]")
        takes = look.from_api(page, f"projects/{fresh}").json()["takes"]
        assert [round(takes[1]["part"][name], 2) for name in ("start", "end")] == [round(start, 2), round(end, 2)]
        seconds = [[look.samples(page, take["id"], n) for n in range(5)] for take in (first, takes[1])]
        before, after = (np.concatenate(one) for one in seconds)
        changed = np.flatnonzero(before != after) / 2 / 48_000
        assert changed.min() >= start - 0.05 and changed.max() <= end + 0.05
        assert changed.max() - changed.min() > 1.5


def test_a_part_is_marked_by_keys_alone(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.keyboard.press("i")
        assert marked(page) == [0.0, 4.0]
        assert page.evaluate("document.activeElement.className") == "edge end"
        page.keyboard.press("ArrowLeft")
        assert marked(page)[1] == pytest.approx(3.96)
        page.keyboard.press("PageDown")
        page.keyboard.press("Shift+ArrowRight")
        assert marked(page)[1] == pytest.approx(3.36)
        page.keyboard.press("Shift+Tab")
        for _ in range(3):
            page.keyboard.press("PageUp")
        start, end = marked(page)
        assert end - start == pytest.approx(0.5, abs=0.05), "a part keeps a length that can be written"
        page.keyboard.press("r")
        page.locator("#faults", has_text="Score the video first").wait_for()
        page.keyboard.press("Escape")
        page.locator(".part").wait_for(state="hidden")


def test_a_part_is_dragged_by_a_finger(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with look.opened(browser, sines.url, **phone) as page:
        look.open_plan(page, sines.url, fresh)
        page.get_by_role("button", name="Mark (I)").tap()
        assert marked(page) == [0.0, 4.0]
        box = look.box_of(page.locator(".edge.end"))
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = page.context.new_cdp_session(page)
        far = music_point(page, 2.5)[0]
        for kind, at in (("touchStart", x), ("touchMove", (x + far) / 2), ("touchMove", far), ("touchEnd", None)):
            points = [] if at is None else [{"x": at, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        look.wait_until(page, "document.querySelector('.edge.end').ariaValueNow < 3")
        assert marked(page)[1] == pytest.approx(2.5, abs=0.15)
        page.locator("[data-key=unmark]").tap()
        page.locator(".part").wait_for(state="hidden")


def test_a_take_says_which_voice_was_chosen_and_why(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    with sines.client() as client:
        job = submit(client, fresh)
        wait_job(client, job["id"], "done")
        take = client.get(f"/takes/{job['takes'][0]['id']}").json()
    assert take["model"] in ("mini", "symbolic") and take["voice"]["model"] == take["model"]
    assert take["voice"]["reason"].startswith(f"{take['model']}, because ")
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.locator("#tab-Sound").click()
        assert page.locator("[data-key=model]").input_value() == "auto"
        page.locator("#tab-Takes").click()
        said = page.locator(f"[data-key=voice-{take['id']}]").inner_text()
        assert said.startswith(f"Written by {take['model']}: ") and take["voice"]["reasons"][0] in said


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1366, 657), (1024, 768), (390, 844)])
def test_a_vertical_video_stands_beside_its_timeline(
    browser: Browser, sines: RunningStudio, tall: str, width: int, height: int
) -> None:
    with look.opened(browser, sines.url, viewport={"width": width, "height": height}) as page:
        look.open_plan(page, sines.url, tall)
        page.wait_for_selector("[data-key=score]:enabled")
        picture, timeline, score = (
            look.box_of(page.locator(selector)) for selector in ("#stage", ".scroll", "[data-key=score]")
        )
        assert score["y"] + score["height"] <= height
        beside = timeline if width > 900 else look.box_of(page.locator("#transport"))
        assert beside["x"] >= picture["x"] + picture["width"] - 1
        assert picture["height"] > picture["width"] * 1.5
        if width > 900:
            assert picture["height"] >= height * 0.6 and timeline["y"] < height / 2
        look.check_accessible(page, f"vertical at {width} by {height}")


def test_cards_hints_volume_and_delivery_are_accessible(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    with look.opened(browser, sines.url, viewport={"width": 1440, "height": 900}) as page:
        look.open_plan(page, sines.url, fresh)
        page.locator(".hint-card").wait_for()
        page.locator(".card-style .hear:enabled").first.wait_for()
        look.check_accessible(page, "cards and a hint")
        scored(sines, fresh)
        page.reload()
        page.locator("[data-key=deliver]").click()
        page.locator("#dialog[open]").wait_for()
        look.check_accessible(page, "delivery")
        page.keyboard.press("Escape")
        page.keyboard.press("v")
        lane = look.box_of(page.locator(".volume"))
        page.mouse.click(lane["x"] + lane["width"] / 3, lane["y"] + 30)
        page.locator(".point").first.wait_for()
        look.check_accessible(page, "volume")
