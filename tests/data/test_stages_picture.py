"""Filters of pictures: stills, cards, slideshows and what moves, from key frames and from analyses."""

from pathlib import Path

import numpy as np
import pytest

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import Media
from openvmas.data.stages.picture import (
    Glance,
    MovingPicture,
    Picture,
    Shots,
    count_unique_shots,
    largest_change,
    moving_share,
)
from openvmas.vision.analysis import VideoAnalysis, analyze
from tests.clips import write_clip
from tests.data.made_media import make_info, make_media, make_record, make_seen


def verdict(stage: Glance | MovingPicture | Shots | Picture, media: Media) -> str:
    result = stage(media.record, media)
    return result.reason if isinstance(result, Drop) else ""


def key_frames(*levels: float, spot: float = 0.0) -> np.ndarray:
    """Noisy frames of one picture at some levels of light; the last has a spot of other brightness."""
    rng = np.random.default_rng(3)
    picture = rng.uniform(60, 180, (90, 160, 3))
    frames = [picture * level + rng.normal(0, 3, picture.shape) for level in levels]
    frames[-1][40:56, 40:72] += spot
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8)


def test_a_still_is_seen_in_key_frames_despite_grain_and_fades() -> None:
    for frames in (key_frames(1, 1, 1), key_frames(0.7, 1, 0.8)):
        assert verdict(Glance(), with_frames(frames)) == "still"


def test_a_small_spot_that_changes_is_no_still() -> None:
    frames = key_frames(1, 1, 1, spot=40)
    assert largest_change(frames) == pytest.approx(40, rel=0.2)
    assert verdict(Glance(), with_frames(frames)) == ""


def test_one_key_frame_decides_nothing() -> None:
    assert verdict(Glance(), with_frames(key_frames(1))) == ""


def with_frames(frames: np.ndarray) -> Media:
    media = make_media(make_record(), 20.0)
    media._kept["key_frames", 12] = (frames, None)
    return media


def watch(stage: MovingPicture | Shots, seen: VideoAnalysis) -> str:
    return verdict(stage, make_media(make_record(), float(seen.duration), video=seen))


def bursts(duration: float, every: float, length: float) -> np.ndarray:
    """Motion only for `length` s every so many seconds, as where a line of text changes."""
    times = np.arange(round(duration * 50)) / 50
    return np.where(times % every < length, 0.4, 0.0)


WAVES = 0.3 + 0.1 * np.sin(np.arange(1000) / 20)


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (make_seen(20, WAVES, cuts=(3, 7, 12)), ""),
        (make_seen(20, WAVES), ""),
        (make_seen(20, 0.0), "still"),
        (make_seen(20, 0.01, cuts=(4, 8, 12, 16)), "slideshow"),
        (make_seen(20, bursts(20, 3.0, 0.3)), "still"),
        (make_seen(20, bursts(20, 2.0, 1.6), cuts=(2, 4)), ""),
        (make_seen(20, 0.25), "one even move"),
        (make_seen(20, 0.25, cuts=(5, 10)), ""),
    ],
    ids=["cut", "one take", "cover", "slides", "cards", "stops", "scrolling", "moved stills"],
)
def test_what_moves_is_told_from_what_does_not(seen: VideoAnalysis, reason: str) -> None:
    assert watch(MovingPicture(), seen) == reason


def test_moved_stills_are_refused_if_asked() -> None:
    assert watch(MovingPicture(max_camera_share=0.4), make_seen(20, WAVES, cuts=(5,))) == "moved stills"


def test_share_and_shots() -> None:
    assert moving_share(make_seen(20, bursts(20, 2.0, 1.0))) == pytest.approx(0.5)
    assert count_unique_shots(make_seen(20, cuts=(5, 10, 15))) == 4
    assert count_unique_shots(make_seen(20, cuts=(5, 10, 15), looks_alike=True)) == 1


def test_flicker_is_refused_and_shots_are_noted() -> None:
    assert watch(Shots(), make_seen(10, cuts=tuple(np.arange(0.2, 10, 0.2)))) == "flicker"
    media = make_media(make_record(), 20.0, video=make_seen(20, cuts=(5, 10, 15)))
    record = Shots()(media.record, media)
    assert isinstance(record, Record)
    assert record.facts == {"shots.n": 4, "shots.unique": 4, "shots.median_length": 5.0}


def test_a_real_clip_that_moves_passes(tmp_path: Path) -> None:
    seen = analyze(write_clip(tmp_path / "moving.mp4", 3.0))
    assert watch(MovingPicture(), seen) == ""


def test_images_are_judged_and_others_left_alone() -> None:
    record = make_record("image")
    rng = np.random.default_rng(4)
    rich, flat = rng.integers(0, 255, (300, 400, 3), np.uint8), np.full((300, 400, 3), 90, np.uint8)
    for picture, size, reason in ((rich, 400, ""), (flat, 400, "empty"), (rich, 200, "too small")):
        media = make_media(record, 0.0, info=make_info(0.0, width=size, height=300))
        media._kept["picture", 512] = (picture, None)
        assert verdict(Picture(), media) == reason
    video = make_record()
    assert Picture()(video, make_media(video, 5.0)) is video
    assert MovingPicture()(record, make_media(record, 0.0)) is record
