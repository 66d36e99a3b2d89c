"""The joins of a recording on the page: moved, locked, refused, spans kept and left out, and made into a take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page

from tests.studio import browser as look
from tests.studio.kit import RunningStudio
from tests.studio.recordings import arrangement_of, fitted, limits, lock_one
from tests.studio.test_takes import made

pytestmark = pytest.mark.browser
BAR = 2.0  # s, of the recording
SIZES = [(1440, 900), (1366, 657), (1024, 768), (390, 844)]
TEXTS = """one => [...one.querySelectorAll("button, .help, .names span, [aria-label]")]
  .map((it) => it.getAttribute("aria-label") ?? it.textContent).filter((text) => text && !/^[\\d:.–→ ]+$/.test(text))"""


@pytest.fixture(scope="module")
def client(sines: RunningStudio) -> Iterator[httpx.Client]:
    with sines.client() as client:
        yield client


@pytest.fixture()
def take(client: httpx.Client, longer: str, tmp_path: Path) -> dict[str, Any]:
    """A take of the recording that has a locked join at 6 s; its first take is another one."""
    first = fitted(client, longer, tmp_path)
    found = arrangement_of(client, first)
    edit = limits(found, joins=[lock_one(found)], held_begin=found["recording"]["marks"][0])
    (other,) = made(client, longer, kind="arrange", take=first["id"], arrangement=edit)
    joins = arrangement_of(client, other)["joins"]
    assert joins[0]["state"] == "locked" and joins[0]["time"] == pytest.approx(6, abs=0.1)
    return other


def open_joins(page: Page, url: str, project: str) -> Locator:
    """The handle of the first join, of the newest take."""
    look.open_plan(page, url, project)
    page.wait_for_selector(".joins .part")
    return page.locator(".joins .join").first


def settled(page: Page) -> None:
    """Until what was asked is worked out and shown."""
    look.wait_until(page, "Boolean(document.querySelector('.joins.draft[aria-busy=false]'))")


def time_of(handle: Locator) -> float:
    return float(handle.get_attribute("aria-valuenow") or "nan")


def state_of(page: Page) -> str:
    return page.locator(".joins-name [role=status]").inner_text()


def test_a_join_is_moved_by_keys_and_heard_as_it_was_shown(
    browser: Browser, sines: RunningStudio, client: httpx.Client, longer: str, take: dict[str, Any]
) -> None:
    with look.opened(browser, sines.url) as page:
        handle = open_joins(page, sines.url, longer)
        assert state_of(page) == "As in Take 2"
        before = time_of(handle)
        handle.focus()
        handle.press("ArrowRight")
        settled(page)
        assert time_of(handle) == pytest.approx(before + BAR, abs=0.15)
        assert "not heard yet" in state_of(page)
        assert look.from_api(page, f"projects/{longer}").json()["takes"][-1]["id"] == take["id"]
        shown = page.locator(".joins .join").evaluate_all("all => all.map((one) => one.getAttribute('aria-valuenow'))")
        with page.expect_response(lambda told: told.url.endswith("/jobs")):
            page.get_by_role("button", name="Make this take").click()
        look.wait_until(page, "document.querySelector('.joins-name [role=status]').textContent === 'As in Take 3'")
        newest = look.from_api(page, f"projects/{longer}").json()["takes"][-1]
        assert newest["kind"] == "arrange" and newest["parent"] == take["id"]
        found = arrangement_of(client, newest)
        assert [f"{join['time']:.2f}" for join in found["joins"] if join["state"] != "refused"] == shown
        assert look.player(page)["source"] == newest["id"]


def test_a_join_is_dragged_to_a_bar_line(
    browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any]
) -> None:
    """The place where it is let go is worked out; one change back is as it was; redrawing meanwhile changes nothing."""
    with look.opened(browser, sines.url) as page:
        handle = open_joins(page, sines.url, longer)
        handle.scroll_into_view_if_needed()
        before, box = time_of(handle), look.box_of(handle)
        scale = page.evaluate("document.querySelector('.scroll').clientWidth / 20")
        x, y = box["x"] + box["width"] / 2, box["y"] + 20
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 0.8 * BAR * scale, y, steps=5)
        page.evaluate("document.querySelector('.scroll').dispatchEvent(new Event('scroll'))")
        page.evaluate("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
        assert time_of(handle) == pytest.approx(before + BAR, abs=0.15)
        page.mouse.up()
        settled(page)
        assert time_of(handle) == pytest.approx(before + BAR, abs=0.15)
        page.get_by_role("button", name="One change back").click()
        assert time_of(handle) == pytest.approx(before, abs=0.001) and state_of(page) == "As in Take 2"


def test_a_join_is_unlocked_refused_and_taken_back(
    browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any]
) -> None:
    with look.opened(browser, sines.url) as page:
        handle = open_joins(page, sines.url, longer)
        before = handle.get_attribute("aria-valuetext") or ""
        assert before.endswith(", locked")
        handle.focus()
        handle.press("Enter")
        settled(page)
        assert (handle.get_attribute("aria-valuetext") or "").endswith(", free")
        assert time_of(handle) == pytest.approx(6, abs=0.2)  # nothing else has moved
        handle.press("Delete")
        chip = page.locator(".decided li", has_text="Refused")
        chip.wait_for()
        texts = page.locator(".joins .join").evaluate_all("all => all.map((one) => one.getAttribute('aria-valuetext'))")
        places = before.partition(", ")[2].rpartition(",")[0]
        assert not [text for text in texts if places in text]
        chip.get_by_role("button", name="Take back").click()
        chip.wait_for(state="detached")


def test_a_span_is_left_out_and_the_next_best_is_shown(
    browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any]
) -> None:
    """By the keyboard alone."""
    with look.opened(browser, sines.url) as page:
        open_joins(page, sines.url, longer)
        page.get_by_role("button", name="Choose a span").press("Enter")
        start, end = (page.get_by_role("slider", name=f"{name} of the span") for name in ("Start", "End"))
        length = time_of(end) - time_of(start)
        start.press("ArrowRight")
        assert time_of(end) - time_of(start) == pytest.approx(length - BAR, abs=0.1)
        span = (time_of(start), time_of(end))
        page.get_by_role("button", name="Leave it out").press("Enter")
        page.locator(".decided li", has_text="Left out").wait_for()
        assert page.evaluate("document.activeElement.textContent") == "Choose a span"
        again, shown = page.get_by_role("button", name="Next best arrangement"), []
        first = take["seed"] + 1
        for number in (first, first + 1):
            with page.expect_response(lambda told: told.url.endswith("/arrangement")) as answer:
                again.press("Enter")
            settled(page)
            assert (answer.value.request.post_data_json or {})["number"] == number
            shown.append(answer.value.json()["parts"])
        assert shown[0] != shown[1]
        for part in shown[1]:
            assert part["source_end"] <= span[0] + 0.1 or part["source_start"] >= span[1] - 0.1


def test_fast_presses_all_count(browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any]) -> None:
    with look.opened(browser, sines.url) as page:
        handle = open_joins(page, sines.url, longer)
        before = time_of(handle)
        handle.focus()
        handle.press("ArrowRight")
        handle.press("ArrowRight")
        now = "document.querySelector('.joins .join').getAttribute('aria-valuenow')"
        look.wait_until(page, f"Number({now}) > {before + 1.5 * BAR}")
        assert time_of(handle) == pytest.approx(before + 2 * BAR, abs=0.2)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_is_accessible_in_all_sizes(
    browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any], size: tuple[int, int]
) -> None:
    """Also with a draft, a chosen span and decisions on the screen."""
    with look.opened(browser, sines.url, viewport={"width": size[0], "height": size[1]}) as page:
        handle = open_joins(page, sines.url, longer)
        handle.focus()
        handle.press("Delete")
        page.locator(".decided li").wait_for()
        page.get_by_role("button", name="Choose a span").click()
        look.check_accessible(page, f"joins at {size[0]} px")
        assert page.locator(".credit-line").inner_text().startswith("Its file names no maker")
        assert page.locator(".joins").evaluate("one => one.scrollWidth <= one.clientWidth")


def test_every_word_is_there_in_four_languages(
    browser: Browser, sines: RunningStudio, longer: str, take: dict[str, Any]
) -> None:
    texts = {}
    for language in ("en", "de", "es", "zh"):
        with look.opened(browser, sines.url) as page:
            page.evaluate("name => localStorage.setItem('studio.language', name)", language)
            page.reload()
            open_joins(page, sines.url, longer)
            page.locator(".joins-head .button").nth(4).click()
            texts[language] = page.locator(".joins").evaluate(TEXTS)
    for language in ("de", "es", "zh"):
        assert len(texts[language]) == len(texts["en"]) > 15
        assert not set(texts[language]) & set(texts["en"])


def test_a_take_without_a_recording_has_no_joins(
    browser: Browser, sines: RunningStudio, client: httpx.Client, longer: str, take: dict[str, Any]
) -> None:
    """And of one whose recording was deleted it is said why they cannot be changed."""
    made(client, longer)
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, longer)
        page.locator(".segments button", has_text="Take 3").click()
        page.wait_for_selector(".joins", state="hidden")
        page.locator(".segments button", has_text="Take 2").click()
        page.wait_for_selector(".joins .part")
        client.delete(f"/projects/{longer}/sounds/{take['options']['music']}")
        page.reload()
        page.locator(".segments button", has_text="Take 2").click()
        told = "document.querySelector('.joins-name').textContent"
        look.wait_until(page, f"{told}.includes('not in this project any more')")
        look.check_accessible(page, "a recording that is gone")
