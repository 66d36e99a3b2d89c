"""What is heard on the page: at which levels, before and after a take is finished, and without stopping for ever."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, Route

from openvmas.media.audio import write_wav
from tests.studio import browser as look
from tests.studio.kit import RunningStudio, held

pytestmark = pytest.mark.browser


def test_what_is_heard_while_it_is_written_sounds_like_its_mix(
    browser: Browser, sines: RunningStudio, fresh: str
) -> None:
    """Not clipped, and within 1.5 dB of the gains that the finished mix gives to music and original; then a level that
    is moved is heard before anything is mixed again."""
    with look.opened(browser, sines.url) as page:
        look.open_plan(page, sines.url, fresh)
        with held(sines.folder):
            page.locator("[data-key=score]").click()
            heard = look.wait_player(page, "data.state === 'playing' && Number(data.clock) > 1.5")
            take = heard["source"]
            assert np.abs(look.samples(page, take, 1)).max() > 1.2, "sent as it was written"
            peak = max(float(look.player(page)["peakDb"]) for _ in range(5) if page.wait_for_timeout(100) is None)
            assert -20 < peak < 0
        page.wait_for_selector("[data-key=score]")
        mix = look.from_api(page, f"takes/{take}/report.json").json()["mix"]
        music, original = mix["music_gain_db"] + mix["master_gain_db"], mix["master_gain_db"]
        assert float(heard["musicDb"]) == pytest.approx(music, abs=1.5)
        assert float(heard["originalDb"]) == pytest.approx(original, abs=1.5)

        page.evaluate("document.activeElement.blur()")
        if look.player(page)["state"] == "stopped":
            page.keyboard.press(" ")
        look.wait_player(page, "data.originalDb === '-Infinity'")  # the finished mix
        page.locator("#tab-Sound").click()
        level = page.get_by_label("Music against original sound")
        level.focus()
        with page.expect_response(lambda told: told.request.method == "PATCH"):
            level.fill("-20")
        moved = look.wait_player(page, "data.originalDb !== '-Infinity'")
        assert float(moved["musicDb"]) - float(moved["originalDb"]) == pytest.approx(
            mix["original_lufs"] - 20 - mix["music_lufs"], abs=0.5
        )
        assert len(look.from_api(page, f"projects/{fresh}").json()["takes"]) == 1


def test_the_limiter_leaves_quiet_sound_and_holds_loud_sound(browser: Browser, sines: RunningStudio) -> None:
    with look.opened(browser, sines.url) as page:
        peaks = page.evaluate("""async () => {
          const { makeLimiter } = await import('/static/studio/music.js');
          const peak = async (level) => {
            const context = new OfflineAudioContext(2, 48000, 48000);
            const tone = new OscillatorNode(context, { frequency: 330 });
            const { input, output } = makeLimiter(context);
            tone.connect(new GainNode(context, { gain: level })).connect(input);
            output.connect(context.destination);
            tone.start();
            const wave = (await context.startRendering()).getChannelData(0).slice(4800);
            return wave.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          };
          return [await peak(0.1), await peak(0.5), await peak(1), await peak(2.1)];
        }""")
    assert peaks[:2] == pytest.approx([0.1, 0.5], rel=0.03)
    assert peaks[2] < peaks[3] < 1


def test_a_second_stop_is_not_for_ever(browser: Browser, sines: RunningStudio) -> None:
    """After each stop the player waits for more music; it must fetch as much as it waits for."""
    path = sines.folder / "tone.wav"
    write_wav(path, np.full((2, 48_000), 0.1, np.float32), 48_000)
    wav = path.read_bytes()
    allowed = 3  # seconds of music that are written

    def answer(route: Route) -> None:
        second = int(route.request.url.split("/blocks/")[1].split("?")[0])
        if second < allowed:
            route.fulfill(body=wav, content_type="audio/wav")
        else:
            page.wait_for_timeout(50)
            route.fulfill(status=204)

    with look.opened(browser, sines.url) as page:
        page.route("**/api/takes/slow/blocks/*", answer)
        page.mouse.click(5, 5)  # browsers allow no sound before
        page.evaluate("""async () => {
          const { Music, Track } = await import('/static/studio/music.js');
          globalThis.heard = new Music();
          heard.unlock();
          heard.underruns = 1; // one stop is behind it
          heard.play(new Track({ id: 'slow', duration: 40, state: 'writing' }, 'music'), 0);
        }""")
        look.wait_until(page, "heard.state === 'playing'")
        look.wait_until(page, "heard.underruns === 2 && heard.state === 'waiting'")
        allowed = 40
        look.wait_until(page, "heard.state === 'playing' && heard.position > 3.2")
        page.evaluate("heard.stop()")
