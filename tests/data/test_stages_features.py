"""What is kept of a clip: packing there and back, which arrays, how many bytes, tags."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from openvmas.data.curation.record import Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.data.stages import STAGES, features
from openvmas.data.stages.features import Features, Tags, open_codec
from openvmas.data.stages.packed import (
    pack_codes,
    pack_curve,
    pack_events,
    pack_features,
    unpack_codes,
    unpack_curve,
    unpack_events,
    unpack_features,
)
from openvmas.data.stages.sound import Sounds
from openvmas.errors import ModelError
from openvmas.settings import CONTROL_RATE
from openvmas.timeline import Events
from tests.data.made_media import make_media, make_record, make_seen

DURATION = 20.0


@pytest.mark.parametrize("size", [2, 3, 256, 1000, 1024, 4096])
@pytest.mark.parametrize("n_steps", [0, 1, 7, 500])
def test_codes_come_back_exactly(size: int, n_steps: int) -> None:
    codes = np.random.default_rng(n_steps).integers(0, size, (4, n_steps))
    packed = pack_codes(codes, size)
    assert packed.nbytes == 4 * -(-n_steps * max((size - 1).bit_length(), 1) // 8)
    np.testing.assert_array_equal(unpack_codes(packed, n_steps, size), codes)


def test_codes_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="must lie in 0"):
        pack_codes(np.array([[0, 1024]]), 1024)


def test_features_keep_their_direction() -> None:
    rng = np.random.default_rng(6)
    made = (rng.gamma(0.3, 0.5, (50, 1280)) * (rng.random((50, 1280)) < 0.6)).clip(0, 6).astype(np.float16)
    back = unpack_features(pack_features(made))
    made32 = made.astype(np.float32)
    cosine = (made32 * back).sum(1) / np.linalg.norm(made32, axis=1) / np.linalg.norm(back, axis=1)
    assert pack_features(made).nbytes == made.size // 2
    assert cosine.min() > 0.99
    assert np.abs(back - made32).max() < 0.4


def test_curves_come_back() -> None:
    slow = (0.5 + 0.4 * np.sin(np.arange(1003) / 80)).astype(np.float32)
    assert np.abs(unpack_curve(pack_curve(slow), len(slow)) - slow).max() < 0.02
    accents = np.zeros(1003, np.float32)
    accents[[0, 17, 500, 1002]] = (0.2, 1.0, 0.5, 0.7)
    back = unpack_events(pack_events(Events(CONTROL_RATE, accents, slow, slow), "seen"), "seen", 1003 / 50)
    assert np.abs(back.accents - accents).max() < 0.003
    assert np.array_equal(np.flatnonzero(back.accents), np.flatnonzero(accents))


class FakeCodec:
    """Codes that tell the level of each step: a codec with an encoder, without weights."""

    sample_rate, hop_length, codebook_size, codebooks_sha256 = SAMPLE_RATE, 640, 1024, "abc"
    weights = SimpleNamespace(name="fake", version="1")

    def encode(self, wave: np.ndarray, n_codebooks: int | None = None) -> np.ndarray:
        steps = np.abs(wave[: len(wave) // 640 * 640]).reshape(-1, 640).mean(axis=1)
        return np.repeat((1000 * steps).astype(np.int64)[None], n_codebooks or 8, axis=0)


def make_clip(kind: str = "video") -> Media:
    rng = np.random.default_rng(7)
    wave = (0.3 * np.sin(2 * np.pi * 330 * np.arange(round(DURATION * SAMPLE_RATE)) / SAMPLE_RATE)).astype(np.float32)
    wave += 0.05 * rng.standard_normal(len(wave)).astype(np.float32)
    ones = np.ones(round(10 * DURATION), np.float32)
    return make_media(
        make_record(kind), DURATION, audio=wave, sounds=Sounds(0 * ones, 0 * ones, ones),
        video=make_seen(DURATION, 0.3, cuts=(5.0, 11.0), beats=np.arange(1.0, 19.0, 0.7)),
    )  # fmt: skip


def test_an_hour_is_a_few_megabytes_and_everything_can_be_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "open_codec", lambda name: FakeCodec())
    media = make_clip()
    record = Features()(media.record, media)
    assert isinstance(record, Record)
    n_bytes = sum(array.nbytes for array in media.arrays.values())
    assert record.facts["features.n_bytes"] == n_bytes
    assert n_bytes / DURATION * 3600 < 6e6
    facts = record.facts
    codes = unpack_codes(media.arrays["codes"], facts["features.n_steps"], facts["features.codebook_size"])
    np.testing.assert_array_equal(codes, FakeCodec().encode(media.audio()))
    seen = media.video()
    assert unpack_features(media.arrays["features"]).shape == (20, 1280)
    np.testing.assert_allclose(media.arrays["feature_times"], seen.feature_times[::2])
    back = unpack_events(media.arrays, "seen", DURATION)
    assert np.abs(back.accents - seen.events.accents).max() < 0.003
    assert np.abs(back.energy - seen.events.energy).max() < 0.01
    heard = unpack_events(media.arrays, "heard", DURATION)
    assert heard.n_steps == media.music().events.n_steps


def test_fewer_codebooks_and_pictures_if_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "open_codec", lambda name: FakeCodec())
    media = make_clip()
    record = Features(feature_fps=0.5, n_codebooks=2)(media.record, media)
    assert isinstance(record, Record) and record.facts["features.n_codebooks"] == 2
    assert len(media.arrays["features"]) == 10


def test_sound_alone_has_no_arrays_of_pictures() -> None:
    media = make_clip("audio")
    record = Features(codec="")(media.record, media)
    assert isinstance(record, Record) and record.facts["features.codec"] == ""
    assert {"heard_energy", "beats", "sounds"} <= set(media.arrays)
    assert not any(name.startswith(("seen", "feature", "cuts", "codes")) for name in media.arrays)


def test_an_image_is_seen() -> None:
    media = make_media(make_record("image"), 0.0)
    media._kept["picture", 512] = (np.random.default_rng(8).integers(0, 255, (300, 500, 3), np.uint8), None)
    record = Features()(media.record, media)
    assert isinstance(record, Record)
    assert media.arrays["features"].shape == (1, 640) and media.arrays["classes"].shape == (1, 5)


def test_a_codec_that_is_not_there_says_so() -> None:
    with pytest.raises(ModelError, match="there is no model called nothing"):
        open_codec("nothing")


def name_tags(wave: np.ndarray, sample_rate: int) -> dict[str, float]:
    return {"loud": float(np.abs(wave).max() > 0.1), "bright": 0.25}


def test_tags_say_what_is_seen_and_heard() -> None:
    media = make_clip()
    record = Tags(tagger=f"{__name__}:name_tags")(media.record, media)
    assert isinstance(record, Record)
    assert record.facts["tags.music"] == {"bright": 0.25, "loud": 1.0}
    assert "valence" in record.facts["tags.mood"]
    with pytest.raises(ModelError, match="module:function"):
        Tags(tagger="nothing")(media.record, media)


def test_all_stages_are_known_and_cheap_ones_come_first() -> None:
    wanted: set[Any] = {"probe", "size", "decode", "quality", "glance", "music", "speech", "singing", "shots", "moving"}
    assert wanted | {"fit", "cut", "features", "tags"} <= set(STAGES)
    assert list(STAGES) == [
        *("probe", "size", "decode", "picture", "quality", "glance", "music", "speech", "singing", "shots", "moving"),
        *("fit", "cut", "features", "tags", "sound_print", "picture_print"),
    ]
    assert all(name == stage.name for name, stage in STAGES.items())  # type: ignore[attr-defined]
