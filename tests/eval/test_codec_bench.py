"""Parts of bench/codec.py on made material: which clips it takes, what it says of them, how predictable codes are."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from openvmas.train.codec.corpus import HELD_OUT_ALBUMS, SAMPLE_RATE, Track

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))
import codec_entropy
from codec_clips import Clip, choose_clips, open_waves, read_clip, solo_notes
from codec_measures import CodeUse
from codec_signals import pitches
from codec_table import Bar, Extras, distances, judge, report, summarise, worst_clips
from opus import align, through_opus


@pytest.fixture(scope="module")
def waves(tmp_path_factory) -> Path:
    """Five held-out tracks of two albums, one of them too short, and a training track; each begins with silence."""
    folder = tmp_path_factory.mktemp("waves")
    generator = np.random.default_rng(0)
    start, lines, parts = 0, [], []
    plan = [(HELD_OUT_ALBUMS[0], 9, True)] * 3 + [(HELD_OUT_ALBUMS[1], 12, True), (HELD_OUT_ALBUMS[1], 4.5, True)]
    for i, (album, seconds, is_held_out) in enumerate([*plan, ("other", 20, False)]):
        wave = generator.normal(0, 0.1, round(seconds * SAMPLE_RATE))
        wave[: SAMPLE_RATE * 4] *= 1e-3
        parts.append((wave * 32767).astype("<i2"))
        track = Track(f"{album}/{i}.ogg", album, start, len(wave), is_held_out, 0.0, 0.0)
        lines.append(json.dumps(asdict(track)))
        start += len(wave)
    np.concatenate(parts).tofile(folder / "waves.s16")
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_clips_go_round_albums_and_tracks(waves):
    clips = choose_clips(waves, 4, 5.0)
    assert [clip.album for clip in clips[:2]] == sorted(HELD_OUT_ALBUMS[:2])
    assert len({clip.track for clip in clips}) == 4 and all("4.ogg" not in clip.track for clip in clips)
    assert choose_clips(waves, 4, 5.0) == clips
    assert choose_clips(waves, 2, 5.0) == clips[:2], "fewer clips are the first ones"
    for clip in clips:
        wave = read_clip(open_waves(waves), clip)
        assert wave.dtype == np.float32 and len(wave) == 5 * SAMPLE_RATE
        assert np.sqrt(np.mean(wave**2)) > 0.01
    assert choose_clips(waves, 6, 5.0)[4].track == clips[0].track


def test_training_clips_are_training_music(waves):
    assert {clip.album for clip in choose_clips(waves, 3, 15.0, held_out=False)} == {"other"}
    with pytest.raises(SystemExit, match="no held-out track of 60 s"):
        choose_clips(waves, 1, 60.0)


def test_delay_is_taken_off():
    wave = np.random.default_rng(0).normal(0, 0.1, 5 * SAMPLE_RATE).astype(np.float32)
    wave[: 3 * SAMPLE_RATE] = 0
    late = np.concatenate([np.zeros(777, np.float32), 0.5 * wave])
    np.testing.assert_array_equal(align(wave, late), 0.5 * wave)
    np.testing.assert_array_equal(align(wave, late[:-2000])[-1223:], 0)


def test_opus_comes_back_aligned_and_says_its_rate():
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    wave = (0.3 * np.sin(2 * np.pi * 330 * time) * (1 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)
    coded, kbps = through_opus(wave, SAMPLE_RATE, 24)
    assert len(coded) == len(wave) and 12 < kbps < 36
    middle = slice(SAMPLE_RATE, 3 * SAMPLE_RATE)
    noise = coded[middle] - wave[middle]
    assert 10 * np.log10(np.mean(wave[middle] ** 2) / np.mean(noise**2)) > 15


def test_notes_are_at_their_pitch():
    wave, notes = solo_notes(None)
    assert len({note.timbre for note in notes}) == 4 and len(notes) == 52
    chosen = notes[::5]
    cents = 1200 * np.log2(pitches(wave, chosen) / [note.frequency for note in chosen])
    assert np.abs(cents).max() < 0.3


def measured(**changes: object) -> dict[str, np.ndarray]:
    """A clip as bench/codec.py keeps it."""
    values: dict[str, object] = {
        "kbps": 4.0, "mel": np.full(5, 0.3), "level": 0.95, "snr": 6.0, "fine": np.full(5, 0.6),
        "audible": np.full(5, 0.6), "gains": np.zeros(5), "chroma": 0.9, "onsets": [20, 18, 20, 1],
        "shifts": np.full(18, 0.002), **changes,
    }  # fmt: skip
    return {name: np.asarray(value) for name, value in values.items()}


def test_worst_clips_are_named_with_what_is_wrong():
    clips = [Clip(f"album/{i}.ogg", "album", 0, 20, 7.0) for i in range(12)]
    quiet = measured(mel=np.full(5, 0.9), level=10 ** (-3 / 20))
    fine = np.array([0.6, 0.6, 0.21, 0.6, 0.6])
    blurred = measured(mel=np.full(5, 0.7), fine=fine, onsets=[20, 12, 20, 1])
    found = worst_clips(clips, [measured()] * 10 + [quiet, blurred], n=3)
    assert found[0] == ("album/10.ogg at 7 s", pytest.approx(0.9), "level -3.0 dB")
    assert found[1][2] == "2-5 kHz correlation 0.21, onsets lost 40% of 20"
    assert found[2][2] == "nothing stands out"


def extras(**changes: float) -> Extras:
    signal = {"peak_dbfs": -80.0, "level_db": 0.0, "over": 0.0, "finite": 1.0, **changes}
    return Extras([CodeUse(700, 600.0, 1000)], [[4.0, 0.4, 5.0], [8.0, 0.3, 6.0]], {"silence": signal})


def test_bars_are_met_or_missed():
    cents = np.array([0.5, 2.0, -3.0])
    codec = summarise([measured()] * 3, cents) | {"yamnet": 5.0, "musicnn": 2.0}
    rival = summarise([measured(mel=np.full(5, 0.2), kbps=12.0)] * 3, cents) | {"yamnet": 6.0, "musicnn": 1.0}
    bars = {bar.name: bar for bar in judge(codec, rival, "Opus 12", 6, extras())}
    assert bars["mel distance"] == Bar("mel distance", "<= 0.200 (Opus 12)", "0.300", False)
    met = {name for name, bar in bars.items() if bar.is_met}
    assert {"bit rate", "Fréchet, YAMNet", "level ratio, median", "silence", "codebook 0", "fewer codebooks"} <= met
    assert bars["Fréchet, musicnn"].verdict == "MISSED" and bars["seams, speed, size"].verdict == ""
    loud = {bar.name: bar for bar in judge(codec, rival, "Opus 12", 6, extras(peak_dbfs=-30.0))}
    assert loud["silence"].verdict == "MISSED"
    text = report({"codec": codec, "Opus 12": rival}, list(bars.values()), extras(), markdown=True)
    assert "| mel distance | 0.300 | 0.200 |" in text and "bars met" in text


def test_distances_grow_with_the_difference():
    generator = np.random.default_rng(0)

    def clips(shift: float) -> list[dict[str, np.ndarray]]:
        return [{"net": generator.normal(shift, 1, (40, 8)).astype(np.float16)} for _ in range(8)]

    found = distances(clips(0), clips(0), {"near": clips(0.2), "far": clips(1.0)}, "net")
    assert found["real"]["net"] < found["near"]["net"] < found["far"]["net"]
    assert found["far"]["net"] == pytest.approx(8, rel=0.2)  # eight means, each one deviation away


def test_what_repeats_is_predictable(monkeypatch):
    monkeypatch.setattr(codec_entropy, "STEPS", 60)
    monkeypatch.setattr(codec_entropy, "WIDTH", 32)
    monkeypatch.setattr(codec_entropy, "BATCH", 4)
    generator = np.random.default_rng(0)

    def codes() -> np.ndarray:
        first = (np.arange(200) + generator.integers(16)) % 16
        return np.stack([first, (first * 5 + 3) % 16, generator.integers(16, size=200)])

    found = codec_entropy.predictability([codes() for _ in range(8)], [codes() for _ in range(4)], 16, 50.0)
    assert len(found.nats) == 3 and max(found.nats[:2]) < 0.6 * np.log(16)
    assert found.nats[2] == pytest.approx(np.log(16), abs=0.3)
    assert found.bits_per_second == pytest.approx(sum(found.nats) / np.log(2) * 50)
