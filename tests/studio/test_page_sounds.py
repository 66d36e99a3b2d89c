"""Recordings on the page: chosen or dropped, they become the music, what it sounds like, or a section's example."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.studio import browser as look
from tests.studio.kit import RunningStudio
from tests.studio.recordings import beats

pytestmark = pytest.mark.browser

DROP = """([bytes, name, place]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, { type: 'audio/wav' }));
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  document.querySelector(place).dispatchEvent(new DragEvent("drop", how));
}"""


def test_a_song_is_dropped_in(browser: Browser, sines: RunningStudio, fresh: str, tmp_path: Path) -> None:
    """Asked what it is for; Score then plays it, and the take says so."""
    song = beats(tmp_path / "Holiday song.wav")
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.evaluate(DROP, [list(song), "Holiday song.wav", "#stage"])
        page.wait_for_selector("dialog[open] .choice[value=music]")
        look.check_accessible(page, "asked what a song is for")
        page.click("dialog .choice[value=music]")
        page.locator("#tab-Sound").click()
        look.wait_until(page, "document.querySelector('[data-key=model]').value.startsWith('music:')")
        with page.expect_response(lambda told: told.url.endswith("/jobs")):
            page.locator("[data-key=score]").click()
        page.locator("#tab-Takes").click()
        page.wait_for_selector(".take a.button")
        look.check_accessible(page, "a take that plays a recording")
        found = look.from_api(page, f"projects/{fresh}").json()
    assert [take["model"] for take in found["takes"]] == ["recording"]


def test_a_sound_on_a_section_has_that_section_written_like_it(
    browser: Browser, sines: RunningStudio, fresh: str, tmp_path: Path
) -> None:
    sound = beats(tmp_path / "drums.wav")
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.locator("[data-key=score]").click()
        page.locator("#tab-Takes").click()
        page.wait_for_selector(".take a.button")
        with page.expect_response(lambda told: told.url.endswith("/jobs")) as answer:
            page.evaluate(DROP, [list(sound), "drums.wav", ".section .choose"])
        job = answer.value.json()
    assert job["kind"] == "redo" and len(job["options"]["like"]) == 32
