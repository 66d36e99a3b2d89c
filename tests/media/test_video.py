"""Which frames are chosen, seen from the numbers in their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.container import InputContainer
from av.video.reformatter import ColorTrc

from openvmas.media import video
from openvmas.media.video import FrameRequest, VideoInfo, probe, read_frames
from tests.media.clips import make_clip, number

ASKED = (Fraction(2), Fraction(10), Fraction(25, 2), Fraction(30), Fraction(100))


def numbers(path: Path, requests: Sequence[FrameRequest], chunk: int = 64) -> list[tuple[list[int], list[float]]]:
    """For each request the numbers read from the pixels and the times told."""
    found: list[tuple[list[int], list[float]]] = [([], []) for _ in requests]
    for piece in read_frames(path, requests, chunk=chunk):
        assert 1 <= len(piece.times) == len(piece.frames) <= chunk
        found[piece.request][0].extend(number(frame) for frame in piece.frames)
        found[piece.request][1].extend(piece.times)
    return found


def nearest(times: Sequence[Fraction], duration: Fraction, fps: Fraction) -> list[int]:
    """The rule by brute force for steady rates: nearest presentation time, the earlier frame at a tie."""
    count = -(-duration * fps // 1)
    return [min(range(len(times)), key=lambda i: (abs(times[i] - k / fps), i)) for k in range(count)]


@pytest.mark.parametrize("fps", [15, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 50, 60])
def test_nearest_frame_at_every_rate(tmp_path: Path, fps: Fraction) -> None:
    path = make_clip(tmp_path / "clip.mp4", fps=fps, n_frames=50, options={"preset": "veryfast"})
    times = [i / Fraction(fps) for i in range(50)]
    found = numbers(path, [FrameRequest(asked, (64, 48), True) for asked in ASKED])
    for asked, (chosen, told) in zip(ASKED, found, strict=True):
        assert chosen == nearest(times, 50 / Fraction(fps), asked)
        np.testing.assert_allclose(told, [float(times[i]) for i in chosen], atol=1e-9)
        inside = [k for k in range(len(chosen)) if k / asked <= times[-1]]
        assert all(abs(times[chosen[k]] - k / asked) <= Fraction(1, 2) / Fraction(fps) for k in inside)


CASES = {
    "h264 mp4": ("clip.mp4", {"options": {"preset": "veryfast"}}),
    "h264 mov": ("clip.mov", {}),
    "h264 mkv": ("clip.mkv", {"options": {"preset": "veryfast"}}),
    "h264 avi": ("clip.avi", {"options": {"preset": "veryfast"}}),
    "h264 ts": ("clip.ts", {"options": {"preset": "veryfast"}}),
    "h264 flv": ("clip.flv", {}),
    "open gop": ("clip.mp4", {"options": {"preset": "veryfast", "x264-params": "open-gop=1:keyint=10"}}),
    "hevc mp4": ("clip.mp4", {"codec": "libx265"}),
    "hevc 10 bit": ("clip.mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "hevc HDR": ("clip.mp4", {"codec": "libx265", "pix_fmt": "yuv420p10le", "transfer": ColorTrc.SMPTE2084}),
    "vp9 webm": ("clip.webm", {"codec": "libvpx-vp9"}),
    "vp8 webm": ("clip.webm", {"codec": "libvpx"}),
    "av1 mp4": ("clip.mp4", {"codec": "libsvtav1"}),
    "av1 webm": ("clip.webm", {"codec": "libsvtav1"}),
    "mpeg4 avi": ("clip.avi", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "mpeg4 mp4": ("clip.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "mpeg2 mpg": ("clip.mpg", {"codec": "mpeg2video"}),
    "mjpeg avi": ("clip.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "prores mov": ("clip.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "ffv1 mkv": ("clip.mkv", {"codec": "ffv1"}),
    "gif": ("clip.gif", {"codec": "gif", "pix_fmt": "rgb8"}),
    "odd size": ("clip.mkv", {"size": (127, 95), "pix_fmt": "yuv444p"}),
    "late start": ("clip.mp4", {"start": Fraction(1, 2)}),
    "late start mkv": ("clip.mkv", {"start": Fraction(3, 2)}),
    "turned 90": ("clip.mp4", {"rotation": 90}),
    "turned 180": ("clip.mp4", {"rotation": 180}),
    "turned 270": ("clip.mov", {"rotation": 270}),
    "cover": ("clip.mp4", {"cover": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_every_frame_of_every_format(tmp_path: Path, case: str) -> None:
    name, how = CASES[case]
    path = make_clip(tmp_path / name, **how)
    every, tenth = numbers(path, [FrameRequest(None, 64, True), FrameRequest(Fraction(10), (64, 48), False)], chunk=7)
    assert every[0] == list(range(30))
    np.testing.assert_allclose(every[1], np.arange(30) / 25, atol=0.001)
    assert tenth[0] == nearest([Fraction(i, 25) for i in range(30)], Fraction(6, 5), Fraction(10))


def test_variable_rate_shows_what_is_on_the_screen(tmp_path: Path) -> None:
    # The third frame is held for 2 s; the next one must not be seen earlier than half a usual interval before it.
    times = [Fraction(t, 1000) for t in (0, 40, 80, 2080, 2120, 2160, 2200)]
    path = make_clip(tmp_path / "clip.mkv", times=times, base=Fraction(1, 1000))
    ((chosen, told),) = numbers(path, [FrameRequest(Fraction(50), 64, True)])
    for k, frame in enumerate(chosen[:111]):
        on_screen = max(i for i in range(7) if times[i] * 50 <= k)
        ahead = min(6, on_screen + 1)
        assert frame == on_screen or (frame == ahead and times[ahead] - Fraction(k, 50) <= Fraction(1, 50))
    assert chosen[104] == 3 and chosen[103] == 2
    assert told[104] == pytest.approx(2.08)


def test_jittering_rate_is_never_off_by_more_than_half_a_frame(tmp_path: Path) -> None:
    steps = np.random.default_rng(1).integers(25, 50, 60)
    times = [Fraction(int(t), 1000) for t in np.concatenate([[0], np.cumsum(steps)])]
    path = make_clip(tmp_path / "clip.mp4", times=times)
    ((chosen, _),) = numbers(path, [FrameRequest(Fraction(12), 64, True)])
    for k, frame in enumerate(chosen):
        gap = max(times[min(frame + 1, 60)] - times[frame], times[frame] - times[max(frame - 1, 0)])
        assert k / Fraction(12) > times[-1] or abs(times[frame] - k / Fraction(12)) <= gap / 2


def test_thinned_to_max_fps(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", fps=60, n_frames=60)
    pieces = list(read_frames(path, [FrameRequest(None, 64, True)], max_fps=Fraction(30)))
    assert [number(f) for piece in pieces for f in piece.frames] == list(range(0, 60, 2))


def test_sizes_and_planes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", size=(96, 128), rotation=90)
    requests = [FrameRequest(Fraction(5), 64, False), FrameRequest(Fraction(5), (32, 40), True)]
    shapes = {piece.request: piece.frames.shape[1:] for piece in read_frames(path, requests)}
    assert shapes == {0: (64, 48, 3), 1: (40, 32)}
    assert all(piece.frames.dtype == np.uint8 for piece in read_frames(path, requests))


def test_colours_and_range(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    colours = [(255, 255, 255), (0, 0, 0), (200, 40, 40), (40, 180, 60), (50, 60, 220)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i, colour in enumerate(colours):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), colour, np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    rgb, grey = [], []
    for piece in read_frames(path, [FrameRequest(None, 32, False), FrameRequest(None, 32, True)]):
        (grey if piece.request else rgb).extend(piece.frames)
    np.testing.assert_allclose([frame.mean(axis=(0, 1)) for frame in rgb], colours, atol=4)
    assert grey[0].mean() > 252 and grey[1].mean() < 3


def test_broken_packets_in_the_middle_are_skipped(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", n_frames=60, options={"g": "10", "x264-params": "scenecut=0:bframes=0"})
    with av.open(str(path)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in spans[20:25]:
        data[position : position + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(bytes(data))
    ((chosen, _),) = numbers(path, [FrameRequest(Fraction(25), 64, True)])
    assert len(chosen) == 60
    assert chosen[:20] == list(range(20)) and chosen[30:] == list(range(30, 60))


def test_truncated_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mkv", n_frames=200, codec="mpeg4")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    info = probe(path)
    ((chosen, _),) = numbers(path, [FrameRequest(Fraction(25), 64, True)])
    assert 80 < info.n_frames < 160
    assert abs(len(chosen) - info.n_frames) <= 1
    assert chosen[: info.n_frames - 1] == list(range(info.n_frames - 1))


def test_memory_does_not_grow_with_chunks(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "clip.mp4", n_frames=40)
    sizes = [len(piece.times) for piece in read_frames(path, [FrameRequest(Fraction(100), 32, True)], chunk=16)]
    assert sizes == [16] * 10


def test_pq_highlights_and_mid_tones(tmp_path: Path) -> None:
    # PQ code 0.58 is 203 cd/m2, diffuse white: as plain 8-bit it would be mid-grey, shown it must be bright.
    path = tmp_path / "clip.mkv"
    with av.open(str(path), "w") as container:
        options = {"crf": "5", "preset": "ultrafast", "x265-params": "log-level=none:pools=1"}
        stream = container.add_stream("libx265", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.codec_context.color_trc = ColorTrc.SMPTE2084
        for i in range(5):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 148, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p10le")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (piece,) = read_frames(path, [FrameRequest(None, 32, True)])
    assert 170 < piece.frames.mean() < 215


def test_times_behind_the_measured_end_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged FLV gave its frames other times when it was read again, one of them days away: the run had no end."""
    path = make_clip(tmp_path / "clip.mp4", fps=25, n_frames=50)
    info, shown = probe(path), video.shown

    def shown_again(container: InputContainer, info: VideoInfo) -> tuple[np.ndarray, np.ndarray]:
        starts, ends = shown(container, info)
        return np.append(starts, starts[-1] + 10**12), np.append(ends, ends[-1] + 10**12)

    monkeypatch.setattr(video, "shown", shown_again)
    pieces = list(read_frames(path, [FrameRequest(None, 32, True), FrameRequest(Fraction(10), 32, True)], info))
    assert [sum(len(piece.frames) for piece in pieces if piece.request == which) for which in (0, 1)] == [50, 20]
    assert max(piece.times[-1] for piece in pieces) < info.duration
