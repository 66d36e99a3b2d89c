"""The way of a creator through the page, in real Chromium, with the real model: from a file to a downloaded film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.take_sound import HEADER
from tests.studio import browser as look
from tests.studio.kit import RunningStudio, running, submit, wait_job

pytestmark = pytest.mark.browser

DURATION = 4.0  # s of the clip


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running(tmp_path_factory.mktemp("studio"), is_real=True) as studio:
        yield studio


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return look.cut_clip(look.ROOT / "examples" / "city.mp4", tmp_path_factory.mktemp("clip") / "city.mp4", DURATION)


def test_from_a_file_to_a_film(browser: Browser, studio: RunningStudio, clip: Path, tmp_path: Path) -> None:
    with look.opened(browser, studio.url) as page:
        look.check_accessible(page, "first page")
        page.set_input_files("#file", clip)
        page.wait_for_selector(".section .choose")
        look.check_accessible(page, "plan")
        edit_by_mouse_and_keys(page)
        first = score_and_hear(page)
        look.check_accessible(page, "scored")
        second = write_a_section_again(page, first)
        compare(page, first, second)
        undo_and_come_back(page)
        download(page, second, clip, tmp_path)
        project = look.project_of(page)
        score_with_notes(page)
    write_a_span_again(studio, project, first)


def score_with_notes(page: Page) -> None:
    """The voice that writes notes is chosen on the page; its take says so and comes with MIDI and stems."""
    page.locator("#tab-Sound").click()
    with page.expect_response(lambda told: told.request.method == "PATCH"):
        page.locator("[data-key=model]").select_option("symbolic")
    assert "MIDI and stems" in page.locator("#panel-Sound").inner_text()
    page.locator(".section .choose").nth(0).focus()
    page.keyboard.press("Shift+L")  # what is locked is kept as sound of another voice, and has no notes
    look.wait_until(page, "!document.querySelector('.section.locked')")
    page.locator("#tab-Takes").click()
    before = page.locator(".takes > li").count()
    page.locator("[data-key=score]").click()
    page.locator(".takes > li").nth(before).wait_for()
    page.wait_for_selector("[data-key=score]")
    take = page.locator(".takes > li").first
    take.get_by_text("symbolic").first.wait_for()
    take.get_by_text("All files").click()
    with page.expect_download() as waiting:
        take.get_by_role("link", name="MIDI").click()
    assert Path(waiting.value.path()).read_bytes()[:4] == b"MThd"
    assert take.get_by_role("link", name="Stems (ZIP)").count() == 1


def edit_by_mouse_and_keys(page: Page) -> None:
    """Split at 3 s, drag the border to 2.6 s, move it on by 2 frames, a hit at 1 s, lock."""
    page.evaluate("document.activeElement.blur()")
    for _ in range(3):
        page.keyboard.press("l")
    page.keyboard.press("s")
    plan = look.saved_plan(page)
    assert [section["end"] for section in plan["sections"]] == [3.0, DURATION]

    border = page.locator(".border")
    box, lane = look.box_of(border), look.box_of(page.locator(".spread"))
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.down()
    # Alt: not to be drawn to a cut.
    page.keyboard.down("Alt")
    page.mouse.move(middle[0] - 0.4 * lane["width"] / DURATION, middle[1] + 5, steps=5)
    page.mouse.up()
    page.keyboard.up("Alt")
    dragged = look.saved_plan(page)["sections"][0]["end"]
    assert dragged == pytest.approx(2.6, abs=0.0401)
    assert dragged * 25 == pytest.approx(round(dragged * 25)), "a border lies on a frame"

    border.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert look.saved_plan(page)["sections"][1]["start"] == pytest.approx(dragged + 0.08)

    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    page.keyboard.press("l")
    page.keyboard.press("h")
    own = [hit for hit in look.saved_plan(page)["hits"] if hit["source"] == "user"]
    assert [hit["time"] for hit in own] == [1.0]

    page.locator(".section .choose").nth(0).click()
    page.get_by_role("button", name="hopeful").click()
    page.locator(".section .choose").nth(0).focus()
    page.keyboard.press("Shift+L")
    plan = look.saved_plan(page)
    assert plan["sections"][0]["locked"] and plan["sections"][0]["text"] == "hopeful"
    assert page.locator("[data-key=section-text]").is_disabled()


def score_and_hear(page: Page) -> str:
    """Press Score; music is heard before the job is done, in step with the picture; returns the take."""
    page.locator("[data-key=score]").click()
    begun = look.wait_player(page, "data.firstSoundMs && data.state === 'playing'")
    heard = look.wait_player(page, "Number(data.clock) > 1.5 && Number(data.peakDb) > -45")
    assert page.evaluate("document.querySelector('video').currentTime") > 1.0
    page.wait_for_selector("[data-key=score]")
    look.wait_player(page, "data.state === 'stopped'")
    print(f"first sound after {begun['firstSoundMs']} ms, {look.player(page)['underruns']} interruptions,", end=" ")
    print(f"picture {heard.get('driftMs')} ms from the music")
    assert abs(float(heard["driftMs"])) < 150
    page.wait_for_selector("#report:not([hidden])")
    assert "moments have an onset" in page.inner_text(".verdict")
    return heard["source"]


def write_a_section_again(page: Page, first: str) -> str:
    """Section 2 anew; its neighbour stays as it was, sample for sample, until just before the border."""
    page.locator(".section .choose").nth(1).click()
    page.locator("[data-key=again]").click()
    second = look.wait_player(page, f"!['original', '{first}'].includes(data.source)")["source"]
    page.wait_for_selector("[data-key=score]")
    before, after = ([look.samples(page, take, at) for at in (0, 3)] for take in (first, second))
    assert np.array_equal(before[0], after[0]) and np.abs(before[0]).max() > 0.01
    assert not np.array_equal(before[1], after[1])
    page.locator("#report h2", has_text="Take 2").wait_for()
    assert "Seam at" in page.locator("#report").inner_text()
    return second


def compare(page: Page, first: str, second: str) -> None:
    """A and B switch at the same place without a stop."""
    page.evaluate("document.activeElement.blur()")
    if look.player(page)["state"] != "stopped":  # the part that was written again is still being heard
        page.keyboard.press(" ")
        look.wait_player(page, "data.state === 'stopped'")
    page.keyboard.press("Home")
    page.keyboard.press(" ")
    before = look.wait_player(page, "data.state === 'playing' && Number(data.clock) > 0.5")
    page.keyboard.press("x")
    after = look.wait_player(page, f"data.source !== '{before['source']}' && Number(data.clock) > {before['clock']}")
    assert {before["source"], after["source"]} == {first, second}
    assert after["state"] == "playing" and float(after["clock"]) - float(before["clock"]) < 3
    page.keyboard.press(" ")
    look.wait_player(page, "data.state === 'stopped'")


def undo_and_come_back(page: Page) -> None:
    """Undo takes the lock away; after loading the page anew everything is there."""
    page.keyboard.press("Control+z")
    look.wait_until(page, "!document.querySelector('.section').classList.contains('locked')")
    assert not look.saved_plan(page)["sections"][0]["locked"]
    page.keyboard.press("Control+Shift+Z")
    page.wait_for_selector(".section.locked")
    page.reload()
    page.wait_for_selector(".section.locked")
    assert page.locator(".section").count() == 2
    assert page.locator(".segments button").all_inner_texts() == ["Original", "A Take 1", "B Take 2"]


def download(page: Page, take: str, clip: Path, folder: Path) -> None:
    """The film has the clip's own picture packets and sound as long as its picture."""
    page.locator("#tab-Takes").click()
    look.check_accessible(page, "takes")
    with page.expect_download() as waiting:
        page.locator(f"[data-key=get-{take}]").click()
    film = folder / waiting.value.suggested_filename
    waiting.value.save_as(film)
    assert look.picture_packets(film) == look.picture_packets(clip)
    length, peak = look.sound_of(film)
    assert length == pytest.approx(DURATION, abs=0.05)
    assert 0.05 < peak <= 1
    page.locator(f"details[data-take='{take}'] summary").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Markers (EDL)").first.click()
    assert waiting.value.suggested_filename.endswith(".edl")


