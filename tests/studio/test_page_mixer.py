"""The mixer on the page: what is heard there, at any setting, is what is mixed into the video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from openvmas.media.audio import read_audio_blocks, write_wav
from openvmas.media.envelope import Envelope
from openvmas.media.loudness import Duck
from openvmas.media.probe import probe
from openvmas.studio.storage.database import Database
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.take_sound import HEADER
from tests.studio import browser as look
from tests.studio.kit import RunningStudio, submit, wait_job

pytestmark = pytest.mark.browser

SET = {
    "loudness": -26.0, "music_gain": 3.0, "original_gain": -4.0, "duck": -9.0,
    "envelope": ["0=off", "1.2=2", "3=-8", "4=0", "5=off"],
}  # fmt: skip
LEAD = 24_000  # samples before the sound, in which the limiter comes to rest
DELAY = LEAD + 288  # samples by which all of the sound is late; WebAudio's limiter looks 288 ahead
# The graph that the player builds, in a context that renders at once; the original comes as a file.
RENDER = """async ([take, settings, originalLufs, spans]) => {
  const { Track, Voice, makeLimiter } = await import('/static/studio/music.js');
  const { levels, toGain } = await import('/static/studio/mixing.js');
  const powers = await (await fetch(`/api/takes/${take.id}/levels.json`)).json();
  const context = new OfflineAudioContext(2, Math.ceil((take.duration + 0.6) * 48000), 48000);
  const limiter = makeLimiter(context);
  limiter.output.connect(context.destination);
  const found = levels({ music: null, original: originalLufs, hasOriginal: true, settings, spans, powers });
  const track = new Track(take, 'music');
  await track.fetchFrom(0, context, () => true);
  const voice = new Voice(context, { limited: limiter.input, plain: limiter.input }, track, 0.5, 0, found, spans);
  const original = new AudioBufferSourceNode(context, {
    buffer: await context.decodeAudioData(await (await fetch('/original.wav')).arrayBuffer()),
  });
  original.connect(new GainNode(context, { gain: toGain(found.original) })).connect(limiter.input);
  original.start(0.5);
  voice.schedule();
  for (const second of [1, 2, 3, 4, 5]) context.suspend(second).then(() => (voice.schedule(), context.resume()));
  const made = await context.startRendering();
  const waves = [0, 1].map((channel) => made.getChannelData(channel));
  return [found, waves.map((wave) => [...wave].map((value) => Math.round(value * 2 ** 23)))];
}"""


def test_the_final_mix_is_what_was_heard(browser: Browser, sines: RunningStudio, fresh: str, tmp_path: Path) -> None:
    """With a volume curve, another balance and a fade at both ends; the difference lies below −50 dB."""
    with sines.client() as client:
        job = submit(client, fresh, options=SET)
        assert wait_job(client, job["id"])["state"] == "done"
        take = client.get(f"/takes/{job['takes'][0]['id']}").json()
        mixed = np.frombuffer(client.get(f"/takes/{take['id']}/audio?of=mix").content[HEADER:], "<f4").reshape(-1, 2).T
        lufs = client.get(f"/projects/{fresh}/analysis").json()["original_lufs"]
    database = Database(sines.folder)
    row = database.row("SELECT * FROM projects WHERE id = ?", (fresh,))
    database.close()
    assert row is not None
    source = ProjectFolder(sines.folder, fresh).source(row["suffix"])
    write_wav(tmp_path / "original.wav", read_audio_blocks(source, 48_000, 2, info=probe(source)), 48_000)
    with look.opened(browser, sines.url) as page:
        page.route("**/original.wav", lambda route: route.fulfill(body=(tmp_path / "original.wav").read_bytes()))
        found, waves = page.evaluate(RENDER, [take, SET | {"replace_audio": False}, lufs, []])
    mix = take["report"]
    assert mix["loudness_lufs"] == pytest.approx(-26, abs=0.1)
    heard = np.array(waves, np.float64)[:, DELAY : DELAY + mixed.shape[1]] / 2**23
    middle = slice(2400, mixed.shape[1] - 2400)  # without the voice's own fade-in and the guard against clicks
    error = np.sqrt(np.mean((heard - mixed)[:, middle] ** 2) / np.mean(mixed[:, middle] ** 2))
    assert 20 * np.log10(error) < -50, f"{20 * np.log10(error):.1f} dB, {found}"


def test_ducking_and_volume_curve_are_the_same_rules(browser: Browser, sines: RunningStudio) -> None:
    spans, points = ((1.0, 1.5), (4.2, 6.0)), ("0=off", "1.5=-6", "2:03=+3")
    times = np.arange(0, 9, 0.013)
    with look.opened(browser, sines.url) as page:
        shares, gains = page.evaluate(
            """async ([spans, points, times]) => {
              const { duckShare } = await import('/static/studio/mixing.js');
              const { gainAt, parse } = await import('/static/studio/envelope.js');
              return [times.map((t) => duckShare(spans, t)), times.map((t) => gainAt(parse(points), t))];
            }""",
            [spans, points, times.tolist()],
        )
    np.testing.assert_allclose(shares, Duck(spans, 1.0).gain_db(times), atol=1e-9)
    np.testing.assert_allclose(gains, Envelope(points).gain(times), atol=1e-9)
