"""Edits on the page: none is lost to a key, to another tab or to planning again, and what is locked stays."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.studio import browser as look
from tests.studio.kit import RunningStudio, submit, wait_job

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


def heard_pair(page: Page) -> list[str]:
    return page.locator(".segments button").all_inner_texts()


def test_lock_keeps_plan_and_music_and_planning_again_asks(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    """And A and B are the last two takes, or a take and the one it was made from; R takes the one that is heard."""
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.evaluate("document.activeElement.blur()")
        for key in ("l", "l", "s"):
            page.keyboard.press(key)
        look.saved_plan(page)
        page.locator("[data-key=suggest]").click()
        dialog = page.get_by_role("dialog", name="Plan again?")
        assert "Sections 1 and 2 are as you made them" in dialog.inner_text()
        dialog.get_by_role("button", name="Cancel").click()
        assert len(look.saved_plan(page)["sections"]) == 2

        takes = []
        for n in (1, 2, 3):
            page.locator("[data-key=score]").click()
            takes.append(look.wait_player(page, f"!['original', ...{takes}].includes(data.source)")["source"])
            page.wait_for_selector("[data-key=score]")
            look.wait_until(page, f"document.querySelectorAll('.takes > li').length === {n}")
        assert heard_pair(page) == ["Original", "A Take 2", "B Take 3"]

        page.locator("#tab-Takes").click()
        page.locator(f"[data-key=hear-{takes[0]}]").click()
        look.wait_player(page, f"data.source === '{takes[0]}'")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("End")
        page.keyboard.press("r")
        redone = look.wait_player(page, f"!{takes}.includes(data.source)")["source"]
        page.wait_for_selector("[data-key=score]")
        look.wait_until(page, "document.querySelectorAll('.takes > li').length === 4")
        assert look.from_api(page, f"takes/{redone}").json()["parent"] == takes[0]
        assert heard_pair(page) == ["Original", "A Take 1", "B Take 4"]

        page.keyboard.press("End")  # the new part is played from a little before it
        page.keyboard.press("Shift+L")
        assert look.saved_plan(page)["sections"][1]["locked"]
        page.keyboard.press("r")
        page.get_by_text("Section 2 is locked, so its music stays").wait_for()
        page.locator("[data-key=score]").click()
        page.get_by_text("Locked sections keep the music of Take 4.").wait_for()
        kept = look.wait_player(page, f"![{takes}, '{redone}'].flat().includes(data.source)")["source"]
        page.wait_for_selector("[data-key=score]")
        assert look.from_api(page, f"takes/{kept}").json()["part"] == {"start": 0.0, "end": 2.0, "spans": [[0.0, 2.0]]}


def test_words_for_the_whole_are_seen_at_once(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        label = page.locator(".section .words").first
        before = label.inner_text()
        words = page.locator("[data-key=whole-text]")
        words.fill("dark tense drums qwxzv")
        words.press("Tab")
        label.get_by_text("dark tense drums").wait_for()
        assert label.inner_text() != before
        look.wait_until(page, "!document.querySelector('.section .words').textContent.includes('qwxzv')")
        page.get_by_text("not understood: 'qwxzv'").wait_for()
        assert "heard when you press Score" in page.locator("#panel-Plan").inner_text()


def test_a_take_says_its_licence_and_whom_to_name(browser: Browser, sines: RunningStudio, fresh: str) -> None:
    with sines.client() as client:
        wait_job(client, submit(client, fresh)["id"], "done")
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        page.locator("#tab-Takes").click()
        page.get_by_text("Licence and credit").click()
        page.get_by_text("sines 1, licence of the model: none needed").wait_for()
        line = page.locator(".credit").inner_text()
        assert line.startswith("Music: OpenVMAS ") and "sines 1 (none needed)" in line
        assert "nothing of you or your computer" in page.locator(".credits").inner_text()
        look.check_accessible(page, "licence")
