"""Filters of files on whole, cut off, damaged and wrong ones."""

from pathlib import Path

import pytest

from openvmas.data.curation.record import Drop, Origin, Record, make_id
from openvmas.data.curation.record_media import Media
from openvmas.data.stages.files import Decode, Probe, Size, check_packets
from tests.clips import write_clip
from tests.data.made_media import make_info, make_media, make_record


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("files") / "clip.mkv", 4.0, sound="noise")


def media_of(path: Path, kind: str = "video") -> Media:
    return Media(Record(make_id("test", path.name), kind, Origin("test", path.name)), path)  # type: ignore[arg-type]


def reason_of(stage: Probe | Size | Decode, media: Media) -> str:
    result = stage(media.record, media)
    return result.reason if isinstance(result, Drop) else ""


def test_a_whole_file_passes_with_its_facts(clip: Path) -> None:
    media = media_of(clip)
    record = Probe()(media.record, media)
    assert not isinstance(record, Drop)
    assert record.facts["probe.duration"] == pytest.approx(4.0, abs=0.1)
    assert (record.facts["probe.width"], record.facts["probe.audio_codec"]) == (160, "aac")
    assert reason_of(Decode(), media) == ""


@pytest.mark.parametrize("content", [b"", b"These are words.\n" * 99, bytes(range(256)) * 500], ids=len)
def test_what_is_no_video_is_refused_without_its_place(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)
    media = media_of(path)
    result = Probe()(media.record, media)
    assert isinstance(result, Drop) and result.reason == "unreadable"
    assert "bad.mp4" in result.detail and str(tmp_path) not in result.detail


def test_one_side_alone_is_refused_where_both_are_needed(tmp_path: Path) -> None:
    silent = media_of(write_clip(tmp_path / "silent.mp4", 1.0))
    blind = media_of(write_clip(tmp_path / "blind.mp4", 1.0, sound="sine", has_picture=False))
    assert reason_of(Probe(), silent) == "no sound"
    assert reason_of(Probe(needs_sound=False), silent) == ""
    assert reason_of(Probe(), blind) == "no picture"
    assert reason_of(Probe(), media_of(blind.path, "audio")) == ""


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_a_cut_off_file_is_refused(tmp_path: Path, clip: Path, share: float) -> None:
    data = clip.read_bytes()
    path = tmp_path / "short.mkv"
    path.write_bytes(data[: int(share * len(data))])
    assert 1 - share - 0.2 < check_packets(path, 4, 2.0).missing < 1 - share + 0.2
    assert reason_of(Decode(), media_of(path)) == "cut off"


@pytest.mark.parametrize("junk", [0x00, 0xA7])
def test_a_damaged_file_is_refused(tmp_path: Path, clip: Path, junk: int) -> None:
    data = bytearray(clip.read_bytes())
    first, last = int(0.4 * len(data)), int(0.6 * len(data))
    data[first:last] = bytes([junk]) * (last - first)
    path = tmp_path / "damaged.mkv"
    path.write_bytes(data)
    assert reason_of(Decode(), media_of(path)) == "damaged"


@pytest.mark.parametrize(
    ("duration", "changes", "reason"),
    [
        (30.0, {}, ""),
        (9.9, {}, "too short"),
        (3601.0, {}, "too long"),
        (30.0, {"width": 160, "height": 90}, "too small"),
        (30.0, {"width": 90, "height": 160}, "too small"),
        (30.0, {"width": 1280, "height": 300}, "too narrow"),
        (30.0, {"fps": 4.0}, "too few frames"),
    ],
)
def test_sizes_have_limits(duration: float, changes: dict[str, float], reason: str) -> None:
    media = make_media(make_record(), duration, info=make_info(duration, **changes))
    assert reason_of(Size(), media) == reason
