"""A listener in real Chromium: a whole small study on a phone in the dark, with the tab closed in between."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from openvmas.study.results import collect
from openvmas.study.server import make_app
from openvmas.study.session import Study
from openvmas.study.store import Store
from openvmas.study.study_builder import create
from openvmas.study.study_settings import StudyPlan, StudySettings
from tests.study.made import write_systems

pytestmark = pytest.mark.browser

CHROMIUM = next((p for name in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(name))), None)
PHONE = {"width": 390, "height": 844}
# Sixteen times faster, so that a study takes seconds; it still plays to the end.
HURRY = """
const play = HTMLMediaElement.prototype.play;
HTMLMediaElement.prototype.play = function () { this.playbackRate = 16; return play.call(this); };
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("page")
    systems = write_systems(folder, ("ours", "rival"), 2, duration=2.2)
    settings = StudySettings.of(title="Two ways", seconds=2, picture_pairs=1, sound_pairs=1, checks=1)
    create(StudyPlan(systems, None, settings), folder / "study")
    return Study(folder / "study")


@contextlib.contextmanager
def running(study: Study) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(make_app(study, "a token of tests"), port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "the tests of the page need Chromium; see `make browser`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        yield browser
        browser.close()


class Visit:
    """A page that is watched: what went wrong in it, and what it asked of other places."""

    def __init__(self, browser: Browser, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(60_000)
        self.faults: list[str] = []
        self.outside: list[str] = []
        self.page = self.open()

    def open(self) -> Page:
        page = self.context.new_page()
        page.add_init_script(HURRY)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: None if "//127.0.0.1:" in asked.url else self.outside.append(asked.url))
        return page


def faults_of_access(page: Page) -> list[str]:
    found = Axe().run(page)
    return [
        f"{item['id']}: {item['help']}"
        for item in found.response["violations"]
        if item["impact"] in ("serious", "critical")
    ]


def play_all(page: Page) -> float:
    """Play everything by its buttons; returns the furthest time that a player reached."""
    for button in page.locator(".play").all():
        button.click()
        button.locator(".heard", has_text="heard").wait_for()
    return page.evaluate("Math.max(...[...document.querySelectorAll('audio, video')].map(item => item.currentTime))")


def forward(page: Page, study: Study, steps: list[str]) -> None:
    """Do the step on the screen as somebody with headphones does, and wait for the next."""
    step = study.plan(0)[page.evaluate("state.step")]
    before = page.locator("#count").inner_text()
    if step.kind == "volume":
        page.locator(".play").click()
        page.locator('.main[aria-disabled="false"]').wait_for()
    else:
        assert page.locator('.main[aria-disabled="true"]').count() == 1
        assert play_all(page) > 1.5
        wanted = step.right or {"pair": "b", "rating": "4"}[step.kind]
        for group in page.locator("fieldset").all():
            group.locator(f'input[value="{wanted}"]').check()
    steps.append(step.kind)
    page.locator(".actions .main").click()
    page.wait_for_function("before => document.getElementById('count').textContent !== before", arg=before)


def test_a_whole_study_on_a_phone_in_the_dark(study: Study, browser: Browser) -> None:
    visit = Visit(browser, viewport=PHONE, color_scheme="dark", has_touch=True, is_mobile=True)
    page, steps, looked = visit.page, [], set()
    with running(study) as address:
        page.goto(address)
        page.locator(".agree").wait_for()
        assert faults_of_access(page) == []
        page.get_by_role("button", name="Begin").click()
        assert "Please agree first" in page.locator(".actions p").inner_text()
        page.get_by_label("I have read this").check()
        page.get_by_role("button", name="Begin").click()
        page.locator(".play").first.wait_for()
        while not page.evaluate("state.done"):
            kind = page.evaluate("state.kind + state.has_picture")
            if kind not in looked:
                looked.add(kind)
                assert faults_of_access(page) == [], kind
                assert page.evaluate("document.documentElement.scrollWidth") <= 390, kind
                assert page.evaluate("document.activeElement.tagName") == "H1"  # a screen reader begins there
            forward(page, study, steps)
            if len(steps) == 8:  # the tab is closed; what was answered is still there, through the link or the device
                link = page.url
                page.close()
                page = visit.open()
                page.goto(address)
                page.get_by_role("button", name="Continue where I stopped").click()
                page.wait_for_function("() => state && state.position === 8")
                assert page.url == link
        assert page.locator("h1").inner_text() == "Thank you!"
        assert faults_of_access(page) == []
    assert steps.count("headphones") == 6 and steps.count("pair") == 6 and steps.count("rating") == 6
    assert {"pairtrue", "pairfalse", "ratingtrue"} <= looked
    assert visit.faults == [] and visit.outside == []
    (listener,) = collect(study.folder).listeners
    assert set(listener.reasons) <= {"too fast"}  # as it was, at sixteen times the speed, but on a slow machine
    assert all(answer.heard > 1.5 for step, answer in listener.trials)
    assert {answer.choice for step, answer in listener.trials if step.kind == "pair"} == {"b"}
    visit.context.close()


def test_keyboard_alone_and_light_and_taking_back(study: Study, browser: Browser) -> None:
    visit = Visit(browser, viewport={"width": 1100, "height": 800}, color_scheme="light")
    page, before = visit.page, len(Store(study.folder).sessions())
    with running(study) as address:
        page.goto(address)
        page.locator("#agree").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(".play").first.wait_for()
        assert faults_of_access(page) == []
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("() => document.querySelector('audio').currentTime > 0.2")
        assert page.locator(".play").inner_text().startswith("Pause")
        page.locator('.main[aria-disabled="false"]').wait_for()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_function("() => state.step === 1")
        page.locator(".actions .main").focus()
        page.keyboard.press("Enter")  # nothing heard, nothing chosen
        assert "listen to it to the end" in page.locator(".actions p").inner_text()
        page.locator('input[value="1"]').focus()
        page.keyboard.press("ArrowRight")
        assert page.locator('input[value="2"]').is_checked()
        assert page.evaluate("state.step") == 1
        assert len(Store(study.folder).sessions()) == before + 1
        page.get_by_role("button", name="Stop and delete").click()
        page.get_by_role("button", name="Delete them").click()
        page.get_by_text("Your answers are deleted").wait_for()
        assert len(Store(study.folder).sessions()) == before
    assert visit.faults == [] and visit.outside == []
    visit.context.close()


def test_a_lost_connection_loses_no_answer(study: Study, browser: Browser) -> None:
    visit = Visit(browser)
    page = visit.page
    with running(study) as address:
        page.goto(address)
        page.get_by_label("I have read this").check()
        page.get_by_role("button", name="Begin").click()
        page.locator(".play").click()
        page.locator('.main[aria-disabled="false"]').wait_for()
        visit.context.set_offline(True)
        page.locator(".actions .main").click()
        page.get_by_text("The connection is interrupted").wait_for()
        visit.context.set_offline(False)
        page.locator(".actions .main").click()
        page.wait_for_function("() => state.step === 1")
        page.goto(f"{address}/s/{'x' * 22}")
        page.get_by_text("there is no such session").wait_for()
    visit.context.close()
