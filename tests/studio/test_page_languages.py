"""The page in each of its languages: nothing that it says, shows, or tells screen readers stays English."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from openvmas.studio.api.schemas import describe_options
from openvmas.studio.storage.examples import EXAMPLES
from openvmas.studio.storage.styles import NAMES
from tests.studio import browser as look
from tests.studio.kit import RunningStudio, submit, wait_job

STATIC = Path(__file__).resolve().parents[2] / "openvmas" / "studio" / "static" / "studio"
ROW = re.compile(r'^  \[("(?:[^"\\]|\\.)*"(?:, "(?:[^"\\]|\\.)*"){3})\],$', re.MULTILINE)
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
# Where a text stands that is shown or told, in the sources.
SAID = re.compile(
    r"(?:(?<![.\w])(?:say|tell|announce|notify|confirm|button|tool|jump|tickField|numberField|textField|choiceField)\(|"
    r'\b(?:title|placeholder|help|"aria-label"|text|yes|label): )"((?:[^"\\]|\\.)*)"'
)
GATHER = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const skipped =
      'script, style, datalist, noscript, kbd, .language, .credit, .stacked, [data-key^=mood-]';
    if (!walker.currentNode.parentElement.closest(skipped))
      found.push(walker.currentNode.textContent.trim());
  }
  for (const element of document.querySelectorAll('body *')) {
    if (element.closest('.card-style') && element.title) element.removeAttribute('title'); // the words it stands for
    for (const name of ['aria-label', 'title', 'placeholder', 'aria-valuetext', 'alt'])
      if (element.hasAttribute(name)) found.push(element.getAttribute(name));
  }
  return found.filter(Boolean);
}"""
# What is the same in Chinese: names, units, formats, keys, words that the composer knows.
SAME = re.compile(
    r"OpenVMAS|Studio|City|Landscape|A film|BPM|LUFS|LKFS|dBFS|dBTP|mini|symbolic|mp4|mov|mkv|webm|avi|ZIP|WAV|MIDI|"
    r"YAML|JSON|CSV|EDL|OTIO|OpenTimelineIO|DaVinci|Resolve|Final|Cut|Premiere|Pro|YouTube|Shorts|TikTok|Instagram|Reels|Spotify|"
    r"Apple|Podcasts|Music|Artists|EBU|ATSC|ITU|content loudness|Ctrl|Shift|Alt|Esc|Escape|Enter|Home|End|Delete|"
    r"openvmas|studio|hopeful|eerie|triumphant"
)


def table() -> list[list[str]]:
    """Rows of the page's table: English, German, Spanish, Chinese."""
    text = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in ("words.js", "labels.js"))
    return [[one.replace('\\"', '"') for one in TEXT.findall(row)] for row in ROW.findall(text)]


def test_every_row_is_whole() -> None:
    rows = table()
    english = [row[0] for row in rows]
    assert len(rows) > 500 and len(set(english)) == len(english)
    for row in rows:
        gaps = [set(re.findall(r"\{\d\}", text)) for text in row]
        assert len(row) == 4 and all(row) and gaps.count(gaps[0]) == 4, row


def test_every_text_of_the_sources_stands_in_the_table() -> None:
    """Also what is seldom shown, such as errors; and what comes from the server by name."""
    known = {row[0] for row in table()}
    missing = {
        f"{path.name}: {text}"
        for path in STATIC.glob("*.js")
        if path.name not in ("words.js", "labels.js")
        for text in SAID.findall(path.read_text(encoding="utf-8"))
        if re.search(r"[A-Za-z]{2}", text) and text not in known
    }
    shown = {
        "guidance",
        "event_guidance",
        "loudness",
        "true_peak",
        "candidates",
        "temperature",
        "top_k",
        "top_p",
        "seed",
    }
    shown |= {"music_gain", "original_gain", "duck", "sweeten_gain"}
    helps = {option.help for option in describe_options() if option.name in shown}
    missing |= {text for text in (*helps, *NAMES, *(one.about for one in EXAMPLES)) if text not in known}
    assert missing - {"elements.js: ", "delivery.js: OpenTimelineIO"} == set()


def walk(page: Page, url: str, project: str) -> dict[str, str]:
    """Texts that stand on the page or are told by it → the state in which each was met."""
    found: dict[str, str] = {}

    def gather(state: str) -> None:
        page.wait_for_timeout(150)
        for text in page.evaluate(GATHER):
            found.setdefault(text, state)

    page.locator(".choice").first.wait_for()
    gather("first page")
    look.open_plan(page, url, project)
    page.locator(".section .choose").first.click()
    gather("plan")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(".")
    gather("accent")
    for tab in ("Sound", "Takes"):
        page.locator(f"#tab-{tab}").click()
        gather(tab)
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    gather("everything unfolded")
    page.evaluate("document.activeElement.blur()")
    for key in ("x", "i", "v", "h", "s", "]", "Shift+L", "o", "m"):
        page.keyboard.press(key)
        gather(f"after {key}")
    page.keyboard.press("?")
    gather("keys")
    page.keyboard.press("Escape")
    look.wait_until(
        page, "document.getElementById('saved').textContent === document.getElementById('saved').textContent"
    )
    page.locator("#actions button.plain").first.click()
    page.locator("#dialog .history").wait_for()
    gather("history")
    page.keyboard.press("Escape")
    return found


@pytest.mark.browser
@pytest.mark.parametrize(("language", "column"), [("de", 1), ("es", 2), ("zh", 3)])
def test_no_state_of_the_page_says_what_is_known_otherwise(
    browser: Browser, sines: RunningStudio, fresh: str, language: str, column: int
) -> None:
    with sines.client() as client:
        wait_job(client, submit(client, fresh)["id"], "done")
    known = {row[0]: row[column] for row in table()}
    with look.opened(browser, sines.url, viewport={"width": 1440, "height": 900}) as page:
        page.evaluate("name => localStorage.setItem('studio.language', name)", language)
        page.reload()
        found = walk(page, sines.url, fresh)
        assert page.evaluate("document.documentElement.lang") == language
    left = {text: state for text, state in found.items() if known.get(text, text) != text}
    assert not left
    if language == "zh":  # whatever has letters is a name, or was forgotten
        letters = {text: state for text, state in found.items() if re.search("[A-Za-z]{3,}", SAME.sub("", text))}
        assert not letters, "\n".join(letters)