def write_a_span_again(studio: RunningStudio, project: str, first: str) -> None:
    """Any span of a take anew by the API: the codes outside it are the same, and the seams are measured."""
    with studio.client() as client:
        found = client.get(f"/takes/{first}").json()
        assert found["can_redo"] and found["report"]["model"]["name"] == "mini"
        plan = client.get(f"/projects/{project}/plan").json()
        plan["sections"] = [section | {"locked": False} for section in plan["sections"]]
        client.put(f"/projects/{project}/plan", json=plan).raise_for_status()
        redo = submit(client, project, kind="redo", take=first, start=1.0, end=2.5)
        done = wait_job(client, redo["id"])
        assert done["state"] == "done", done["error"]
        second = done["takes"][0]["id"]
        made = client.get(f"/takes/{second}").json()
        assert made["parent"] == first and made["part"]["spans"] == [[1.0, 2.5]] and made["seed"] != found["seed"]
        assert [seam["time"] for seam in made["report"]["seams"]] == [1.0, 2.5]
        before, after = (client.get(f"/takes/{take}/audio").content[HEADER:] for take in (first, second))
    folder = ProjectFolder(studio.folder, project)
    old, new = (np.load(folder.take(take, 1).codes) for take in (first, second))
    assert old.shape == new.shape == (old.shape[0], round(50 * DURATION))
    np.testing.assert_array_equal(old[:, :50], new[:, :50])
    np.testing.assert_array_equal(old[:, 125:], new[:, 125:])
    assert (old[:, 50:125] != new[:, 50:125]).mean() > 0.5
    waves = [np.frombuffer(data, "<f4").reshape(-1, 2) for data in (before, after)]
    assert waves[0].shape == waves[1].shape == (DURATION * 48_000, 2) and np.abs(waves[0]).max() > 0.02
    changed = np.abs(waves[0] - waves[1]).max(axis=1)
    # The codec hears a few steps beyond the part; farther away nothing changes but the rounding of the decoder.
    assert changed[: round(0.8 * 48_000)].max() < 0.01 and changed[round(1.2 * 48_000) : 2 * 48_000].max() > 0.02
