"""What a file says beside its packets: aspect, sphere, 3D, Dolby Vision, kind, cover, timecode, tracks."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from openvmas.errors import InputError, OutputError
from openvmas.media.audio import other_audio, write_wav
from openvmas.media.containers import check_container, choose_extension
from openvmas.media.mux import mux
from openvmas.media.probe import open_media, probe
from tests.media.clips import make_clip, tone
from tests.media.odd_clips import (
    PLAIN,
    box,
    clicks,
    frames,
    heard,
    mux_original,
    payloads,
    remux,
    times,
    with_attachment,
    with_entry_boxes,
)  # fmt: skip


def finished(clip: Path, kind: str) -> Path:
    output = clip.with_name(f"out.{kind}")
    mux_original(clip, output)
    return output


@pytest.mark.parametrize("aspect", [Fraction(3, 4), Fraction(27, 64), Fraction(64, 45), Fraction(1)], ids=str)
@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_pixel_aspect_of_the_container(tmp_path: Path, aspect: Fraction, kind: str) -> None:
    coded = {"preset": "veryfast", "x264-params": "sar=4/3"}
    source = make_clip(tmp_path / "source.mp4", options=coded, sound=tone(9600))
    clip = remux(source, tmp_path / "clip.mp4", aspect=aspect)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect
    output = finished(clip, kind)
    with av.open(str(output)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect
    assert (probe(output).width, probe(output).height) == (probe(clip).width, probe(clip).height)
    assert payloads(output) == payloads(clip) and frames(output) == list(range(30))


def test_pixel_aspect_of_webm_and_matroska(tmp_path: Path) -> None:
    clip = remux(make_clip(tmp_path / "a.webm", codec="libvpx"), tmp_path / "b.mp4.mkv")
    info = probe(clip)
    sound = tmp_path / "sound.wav"
    write_wav(sound, np.zeros((2, 57_600), np.float32), 48_000)
    from openvmas.media.display_size import PADDING, write_display_size

    output = tmp_path / "plain.webm"
    with (
        av.open(str(clip)) as given,
        av.open(str(output), "w", container_options={"metadata_header_padding": str(PADDING)}) as result,
    ):
        copy = result.add_stream_from_template(given.streams.video[0], opaque=True)
        for packet in given.demux():
            if packet.size:
                packet.stream = copy
                result.mux(packet)
    write_display_size(output, 1, Fraction(4, 3))
    for kind in ("webm", "mkv"):
        mux(output, probe(output), sound, tmp_path / f"out.{kind}", overwrite=True)
        with av.open(str(tmp_path / f"out.{kind}")) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
        assert frames(tmp_path / f"out.{kind}") == list(range(info.n_frames))


def full(kind: bytes, payload: bytes) -> bytes:
    return box(kind, bytes(4) + payload)


SPHERE = full(b"st3d", b"\1") + box(
    b"sv3d", full(b"svhd", b"x\0") + box(b"proj", full(b"prhd", bytes(12)) + full(b"equi", bytes(16)))
)
DOLBY = box(b"dvvC", bytes([1, 0]) + struct.pack(">H", 8 << 9 | 4 << 3 | 1 << 2 | 1) + bytes([4 << 4]) + bytes(19))


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.parametrize(
    ("codec", "extra", "marks"), [("libx264", SPHERE, [b"st3d", b"sv3d"]), ("libx265", DOLBY, [b"dvvC"])]
)
def test_sphere_3d_and_dolby_vision(tmp_path: Path, codec: str, extra: bytes, marks: list[bytes], kind: str) -> None:
    source = make_clip(tmp_path / "source.mp4", codec=codec)
    clip = with_entry_boxes(source, tmp_path / "clip.mp4", extra)
    data = finished(clip, kind).read_bytes()
    assert [mark in data for mark in marks] == [True] * len(marks)
    if codec == "libx265":
        at = data.index(b"dvvC")
        assert data[at + 4 : at + 9] == DOLBY[8:13]


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ap4h": ("prores_ks", "yuva444p10le", {"options": {"profile": "4"}}),
    "apco": ("prores_ks", "yuv422p10le", {"options": {"profile": "0"}}),
    "apch": ("prores_ks", "yuv422p10le", {"options": {"profile": "3"}}),
    "dvcp": ("dvvideo", "yuv420p", {"size": (720, 576)}),
    "dvc ": ("dvvideo", "yuv411p", {"size": (720, 480), "fps": Fraction(30_000, 1001)}),
    "2vuy": ("rawvideo", "uyvy422", {}),
    "v210": ("v210", "yuv422p10le", {}),
}


@pytest.mark.parametrize("tag", KINDS)
def test_kinds_that_live_in_the_tag(tmp_path: Path, tag: str) -> None:
    codec, pix_fmt, how = KINDS[tag]
    clip = make_clip(tmp_path / "clip.mov", codec=codec, pix_fmt=pix_fmt, n_frames=4, **how)
    assert choose_extension(probe(clip))[0] == ".mov"
    output = finished(clip, "mov")
    for path in (clip, output):
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.codec_tag == tag
    assert payloads(output) == payloads(clip)


CANNOT = {
    "h263 3gp": ("clip.3gp", "h263", "yuv420p", (176, 144), "mp4", r"cannot hold h263 video; give an output in .mov\."),
    "dv tape": ("clip.avi", "dvvideo", "yuv420p", (720, 576), "mkv", r"cannot hold dvvideo .* in .mov\."),
    "prores": ("clip.mov", "prores_ks", "yuv422p10le", (128, 96), "mp4", r"hold prores video; give .* .mkv or .mov\."),
}


@pytest.mark.parametrize("case", CANNOT)
def test_remedies_are_true(tmp_path: Path, case: str) -> None:
    name, codec, pix_fmt, size, kind, words = CANNOT[case]
    clip = make_clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt, size=size, n_frames=4)
    info = probe(clip)
    with pytest.raises(OutputError, match=words) as refusal:
        check_container(info, tmp_path / f"out.{kind}")
    assert str(clip) in str(refusal.value)
    remedy = str(refusal.value).rstrip(".").rsplit(".", 1)[1]
    output = finished(clip, remedy)
    assert payloads(output) == payloads(clip)
    assert payloads(finished(clip, choose_extension(info)[0][1:])) == payloads(clip)


@pytest.mark.parametrize("pix_fmt", ["bgr24", "yuv420p", "rgb555le", "gray"])
def test_uncompressed_pictures_are_held_as_they_are_or_refused_at_the_door(tmp_path: Path, pix_fmt: str) -> None:
    clip = make_clip(tmp_path / "clip.avi", codec="rawvideo", pix_fmt=pix_fmt, n_frames=4)
    info = probe(clip)
    try:
        suffix = choose_extension(info)[0]
    except InputError as refusal:
        assert "rawvideo video, which no container with sound written here can hold; convert it" in str(refusal)
        with pytest.raises((InputError, OutputError), match=r"convert it to H.264"):
            check_container(info, tmp_path / "out.mkv")
        return
    output = finished(clip, suffix[1:])
    assert payloads(output) == payloads(clip) and frames(output) == frames(clip)


def test_covers(tmp_path: Path) -> None:
    tags = {"title": "T", "location": "+10.0+020.0/"}
    clip = make_clip(tmp_path / "clip.mp4", cover=True, metadata=tags)
    for kind in ("mp4", "mkv"):
        with av.open(str(finished(clip, kind))) as container:
            covers = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
            assert [(s.width, s.height) for s in covers] == [(640, 480)]
            assert container.metadata.get("title", container.metadata.get("TITLE")) == "T"
            assert len(container.streams.video) == 2
    again = tmp_path / "again.mp4"
    mux_original(tmp_path / "out.mkv", again)
    with av.open(str(again)) as container:
        assert container.streams.video[1].disposition == Disposition.attached_pic
    report = mux_original(clip, tmp_path / "out.mov")
    assert report.dropped == ("cover picture 1 (the container cannot hold it)",)


def test_attachments_in_an_mp4_are_named(tmp_path: Path) -> None:
    clip = with_attachment(make_clip(tmp_path / "a.mkv"), tmp_path / "clip.mkv")
    report = mux_original(clip, tmp_path / "out.mp4")
    assert report.dropped == ("attachment stream 1 (the container cannot hold it)",)
    assert frames(tmp_path / "out.mp4") == list(range(30))


@pytest.mark.parametrize("kind", ["mp4", "mov"])
def test_timecode(tmp_path: Path, kind: str) -> None:
    source = make_clip(tmp_path / "source.mov", n_frames=25)
    clip = remux(source, tmp_path / "clip.mov", metadata={"timecode": "01:02:03:04"})
    assert mux_original(clip, tmp_path / f"out.{kind}").dropped == ()
    with av.open(str(tmp_path / f"out.{kind}")) as container:
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"
    odd = remux(source, tmp_path / "odd.mkv", metadata={"timecode": "01:02:03;04"})
    report = mux_original(odd, tmp_path / f"odd.{kind}")
    assert report.dropped == ("timecode 01:02:03;04 (it does not fit the frame rate)",)


def with_languages(path: Path) -> Path:
    """A picture with sound in English, and in German with a click at half a second."""
    one = make_clip(path.with_name(f"one{path.suffix}"), n_frames=50, sound=0.3 * tone(96_000, 330))
    two = make_clip(path.with_name(f"two{path.suffix}"), n_frames=50, sound=clicks(2, 0.5))
    with av.open(str(one)) as first, av.open(str(two)) as second, av.open(str(path), "w") as result:
        copies: list[Any] = [result.add_stream_from_template(s, opaque=True) for s in first.streams]
        copies.append(result.add_stream_from_template(second.streams.audio[0], opaque=True))
        copies[1].metadata["language"], copies[2].metadata["language"] = "eng", "deu"
        copies[1].disposition, copies[2].disposition = Disposition.default, Disposition(0)
        for container, shift in ((first, 0), (second, 1)):
            for packet in container.demux():
                if packet.size and (shift == 0 or packet.stream_index == 1):
                    packet.stream = copies[packet.stream_index + shift]
                    result.mux(packet)
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_other_languages(tmp_path: Path, kind: str) -> None:
    clip = with_languages(tmp_path / f"clip.{kind}")
    assert other_audio(clip) == (2,)
    output = tmp_path / f"out.{kind}"
    assert mux_original(clip, output).dropped[1] == "audio stream 2 (deu) (--keep-all-audio keeps it)"
    assert len(mux_original(clip, output, kept_audio={2: None}).dropped) == 1
    assert payloads(output, 2) == payloads(clip, 2)
    with av.open(str(output)) as container:
        assert container.streams.audio[1].language == "deu"
        assert not container.streams.audio[1].disposition & Disposition.default
    mixed = tmp_path / "mixed.wav"
    write_wav(mixed, clicks(2, 1.25), 48_000)
    mux_original(clip, output, kept_audio={2: mixed})
    with av.open(str(output)) as container:
        assert [s.language or "und" for s in container.streams.audio] == ["eng", "deu"]
        wave = np.concatenate([f.to_ndarray().reshape(-1, 2).T if not f.format.is_planar else f.to_ndarray()
                               for f in container.decode(container.streams.audio[1])], axis=1)  # fmt: skip
    loud = np.flatnonzero(np.abs(wave[0]) > 0.3)
    assert loud[0] / 48_000 == pytest.approx(1.25, abs=0.04)


@pytest.mark.parametrize(("code", "written"), [("deu", "ger"), ("zho", "chi"), ("fra", "fra"), ("swe", "sve")])
def test_languages_that_quicktime_numbers(tmp_path: Path, code: str, written: str) -> None:
    source = make_clip(tmp_path / "source.mkv", sound=tone(9600))
    clip = tmp_path / "clip.mkv"
    with av.open(str(source)) as given, av.open(str(clip), "w") as result:
        copies: list[Any] = [result.add_stream_from_template(stream, opaque=True) for stream in given.streams]
        copies[0].metadata["language"] = code
        for packet in given.demux():
            if packet.size:
                packet.stream = copies[packet.stream_index]
                result.mux(packet)
    for kind, expected in (("mov", written), ("mp4", code), ("mkv", code)):
        with av.open(str(finished(clip, kind))) as container:
            assert container.streams.video[0].metadata["language"] == expected


def test_marks_of_3d_do_not_contradict_each_other(tmp_path: Path) -> None:
    """FFmpeg writes two kinds of marks; with both, a mov cannot be opened, and an mp4 forgets which half is which."""
    clip = with_entry_boxes(make_clip(tmp_path / "source.mp4"), tmp_path / "clip.mp4", SPHERE)
    for source in (clip, finished(clip, "mkv")):
        for kind in ("mp4", "mov"):
            output = tmp_path / f"{source.stem}-result.{kind}"
            mux_original(source, output)
            if source == clip or kind == "mp4":
                with av.open(str(output)) as container:
                    found = next(container.decode(video=0)).side_data
                    assert bytes(next(item for item in found if item.type.name == "STEREO3D"))[0] == 2


def test_titles_of_chapters_are_not_called_lost(tmp_path: Path) -> None:
    chapters = [{"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
    clip = make_clip(tmp_path / "clip.mp4", chapters=chapters)
    output = tmp_path / "out.mp4"
    assert mux_original(clip, output).dropped == ()
    with av.open(str(output)) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One"]


@pytest.mark.parametrize("tail", [bytes(8), bytes(4), struct.pack(">I4s", 3, b"pasp")])
def test_boxes_without_size_end(tmp_path: Path, tail: bytes) -> None:
    clip = with_entry_boxes(make_clip(tmp_path / "source.mp4"), tmp_path / "clip.mp4", SPHERE + tail)
    assert frames(finished(clip, "mp4")) == list(range(30))


def test_moving_track_beside_a_larger_still(tmp_path: Path) -> None:
    still = make_clip(tmp_path / "still.mp4", n_frames=1, size=(320, 240))
    moving = make_clip(tmp_path / "moving.mp4", n_frames=50, sound=clicks(2, 0.5))
    for order in ("still first", "moving first"):
        clip = tmp_path / "clip.mp4"
        parts = [still, moving] if order == "still first" else [moving, still]
        with av.open(str(parts[0])) as one, av.open(str(parts[1])) as two, av.open(str(clip), "w") as result:
            copies = {
                (c, s.index): result.add_stream_from_template(s, opaque=True) for c in (one, two) for s in c.streams
            }
            for container in (one, two):
                for packet in container.demux():
                    if packet.size:
                        packet.stream = copies[container, packet.stream_index]
                        result.mux(packet)
        info = probe(clip)
        assert (info.n_frames, info.width) == (50, 128)
        output = finished(clip, "mp4")
        with av.open(str(output)) as container:
            expected = [320, 128] if order == "still first" else [128, 320]
            assert [s.width for s in container.streams.video] == expected
        assert frames(output) == list(range(50))
        assert heard(output) == pytest.approx([0.5], abs=0.001)


def packed_avi(path: Path) -> Path:
    """MPEG-4 as DivX and XviD packed it: P and B frame in one packet, then one that holds nothing."""
    with av.open(
        str(make_clip(path.with_name("b.mkv"), codec="mpeg4", n_frames=49, options={"bf": "1", "g": "12"}))
    ) as c:
        header = c.streams.video[0].codec_context.extradata or b""
        pieces = [bytes(packet) for packet in c.demux(video=0) if packet.size]
    types = [piece[piece.index(b"\0\0\1\xb6") + 4] >> 6 for piece in pieces]  # 0: I, 1: P, 2: B
    mark = b"\0\0\1\xb2DivX503b1393p"
    chunks: list[bytes] = []
    place = 0
    while place < len(pieces):
        if place + 1 < len(pieces) and types[place + 1] == 2:
            chunks += [pieces[place] + pieces[place + 1], b"\0\0\1\xb6\x57\x80"]
            place += 2
        else:
            chunks.append(pieces[place])
            place += 1
    chunks[0] = header + mark + chunks[0]
    with av.open(str(path), "w") as result:
        stream = result.add_mux_stream("mpeg4", rate=25, width=128, height=96)
        stream.time_base = Fraction(1, 25)
        for dts, chunk in enumerate(chunks):
            packet = av.Packet(chunk)
            packet.stream, packet.time_base, packet.pts, packet.dts = stream, Fraction(1, 25), dts, dts
            packet.is_keyframe = dts == 0
            result.mux(packet)
    return path


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_packed_frames_are_unpacked(tmp_path: Path, kind: str) -> None:
    clip = packed_avi(tmp_path / "clip.avi")
    info = probe(clip)
    assert info.clock.is_packed and info.n_frames == 49
    assert frames(clip) == list(range(49))
    output = finished(clip, kind)
    assert frames(output) == list(range(49))
    assert np.diff(times(output)) == pytest.approx(0.04, abs=0.0011)


def test_b_frames_of_mpeg4_in_avi(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.avi", codec="mpeg4", n_frames=49, options={"bf": "2"})
    assert frames(clip) == list(range(49))
    assert frames(finished(clip, "mp4")) == list(range(49))


@pytest.mark.parametrize("early", [80, 200])
def test_shown_before_decoded(tmp_path: Path, early: int) -> None:
    source = make_clip(tmp_path / "source.flv", n_frames=50, options=PLAIN, sound=clicks(2, 0.5))
    data, at = bytearray(source.read_bytes()), 13
    while at + 11 < len(data):
        size, payload = int.from_bytes(data[at + 1 : at + 4], "big"), at + 11
        if data[at] == 9 and data[payload] & 15 == 7 and data[payload + 1] == 1:
            shift = int.from_bytes(data[payload + 2 : payload + 5], "big", signed=True) - early
            data[payload + 2 : payload + 5] = shift.to_bytes(3, "big", signed=True)
        at = payload + size + 4
    clip = tmp_path / "clip.flv"
    clip.write_bytes(bytes(data))
    assert probe(clip).clock.lead > 0
    for kind in ("mp4", "mkv"):
        output = finished(clip, kind)
        assert frames(output) == list(range(50))
        assert heard(output) == pytest.approx(heard(clip), abs=0.0011)


@pytest.mark.parametrize("missing", [(9,), (3, 4), (18,)])
def test_frames_left_out_of_an_avi_are_no_rounding(tmp_path: Path, missing: tuple[int, ...]) -> None:
    shown = [Fraction(i, 5) for i in range(20) if i not in missing]
    clip = make_clip(tmp_path / "clip.avi", codec="mpeg4", times=shown, fps=5, base=Fraction(1, 5))
    info = probe(clip)
    assert (info.n_frames, info.duration) == (20 - len(missing), 4)
    assert probe(finished(clip, "mp4")).duration == 4


def test_bare_and_damaged_streams_have_their_own_words(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.h264")
    with pytest.raises(InputError, match=r"is a bare h264 stream without times; put it into a container first"):
        probe(clip)
    whole = make_clip(tmp_path / "whole.mp4")
    with av.open(str(whole)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(whole.read_bytes())
    for position, size in spans:
        data[position : position + size] = bytes(size)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"no frame of its h264 picture can be decoded; it is damaged") as refusal:
        probe(damaged)
    assert "convert" not in str(refusal.value)
    with open_media(whole) as container:
        assert container.format.name.startswith("mov")
