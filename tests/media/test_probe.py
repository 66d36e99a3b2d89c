"""What a file holds, and one clear sentence for everything that cannot be used."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorTrc

from openvmas.errors import InputError
from openvmas.media.probe import probe
from tests.media.clips import make_clip, tone


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("probe") / "clip.mp4", sound=tone(48_000))


def test_plain_clip(clip: Path) -> None:
    info = probe(clip)
    assert (info.duration, info.start, info.fps, info.frame_interval) == (Fraction(6, 5), 0, 25, Fraction(1, 25))
    assert (info.width, info.height, info.rotation, info.codec, info.n_frames) == (128, 96, 0, "h264", 30)
    assert info.has_audio and not info.is_hdr and info.path == str(clip)


@pytest.mark.parametrize("fps", [15, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 50, 60])
@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_duration_is_exact_at_any_rate(tmp_path: Path, fps: Fraction, kind: str) -> None:
    info = probe(make_clip(tmp_path / f"clip.{kind}", fps=fps, n_frames=37, options={"preset": "veryfast"}))
    assert info.duration == 37 / Fraction(fps)
    assert info.fps == fps
    assert info.frame_interval == 1 / Fraction(fps)


def test_variable_rate(tmp_path: Path) -> None:
    times = [Fraction(t, 1000) for t in (0, 40, 80, 500, 540, 580, 620)]
    info = probe(make_clip(tmp_path / "clip.mp4", times=times))
    assert info.duration - times[-1] > 0
    assert info.duration <= times[-1] + Fraction(1, 10)
    assert info.frame_interval == Fraction(1, 25)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "mov"])
def test_late_start(tmp_path: Path, kind: str) -> None:
    info = probe(make_clip(tmp_path / f"clip.{kind}", start=Fraction(3, 2), sound=tone(96_000)))
    assert info.start == Fraction(3, 2)
    assert info.duration == Fraction(6, 5)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(tmp_path: Path, rotation: int) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", size=(96, 128), rotation=rotation))
    assert (info.rotation, info.width, info.height) == (rotation, 96, 128)


def test_wide_pixels(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.zeros((96, 96, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height) == (128, 96)


def test_hdr(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "a.mp4", codec="libx265", pix_fmt="yuv420p10le", transfer=ColorTrc.SMPTE2084))
    assert info.is_hdr and info.codec == "hevc"


def test_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", cover=True, sound=tone(48_000)))
    assert (info.codec, info.n_frames, info.width) == ("h264", 30, 128)


def test_largest_of_several_pictures(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        streams = []
        for size in ((64, 48), (128, 96)):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            streams.append(stream)
        for i in range(5):
            for stream in streams:
                pixels = np.zeros((stream.height, stream.width, 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    info = probe(tmp_path / "clip.mkv")
    assert (info.width, info.stream_index) == (128, 1)


def refused(path: Path, match: str) -> None:
    """The error is one sentence that names the file and ends with the remedy."""
    with pytest.raises(InputError, match=match) as caught:
        probe(path)
    message = str(caught.value)
    assert str(path) in message and message.endswith(".") and "\n" not in message


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "does not exist; check the path")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder; give a video file")


def test_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "not a regular file")


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    refused(tmp_path / "clip.mp4", r"is empty \(0 bytes\)")


@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".m3u8"])
def test_text(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    path.write_text("#EXTM3U\n#EXTINF:10,\n/etc/passwd\n" * 20)
    refused(path, "holds text, not video")


def test_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(50_000))
    refused(path, "not a video file that can be read")


def test_no_permission(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    refused(clip, "no permission")


def test_truncated_before_index(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes()[:3000])
    refused(path, r"no usable index \(moov\)")


def test_sound_only(tmp_path: Path) -> None:
    path = tmp_path / "sound.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tone(48_000), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    refused(path, "sound but no picture")


def test_cover_only(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "clip.mp4", cover=True, sound=tone(48_000), n_frames=5)
    path = tmp_path / "song.m4a"
    with av.open(str(source)) as container, av.open(str(path), "w", format="mp4") as result:
        streams = {}
        for stream in container.streams:
            if stream.type == "audio" or (stream.type == "video" and stream.width == 640):
                streams[stream.index] = result.add_stream_from_template(stream, opaque=True)
                streams[stream.index].disposition = stream.disposition
        for packet in container.demux():
            if packet.size and packet.stream_index in streams:
                packet.stream = streams[packet.stream_index]
                result.mux(packet)
    refused(path, "sound with a cover picture")


def test_one_frame(tmp_path: Path) -> None:
    refused(make_clip(tmp_path / "clip.mp4", n_frames=1), "has only 1 frame")


def test_still_picture(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(tmp_path / "x.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "x.png").rename(path)
    refused(path, "not a video file that can be read")


def test_tiny(tmp_path: Path) -> None:
    refused(make_clip(tmp_path / "clip.mp4", size=(16, 16)), "only 16x16 pixels; give a video of at least 32x32")


def test_smallest(tmp_path: Path) -> None:
    assert probe(make_clip(tmp_path / "clip.mp4", size=(32, 32))).width == 32


def test_too_large(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openvmas.media.probe.MAX_PIXELS", 128 * 96 - 1)
    refused(clip, "128x96, larger than 8192x4320 pixels; scale it down first")


def test_zero_duration(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            for packet in stream.encode(frame.reformat(format="yuvj420p")):
                packet.pts = packet.dts = 0
                container.mux(packet)
    refused(path, "duration of zero")


def test_codec_without_decoder(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip.read_bytes().replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    refused(path, "codec that is not known here; convert it to H.264|can be decoded; convert it to H.264")


def test_every_packet_damaged(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4")
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in spans:
        data[position : position + size] = bytes(size)
    path.write_bytes(bytes(data))
    refused(path, "no frame of its h264 picture can be decoded")
