"""Filters of sound on music, speech, noise and music that was harmed in known ways."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from synthetic_pieces import synthesise, write_piece

from openvmas.data.curation.record import Drop
from openvmas.data.curation.record_media import SAMPLE_RATE
from openvmas.data.stages.sound import (
    MusicPresent,
    NoSpeech,
    Quality,
    Singing,
    Sounds,
    detect_sounds,
    find_bandwidth,
    find_sounds,
    measure_quality,
)
from openvmas.media.audio import Audio
from tests.data.made_media import make_media, make_record


def make_music(style: str = "bossa", seconds: float = 6.0) -> np.ndarray:
    """[2, L] float32 at SAMPLE_RATE, peak 0.6, with some room on both sides and up to the top of the band."""
    mono = synthesise(write_piece(style, 110, seconds), SAMPLE_RATE)[: round(seconds * SAMPLE_RATE)]
    rng = np.random.default_rng(0)
    air = 0.003 * rng.standard_normal((2, len(mono)))
    return (0.6 * mono / np.abs(mono).max() + air).astype(np.float32)


def judge(stage: Quality, wave: np.ndarray) -> str:
    media = make_media(make_record(), wave.shape[1] / SAMPLE_RATE, stereo=Audio(wave, SAMPLE_RATE))
    result = stage(media.record, media)
    return result.reason if isinstance(result, Drop) else ""


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    return make_music()


def test_good_music_passes_and_is_measured(music: np.ndarray) -> None:
    media = make_media(make_record(), 6.0, stereo=Audio(music, SAMPLE_RATE))
    record = Quality()(media.record, media)
    assert not isinstance(record, Drop)
    assert record.facts["quality.bandwidth"] > 14_000
    assert record.facts["quality.level_db"] == pytest.approx(10 * np.log10(np.mean(music**2)), abs=0.1)
    assert record.facts["quality.is_mono"] is False


@pytest.mark.parametrize("gain_db", [12, 20])
@pytest.mark.parametrize("turned_down", [1.0, 0.5])
def test_clipping_is_found_even_after_a_codec_and_a_volume_control(
    music: np.ndarray, gain_db: float, turned_down: float
) -> None:
    clipped = turned_down * np.clip(music * 10 ** (gain_db / 20), -1, 1)
    blurred = clipped + 0.02 * turned_down * np.random.default_rng(1).standard_normal(clipped.shape)
    assert judge(Quality(), blurred.astype(np.float32)) == "clipped"
    assert judge(Quality(max_clipping=100), blurred.astype(np.float32)) == ""


@pytest.mark.parametrize("style", ["rock", "waltz", "ballad", "strings"])
def test_loud_music_is_not_clipped(style: str) -> None:
    assert measure_quality(make_music(style) / 0.62, SAMPLE_RATE).clipping < 1.5


@pytest.mark.parametrize("cutoff", [2000, 4000])
def test_a_band_limit_is_found(music: np.ndarray, cutoff: int) -> None:
    low = soxr.resample(music.T, SAMPLE_RATE, 2 * cutoff)
    wave = soxr.resample(low, 2 * cutoff, SAMPLE_RATE).T
    assert find_bandwidth(wave.mean(axis=0), SAMPLE_RATE) == pytest.approx(cutoff, rel=0.1)
    assert judge(Quality(), wave) == "band-limited"


@pytest.mark.parametrize(
    ("gain", "reason"), [(0.0, "silence"), (1e-4, "silence"), (0.03, "too soft")], ids=["zero", "-80 dB", "-50 dB"]
)
def test_silence_and_faint_sound(music: np.ndarray, gain: float, reason: str) -> None:
    assert judge(Quality(), gain * music) == reason


def test_half_of_silence_counts_by_its_share(music: np.ndarray) -> None:
    wave = music.copy()
    wave[:, : int(0.6 * wave.shape[1])] = 0
    assert judge(Quality(), wave) == "silence"
    assert judge(Quality(max_silent_share=0.7), wave) == ""


def test_mono_is_noted_and_refused_if_asked(music: np.ndarray) -> None:
    same = np.stack([music[0], music[0]])
    assert judge(Quality(), same) == ""
    assert judge(Quality(allow_mono=False), same) == "mono"
    assert judge(Quality(allow_mono=False), music) == ""


def test_music_speech_and_noise_are_told_apart(music: np.ndarray) -> None:
    spoken, rate = soundfile.read(Path(__file__).parents[1] / "data" / "speech.ogg", dtype="float32")
    noise = 0.1 * np.random.default_rng(2).standard_normal(6 * SAMPLE_RATE).astype(np.float32)
    found = {
        "music": find_sounds(music, SAMPLE_RATE).shares(),
        "speech": find_sounds(spoken, rate).shares(),
        "noise": find_sounds(noise, SAMPLE_RATE).shares(),
    }
    assert found["music"]["music_share"] > 0.8 and found["music"]["speech_share"] < 0.05
    assert found["speech"]["speech_share"] > 0.6 and found["speech"]["music_share"] < 0.3
    assert max(found["noise"].values()) < 0.1


def sounds(speech: float, singing: float, music: float) -> Sounds:
    """10 s of which the given shares are certain."""
    return Sounds(*((np.arange(100) < 100 * share).astype(np.float32) for share in (speech, singing, music)))


@pytest.mark.parametrize(
    ("stage", "heard", "reason"),
    [
        (MusicPresent(), sounds(0, 0, 0.4), "no music"),
        (MusicPresent(), sounds(0, 0.9, 0), ""),
        (NoSpeech(), sounds(0.4, 0, 1), "talk"),
        (NoSpeech(), sounds(0.1, 0, 1), ""),
        (Singing(), sounds(0, 1, 1), ""),
        (Singing(max_singing_share=0.1), sounds(0, 0.2, 1), "singing"),
    ],
)
def test_shares_decide(stage: MusicPresent | NoSpeech | Singing, heard: Sounds, reason: str) -> None:
    media = make_media(make_record(), 10.0, sounds=heard)
    result = stage(media.record, media)
    assert (result.reason if isinstance(result, Drop) else "") == reason
    image = make_record("image")
    assert stage(image, make_media(image, 0.0)) is image


def test_a_part_hears_its_own_span() -> None:
    record = make_record()
    media = make_media(record, 10.0, sounds=sounds(0.5, 0, 1))
    part = media.part(type(record)(**{**record.__dict__, "id": "part", "start": 4.0, "end": 8.0}))
    assert detect_sounds(part).shares()["speech_share"] == pytest.approx(0.25)
