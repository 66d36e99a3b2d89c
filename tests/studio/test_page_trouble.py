"""The page where things go wrong or differ: broken lines, wrong files, small screens, keys only, tokens, lists.

The studio is the real one; its workers write sines at a chosen pace, so that only the page is waited for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route

from openvmas.generate.steering import plan_choices
from openvmas.planning.conditioning import build_condition
from openvmas.planning.planner import make_plan
from openvmas.settings import PlanOptions
from tests.clips import write_clip
from tests.planning.made import make_analysis
from tests.studio import browser as look
from tests.studio.browser import open_plan
from tests.studio.kit import RunningStudio, held, make_project, running, submit, wait_job

pytestmark = pytest.mark.browser

DURATION = 5.0  # s of the clip
PIECE = 9_000  # bytes that the server is made to ask for at most
EMPTY = "empty.mp4 is empty (0 bytes); choose another file, or export it again."
TOKEN = "a-long-enough-secret"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running(tmp_path_factory.mktemp("studio"), pace=0.25) as studio:
        yield studio


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", DURATION, sound="sine")


@pytest.fixture(scope="module")
def project(studio: RunningStudio, clip: Path) -> str:
    with studio.client() as client:
        return make_project(client, clip, name="<img src=x onerror=alert(1)>")


STILL_PIXEL = "document.querySelector('.still').getContext('2d').getImageData(2, 2, 1, 1).data"


def wait_still(page: Page) -> None:
    """Until a frame of the filmstrip is drawn where the picture cannot be played."""
    look.wait_until(page, f"!document.querySelector('.still').hidden && {STILL_PIXEL}[3] === 255")


def small_pieces(route: Route) -> None:
    """Let the server say that it takes little at a time, so that a small clip is many pieces."""
    if route.request.method != "POST":
        return route.fallback()
    answer = route.fetch()
    route.fulfill(response=answer, body=json.dumps({**answer.json(), "chunk": PIECE}))


def test_an_upload_goes_on_after_broken_lines_and_after_a_reload(
    browser: Browser, studio: RunningStudio, clip: Path
) -> None:
    sent: list[int] = []
    stops_at = clip.stat().st_size // 2

    def unreliable(route: Route) -> None:
        if route.request.method != "PATCH":
            return route.fallback()
        offset = int(route.request.headers["upload-offset"])
        if len(sent) % 4 == 2 or offset > stops_at:
            sent.append(-1)
            return route.abort("connectionreset")
        sent.append(offset)
        route.continue_()

    with look.opened(browser, studio.url) as page:
        page.route("**/upload", unreliable)
        page.route("**/upload", small_pieces)
        page.set_input_files("#file", clip)
        page.get_by_text("The connection is interrupted; the upload goes on by itself.").wait_for()
        look.wait_until(page, f"document.querySelector('.arrival progress').value > {stops_at / clip.stat().st_size}")
        done = [offset for offset in sent if offset >= 0]
        assert done == list(range(0, done[-1] + 1, PIECE)), "no piece is sent twice, none left out"
        assert -1 in sent[:4]

        page.unroute("**/upload", unreliable)
        page.reload()
        page.get_by_text("Choose clip.mp4 again; it goes on at").wait_for()
        look.check_accessible(page, "unfinished upload")
        page.set_input_files("#file", clip)
        page.wait_for_selector(".section .choose")
        kept = look.from_api(page, f"projects/{look.project_of(page)}/video").body()
        assert kept == clip.read_bytes()


def test_a_file_that_is_no_video_is_refused_in_the_servers_words(
    browser: Browser, studio: RunningStudio, clip: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "notes.mp4"
    wrong.write_text("these are notes, not pictures\n" * 50)
    with look.opened(browser, studio.url) as page:
        page.set_input_files("#file", wrong)
        look.wait_until(page, "document.querySelector('.arrival .button')?.textContent === 'Choose a video'")
        sentence = page.locator(".arrival .big").inner_text()
        dead = look.project_of(page)
        refused = look.from_api(page, f"projects/{dead}").json()
        assert refused["state"] == "refused" and sentence == refused["error"]
        page.locator(".brand").click()
        page.get_by_text("Music for your video").wait_for()
        listed = look.from_api(page, "projects").json()["projects"]
        assert dead not in [project["id"] for project in listed], "nothing is left behind"
        page.set_input_files("#file", wrong)
        page.locator(".arrival .big", has_text=sentence).wait_for()  # the first page has the same button
        page.set_input_files("#file", clip)  # another file for the same project
        page.wait_for_selector(".section .choose")


def test_an_empty_file_and_one_that_is_cut_off_are_called_so(
    browser: Browser, studio: RunningStudio, tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    data = (look.ROOT / "examples" / "city.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 3])
    with studio.client() as client:
        made = client.post("/projects", json={"name": "x"}).json()["id"]
        refused = client.post(f"/projects/{made}/upload", json={"filename": "empty.mp4", "size": 0})
        assert (refused.status_code, refused.json()["error"]) == (422, EMPTY)
    with look.opened(browser, studio.url) as page:
        page.set_input_files("#file", tmp_path / "empty.mp4")
        page.get_by_text(EMPTY).wait_for()
        page.set_input_files("#file", tmp_path / "half.mp4")
        page.get_by_text("half.mp4 is cut off: it announces 0:31 but holds").wait_for()


def test_an_answer_from_before_the_upload_is_not_taken_for_news(
    browser: Browser, studio: RunningStudio, clip: Path
) -> None:
    """The page asks for the new project while the upload runs; that answer may come last."""
    late: list[tuple[Route, APIResponse]] = []

    def first_is_late(route: Route) -> None:
        if late or route.request.method != "GET":
            return route.fallback()
        late.append((route, route.fetch()))

    with look.opened(browser, studio.url) as page:
        page.route(re.compile(r"/api/projects/\w+$"), first_is_late)
        page.set_input_files("#file", clip)
        look.wait_until(page, "document.getElementById('project-title').querySelector('input')?.value === 'clip'")
        ((route, answer),) = late
        assert answer.json()["state"] in ("empty", "uploading")
        route.fulfill(response=answer)
        page.wait_for_selector(".section .choose")


def test_music_is_heard_while_it_is_written_and_can_be_cancelled(
    browser: Browser, studio: RunningStudio, project: str
) -> None:
    with held(studio.folder), look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        page.keyboard.press("Control+Enter")
        begun = look.wait_player(page, "data.state === 'playing' && Number(data.clock) > 0.2")
        assert page.locator("[data-key=cancel]").is_visible(), "it is still being written"
        heard = look.wait_player(page, "Number(data.peakDb) > -40")
        assert heard["underruns"] == "0", "written faster than it is played"
        assert float(begun["firstSoundMs"]) < 20_000
        print(f"first sound after {begun['firstSoundMs']} ms at four times real time")
        look.check_accessible(page, "being written")
        page.locator("[data-key=cancel]").click()
        page.wait_for_selector("[data-key=score]")
        look.wait_player(page, "data.state === 'stopped' && data.source === 'original'")
        look.wait_until(page, "document.querySelectorAll('.segments button').length === 1")
        assert page.locator(".segments button").all_inner_texts() == ["Original"]


def test_the_list_edits_what_the_timeline_shows(browser: Browser, studio: RunningStudio, project: str) -> None:
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        assert page.locator("#project-title input").input_value() == "<img src=x onerror=alert(1)>"
        page.locator("#list summary").click()
        page.get_by_role("button", name="Split section 1 in the middle").click()
        set_field(page, "End of section 1", "0:02,00")
        set_field(page, "Energy of section 2, percent", "35")
        set_field(page, "Tempo of section 2, beats per minute", "96")
        set_field(page, "Words for section 2", "dark strings")
        set_field(page, "Time of a new accent", "1.24")
        page.get_by_role("button", name="Add an accent").click()
        plan = look.saved_plan(page)
        assert plan["sections"][0]["end"] == plan["sections"][1]["start"] == 2.0
        second = plan["sections"][1]
        assert (second["energy"], second["tempo"], second["text"]) == (0.35, 96, "dark strings")
        assert 1.24 in [hit["time"] for hit in plan["hits"] if hit["source"] == "user"]
        assert "dark strings" in page.locator(".section .words").nth(1).inner_text()

        set_field(page, "Tempo of section 2, beats per minute", "900")
        page.get_by_text("Tempo goes from 40 to 220; write a number between.").wait_for()
        assert look.saved_plan(page)["sections"][1]["tempo"] == 96
        look.check_accessible(page, "list")
        page.get_by_role("button", name="Merge section 1 with the next").click()
        assert len(look.saved_plan(page)["sections"]) == 1


def set_field(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Tab")


def test_nothing_is_taken_out_of_the_users_hands(browser: Browser, studio: RunningStudio, project: str) -> None:
    """A plan that arrives while a field is being filled leaves it alone, and a press after typing is not lost."""
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        words = page.get_by_label("Words for this section")
        words.press_sequentially("warm")
        key = "new KeyboardEvent('keydown', {key: 'ArrowDown', bubbles: true})"
        page.evaluate(f"document.querySelector('.level').dispatchEvent({key})")
        look.saved_plan(page)
        words.press_sequentially(" strings")
        assert words.input_value() == "warm strings"
        page.locator("[data-key=lock]").click()
        section = look.saved_plan(page)["sections"][0]
        assert (section["text"], section["locked"]) == ("warm strings", True)
        page.locator("[data-key=lock]").click()
        assert not look.saved_plan(page)["sections"][0]["locked"]


def test_history_goes_back_and_things_have_names(browser: Browser, studio: RunningStudio, clip: Path) -> None:
    with studio.client() as client:
        project = make_project(client, clip, name="Draft")
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        for words in ("calm", "epic"):
            set_field(page, "Words", words)
            look.saved_plan(page)
        page.get_by_role("button", name="History").click()
        look.check_accessible(page, "history")
        assert page.locator(".history li").first.inner_text().startswith("Words for the whole")
        page.locator(".history li").nth(1).get_by_role("button").click()
        page.locator("dialog[open]").wait_for(state="hidden")
        look.wait_until(page, "document.querySelector('[data-key=whole-text]').value === 'calm'")
        assert look.saved_plan(page)["text"] == "calm"
        with page.expect_response(lambda told: told.request.method == "PATCH"):
            set_field(page, "Name of the project", "Film")
        page.locator(".brand").click()
        page.locator(".card", has_text="Film").wait_for()
        page.get_by_role("button", name="Delete Film").click()
        page.get_by_role("dialog", name="Delete Film?").get_by_role("button", name="Delete").click()
        page.locator(".card", has_text="Film").wait_for(state="detached")


def test_edits_are_kept_while_the_server_cannot_be_reached(
    browser: Browser, studio: RunningStudio, project: str
) -> None:
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        page.context.set_offline(True)
        set_field(page, "Words", "calm piano")
        page.get_by_text("Not saved yet; trying again").wait_for()
        page.get_by_text("The studio's server does not answer").wait_for()
        page.context.set_offline(False)
        assert look.saved_plan(page)["text"] == "calm piano"
        page.get_by_text("The studio's server does not answer").wait_for(state="detached")


def test_progress_says_that_it_is_cut_off(browser: Browser, studio: RunningStudio, project: str) -> None:
    with look.opened(browser, studio.url) as page, held(studio.folder):
        page.route("**/jobs/*/events", lambda route: route.abort())
        open_plan(page, studio.url, project)
        page.locator("[data-key=score]").click()
        page.locator(".foot").get_by_text("Reconnecting…").wait_for()
        page.unroute("**/jobs/*/events")
        page.locator(".foot").get_by_text("Writing music").wait_for()
        page.locator("[data-key=cancel]").click()
        page.wait_for_selector("[data-key=score]")


def test_several_videos_are_all_taken(browser: Browser, studio: RunningStudio, clip: Path, tmp_path: Path) -> None:
    names = ["one", "two", "three"]
    for name in names:
        (tmp_path / f"{name}.mp4").write_bytes(clip.read_bytes())
    with look.opened(browser, studio.url) as page:
        page.set_input_files("#file", [tmp_path / f"{name}.mp4" for name in names])
        page.get_by_text("2 more videos follow by themselves").wait_for()
        page.wait_for_selector(".section .choose")
        look.wait_until(
            page,
            "fetch('/api/projects').then((answer) => answer.json()).then(({projects}) => "
            f"{names}.every((name) => projects.some((one) => one.name === name && one.upload)))",
        )
        assert page.locator("#heading").inner_text().startswith("one")


def test_a_page_at_rest_draws_nothing(browser: Browser, studio: RunningStudio, project: str) -> None:
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        radios = page.locator(".segments [role=radio]")
        assert [radio.get_attribute("tabindex") for radio in radios.all()].count("0") == 1
        page.wait_for_timeout(500)
        frames = page.evaluate("""async () => {
          let n = 0;
          const original = requestAnimationFrame;
          globalThis.requestAnimationFrame = (act) => (n++, original(act));
          await new Promise((resolve) => setTimeout(resolve, 1000));
          return n;
        }""")
        assert frames < 5


def test_settings_come_back_and_platforms_set_the_loudness(
    browser: Browser, studio: RunningStudio, project: str
) -> None:
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        page.locator("#tab-Sound").click()
        assert page.get_by_label("Loudness", exact=True).input_value() == "-14"
        with page.expect_response(lambda told: told.request.method == "PATCH"):
            page.get_by_label("Platform").select_option(label="Broadcast, Europe (EBU R 128): −23 LUFS")
        page.get_by_label("Follow cuts and moves").focus()
        with page.expect_response(lambda told: told.request.method == "PATCH"):
            page.keyboard.press("ArrowRight")
        look.check_accessible(page, "sound")
        page.reload()
        page.locator("#tab-Sound").click()
        page.wait_for_selector("[data-key=loudness]")
        assert page.get_by_label("Loudness", exact=True).input_value() == "-23"
        assert page.get_by_label("Follow cuts and moves").input_value() == "2.25"
        told = look.from_api(page, f"projects/{look.project_of(page)}").json()
        assert told["settings"] == {"loudness": -23, "event_guidance": 2.25}


def test_a_small_screen_and_keys_alone_are_enough(browser: Browser, studio: RunningStudio, project: str) -> None:
    small: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "reduced_motion": "reduce", "has_touch": True}
    with studio.client() as client:
        without_picture = make_project(client, name="No video yet")
    with look.opened(browser, studio.url, **small) as page:
        page.wait_for_selector(f".projects [data-key='{without_picture}']")
        look.check_accessible(page, "first page, 390 px")
        open_plan(page, studio.url, project)
        for tab in ("Plan", "Sound", "Takes"):
            page.locator(f"#tab-{tab}").focus()
            page.keyboard.press("Enter")
            look.check_accessible(page, f"{tab}, 390 px")
        page.keyboard.press("?")
        page.get_by_role("dialog", name="Keys").wait_for()
        look.check_accessible(page, "help")
        page.get_by_label("Keys without Ctrl are on").uncheck()
        page.keyboard.press("Escape")
        n_hits = len(look.saved_plan(page)["hits"])
        page.keyboard.press("h")
        assert len(look.saved_plan(page)["hits"]) == n_hits, "single keys are off"
        page.emulate_media(color_scheme="light")
        ground = "getComputedStyle(document.body).backgroundColor"
        shown = [page.evaluate(ground)]
        for _ in range(2):
            page.get_by_role("button", name="Theme").click()
            shown.append(page.evaluate(ground))
        assert shown == ["rgb(14, 15, 18)", "rgb(244, 244, 242)", "rgb(14, 15, 18)"], "every press is seen"


def test_a_token_is_asked_for_and_leaves_the_address(browser: Browser, tmp_path: Path) -> None:
    with running(tmp_path, "--token", TOKEN) as studio:
        with look.opened(browser, studio.url) as page:
            field = page.get_by_role("textbox", name="Token")
            field.fill("a-wrong-one-of-that-length")
            page.keyboard.press("Enter")
            page.locator(".dialog .fault").wait_for()
            look.check_accessible(page, "token")
            field.fill(TOKEN)
            page.keyboard.press("Enter")
            page.get_by_text("Your projects will be listed here").wait_for()
        with look.opened(browser, f"{studio.url}/#token={TOKEN}") as page:
            page.get_by_text("Your projects will be listed here").wait_for()
            assert TOKEN not in page.url


def test_a_video_that_browsers_cannot_play_is_scored_over_its_filmstrip(
    browser: Browser, studio: RunningStudio, tmp_path: Path
) -> None:
    odd = write_clip(tmp_path / "odd.avi", 3.0, codec="mpeg4")
    with studio.client() as client:
        project = make_project(client, odd, name="Odd")
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        page.get_by_text("This browser cannot play mpeg4 video").wait_for()
        wait_still(page)
        page.evaluate("location.hash = ''")
        page.wait_for_selector("#workspace", state="hidden")
        page.evaluate("document.querySelector('.still').width = 1")  # clears it
        open_plan(page, studio.url, project)
        wait_still(page)  # also when the same project is opened again
        page.locator("[data-key=score]").click()
        look.wait_player(page, "Number(data.clock) > 1.2")
        page.wait_for_selector("[data-key=score]")
        look.wait_player(page, "data.state === 'stopped'")
        # Where it stands still, or a busy machine would already be in another second.
        page.evaluate("document.activeElement.blur()")
        for key in ("Home", "l", *10 * ["ArrowRight"]):
            page.keyboard.press(key)
        red, _, blue, _ = page.evaluate(f"Array.from({STILL_PIXEL})")
        assert red > blue, f"the second second of the clip is red, not {red, blue}"
        page.wait_for_selector("#report:not([hidden])")


def test_other_levels_are_mixed_without_writing_the_music_again(
    browser: Browser, studio: RunningStudio, project: str
) -> None:
    with studio.client() as client:
        job = submit(client, project)
        wait_job(client, job["id"], "done")
        first = job["takes"][0]["id"]
    with look.opened(browser, studio.url) as page:
        open_plan(page, studio.url, project)
        page.locator("#tab-Sound").click()
        with page.expect_response(lambda told: told.request.method == "PATCH"):
            page.get_by_label("Platform").select_option(label="Broadcast, America (ATSC A/85): −24 LUFS")
        page.locator("#tab-Takes").click()
        page.locator(f"[data-key=mix-{first}]").click()
        page.wait_for_selector(".takes li >> nth=1")
        page.wait_for_selector("[data-key=score]")
        said = look.wait_until(
            page,
            "/−24 LUFS/.test(document.querySelector('.takes .help').innerText) && "
            "document.querySelector('.takes .help').innerText",
        )
        assert "from Take" in said
        second = look.from_api(page, f"projects/{project}").json()["takes"][-1]["id"]
        assert np.array_equal(look.samples(page, first, 1), look.samples(page, second, 1))


def test_changes_of_a_plan_by_their_definition(browser: Browser, studio: RunningStudio) -> None:
    """Splitting and merging is nothing; times are written and read alike; locks hold; hits lie on frames."""
    with look.opened(browser, studio.url) as page:
        found = page.evaluate("""async () => {
          const plans = await import('/static/studio/plan.js');
          const units = await import('/static/studio/units.js');
          const section = {start: 0, end: 20, energy: 0.6, text: null, tempo: null, locked: false};
          const plan = {duration: 20, sections: [section], hits: [{time: 4, strength: 0.5, source: 'picture'}]};
          const refuse = (act) => { try { act(); return null } catch (error) { return error.message } };
          const halves = plans.split(plan, 7.013, 25);
          const locked = plans.setSection(halves, 1, {locked: true});
          const times = [0, 0.04, 59.996, 75.25, 3599.999, 7384.5];
          return {
            border: halves.sections.map((part) => [part.start, part.end]),
            whole: plans.merge(halves, 0).sections,
            far: plans.moveBorder(halves, 0, 99, 25).sections[0].end,
            taken: plans.addHit(plan, 4.01, 25).hits,
            locked: [
              () => plans.moveBorder(locked, 0, 5, 25),
              () => plans.merge(locked, 0),
              () => plans.split(locked, 12, 25),
            ].map(refuse),
            short: refuse(() => plans.split(plan, 0.2, 25)),
            words: plans.toggleWord(plans.toggleWord('piano', 'calm'), 'piano'),
            clock: times.map((time) => units.readClock(units.clockText(time)) - time),
            odd: ['', '1:x', '-3', '1:2:3:4'].map(units.readClock).every(Number.isNaN),
          };
        }""")
    assert found["border"] == [[0, 7.0], [7.0, 20]]
    assert found["whole"] == [{"start": 0, "end": 20, "energy": 0.6, "text": None, "tempo": None, "locked": False}]
    assert found["far"] == 19.5
    assert found["taken"] == [{"time": 4, "strength": 1, "source": "user"}]
    assert found["locked"] == ["Section 2 is locked; unlock it first."] * 3
    assert found["short"].startswith("A section lasts at least 0.5 s")
    assert found["words"] == "calm"
    assert all(abs(error) <= 0.0051 for error in found["clock"])
    assert found["odd"]


def test_what_is_seen_is_drawn_while_the_video_is_watched(
    browser: Browser, studio: RunningStudio, project: str
) -> None:
    """Half of the picture's lane has its energy, the other half is marked as still to come. The studio's answers are
    changed on their way, so that the watching does not end."""
    seen = {
        "until": DURATION / 2, "shots": [{"start": 0, "end": DURATION / 2, "is_gradual": False}], "cuts": [],
        "visual_beats": [1.0], "visual_beat_strengths": [1.0], "curves_rate": 10, "energy": [1.0] * 25,
    }  # fmt: skip

    def still_watching(route: Route) -> None:
        answer = route.fetch()
        found = answer.json()
        jobs = [job | {"state": "running"} for job in found["jobs"] if job["kind"] == "analyze"]
        route.fulfill(response=answer, body=json.dumps(found | {"state": "analyzing", "jobs": jobs, "takes": []}))

    def told(route: Route) -> None:
        body = f"retry: 60000\nevent: analysis\ndata: {json.dumps(seen)}\n\n"
        route.fulfill(body=body, content_type="text/event-stream")

    reading = """[0.3, 0.45, 0.55, 0.9].map((share) => {
      const canvas = document.querySelector('canvas.paint');
      const place = [share * canvas.width, (296 + 0.7 * 46) * devicePixelRatio];  // in the lane "picture" of paint.js
      return canvas.getContext('2d').getImageData(...place, 1, 1).data.join();
    })"""
    with look.opened(browser, studio.url) as page:
        page.route("**/events", told)
        page.route(f"**/api/projects/{project}", still_watching)
        page.goto(f"{studio.url}/#project={project}")
        look.wait_until(page, f"(([a, b, c, d]) => a === b && b !== c && c === d)({reading})")
        assert page.locator(".section .choose").count() == 0


@pytest.mark.parametrize("pace", [1.15, 1.5, 2.0, 4.0])
def test_music_that_is_written_faster_than_it_is_played_never_stops(
    browser: Browser, studio: RunningStudio, pace: float
) -> None:
    """The page's rule for when to begin, on the times at which blocks come when the real choices are made at a pace."""
    pieces = [block_times(seed, pace) for seed in range(8)]
    with look.opened(browser, studio.url) as page:
        begins = page.evaluate(
            """async (pieces) => {
              const { Track } = await import('/static/studio/music.js');
              return pieces.map((times) => {
                const track = new Track({ id: 'x', duration: times.length, state: 'writing' }, 'music');
                return times.findIndex((time, n) => (track.note(n, 1000 * time), n + 1 >= track.needed));
              });
            }""",
            pieces,
        )
    for times, begin in zip(pieces, begins, strict=True):
        late = [time - (times[begin] + n) for n, time in enumerate(times)]
        assert max(late) <= 0, f"second {np.argmax(late)} comes {max(late):.2f} s late"
        assert times[begin] < 5 / pace


def block_times(seed: int, pace: float) -> list[float]:
    """When each second of a minute of music is written, s, if all of the work goes at `pace` times real time."""
    chance = np.random.default_rng(seed)
    cuts = np.cumsum(chance.uniform(0.3, 2.5, 200) * chance.uniform(0.5, 2))
    cuts = tuple(cuts[cuts < 59])
    analysis = make_analysis(60, cuts=cuts, beats=cuts)
    times: list[float] = []
    for step in [*plan_choices(build_condition(make_plan(analysis, PlanOptions()), analysis)), 3000]:
        # What the delay pattern, the codec's look-ahead and the resampler hold back.
        seconds = (step - 3 - 10) / 50 if step < 3000 else 60.0
        times += [step / 50 / pace] * (int(seconds + 1e-9) - len(times))
    assert len(times) == 60
    return times
