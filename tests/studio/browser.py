"""Chromium on the studio's page: how tests look at it, wait for it and judge it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    APIResponse,
    Browser,
    ConsoleMessage,
    FloatRect,
    Locator,
    Page,
    sync_playwright,
)

from openvmas.studio.storage.take_sound import HEADER

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120_000  # ms; only a busy machine needs that long
EXPECTED = ("Failed to load resource",)  # what browsers write about answers that are refusals on purpose


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium here")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, **more: Any) -> Iterator[Page]:
    """A page that may neither raise nor log an error, the violation of its content policy among them."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **more})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    faults: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        if said.type == "error":
            faults.append(said.text)

    page.on("console", hear)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    yield page
    context.close()
    assert not [fault for fault in faults if not fault.startswith(EXPECTED)]


def player(page: Page) -> dict[str, str]:
    """What the page tells of its playing (player.js)."""
    return page.evaluate("({...document.getElementById('player').dataset})")


def wait_until(page: Page, expression: str) -> Any:
    """What an expression of the page gives, as soon as that is true. (Playwright's own waiting evaluates text inside
    the page, which the studio's content policy forbids.)"""
    until = time.monotonic() + PATIENCE / 1000
    while not (found := page.evaluate(expression)):
        assert time.monotonic() < until, f"waited in vain for: {expression}"
        page.wait_for_timeout(40)
    return found


def wait_player(page: Page, condition: str) -> dict[str, str]:
    """Until a condition on `data`, the player's data attributes, holds; returns them."""
    reading = "const data = {...document.getElementById('player').dataset}"
    return wait_until(page, f"(() => {{ {reading}; return {condition} && data }})()")


def open_plan(page: Page, url: str, project: str) -> None:
    """Open a project that has been watched."""
    page.goto(f"{url}/#project={project}")
    page.wait_for_selector(".section .choose")


def saved_plan(page: Page) -> dict[str, Any]:
    """The plan as the server has it, once the page has saved it."""
    wait_until(page, "document.getElementById('saved').textContent === 'Saved'")
    return from_api(page, f"projects/{project_of(page)}/plan").json()


def project_of(page: Page) -> str:
    return page.url.partition("#project=")[2]


def from_api(page: Page, path: str) -> APIResponse:
    """What the API answers to the page's user."""
    answer = page.request.get(f"{page.url.partition('#')[0]}api/{path}")
    assert answer.ok, answer.text()
    return answer


def box_of(element: Locator) -> FloatRect:
    """Where an element lies once it lies still, px.

    Redrawing puts another in its place, and in that moment there is none to measure; what comes in above moves it on.
    """
    before = None
    for _ in range(PATIENCE // 100):
        if (box := element.bounding_box()) and box == before:
            return box
        before = box
        time.sleep(0.1)
    raise AssertionError(f"{element} is not shown or does not lie still")


def samples(page: Page, take: str, second: int) -> np.ndarray:
    """The music of one second of a take, as it is fetched to be heard: float32."""
    return np.frombuffer(from_api(page, f"takes/{take}/blocks/{second}").body()[HEADER:], "<f4")


def check_accessible(page: Page, state: str) -> None:
    """axe finds nothing serious in either theme, and nothing is wider than the screen."""
    for theme in ("light", "dark"):
        page.evaluate("theme => (document.documentElement.dataset.theme = theme)", theme)
        # Themes differ in nothing but colours.
        rules = {"runOnly": ["color-contrast"]} if theme == "dark" else {}
        found = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        serious = [
            f"{rule['id']}: {node['html'][:120]} ({node['failureSummary'][:200]})"
            for rule in found
            for node in rule["nodes"]
            if rule["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{state}, {theme}: " + "\n".join(serious)
    wide, screen = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen, f"{state} is {wide} px wide on a screen of {screen}"


def cut_clip(source: Path, target: Path, duration: float) -> Path:
    """The packets of the first seconds, picture and sound."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        kept = [*reader.streams.video[:1], *reader.streams.audio[:1]]
        copies = {stream.index: writer.add_stream_from_template(stream) for stream in kept}
        for packet in reader.demux(kept):
            if packet.pts is not None and packet.dts is not None and packet.pts * packet.time_base < duration:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
    return target


def picture_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def sound_of(path: Path) -> tuple[float, float]:
    """Length in s, and the highest sample."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        waves = [frame.to_ndarray() for frame in container.decode(stream)]
        n_samples = sum(frame.shape[-1] for frame in waves)
        return n_samples / stream.rate, max(float(abs(wave).max()) for wave in waves)
