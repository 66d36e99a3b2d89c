"""Edits on the page: none is lost to a key, to another tab or to planning again, and what is locked stays."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.studio import browser as look
from tests.studio.kit import RunningStudio

pytestmark = pytest.mark.browser


def test_what_is_typed_is_in_the_music_that_ctrl_enter_asks_for(
    browser: Browser, sines: RunningStudio, fresh: str
) -> None:
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        words = page.locator("[data-key=whole-text]")
        words.press_sequentially("calm piano")
        words.press("Control+Enter")
        take = look.wait_player(page, "data.source !== 'original'")["source"]
        assert "calm piano" in look.from_api(page, f"takes/{take}/plan.yaml").text()
        assert look.saved_plan(page)["text"] == "calm piano"
        assert page.evaluate("document.activeElement.dataset.key") == "whole-text"
        page.wait_for_selector("[data-key=score]")


def test_two_tabs_keep_each_others_edits(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    """A tab shows what another has changed; where both change at once both edits are kept, or the loser is told."""

    def say(page: Page, words: str) -> None:
        page.locator("[data-key=whole-text]").fill(words)
        page.locator("[data-key=whole-text]").press("Tab")

    with look.opened(browser, sines.url) as one:
        look.open_plan(one, sines.url, fresh)
        other = one.context.new_page()
        look.open_plan(other, sines.url, fresh)
        say(one, "calm")
        look.wait_until(other, "document.querySelector('[data-key=whole-text]').value === 'calm'")

        def energy() -> float:
            return look.from_api(other, f"projects/{fresh}/plan").json()["sections"][0]["energy"]

        # The other one hears nothing, as if it were on another machine, and has half of an edit under way.
        other.evaluate("BroadcastChannel.prototype.postMessage = () => null")
        one.evaluate("BroadcastChannel.prototype.postMessage = () => null")
        before = energy()
        say(one, "epic")
        look.saved_plan(one)
        other.locator(".level").first.focus()
        other.keyboard.press("ArrowDown")
        look.wait_until(other, "document.querySelector('[data-key=whole-text]').value === 'epic'")
        assert look.saved_plan(other)["text"] == "epic" and energy() < before

        other.evaluate("document.activeElement.blur()")
        other.keyboard.press("l")
        other.keyboard.press("l")
        other.keyboard.press("s")
        look.saved_plan(other)
        one.locator(".level").first.focus()
        one.keyboard.press("ArrowDown")
        one.get_by_text("The plan was changed in another window meanwhile").wait_for()
        assert one.locator(".section").count() == 2
        assert len(look.saved_plan(one)["sections"]) == 2
