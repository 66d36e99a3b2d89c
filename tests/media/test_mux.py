"""The finished file: the same picture packets, a soundtrack in its place, tags kept, nothing half-made."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from openvmas.errors import InputError, OutputError
from openvmas.media.audio import read_audio, read_audio_blocks, write_wav
from openvmas.media.containers import choose_extension, sound_codec
from openvmas.media.mix import mix
from openvmas.media.mux import MUSIC_TITLE, MuxReport, mux, read_provenance
from openvmas.media.probe import probe
from openvmas.media.video import FrameRequest, read_frames
from openvmas.settings import MixOptions
from openvmas.timeline import Clock
from tests.media.clips import make_clip, number, tone
from tests.media.test_loudness import by_ffmpeg, music

pytestmark = pytest.mark.slow

MADE = {"generator": "OpenVMAS 0.1", "seed": 7}


def pictures(path: Path) -> list[tuple[Any, ...]]:
    """Every packet of the picture: hash of its bytes, pts, dts, duration, keyframe (times in s)."""
    index = probe(path).stream_index
    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams[index]):
            if packet.size:
                times = [None if t is None else t * packet.time_base for t in (packet.pts, packet.dts, packet.duration)]
                found.append((hashlib.sha256(bytes(packet)).hexdigest(), *times, packet.is_keyframe))
    return found


def soundtrack(tmp_path: Path, duration: Fraction, seed: int = 0) -> tuple[Path, np.ndarray]:
    n_samples = Clock(Fraction(48_000)).count(duration)
    wave = music(n_samples / 48_000 + 0.001, seed=seed)[:, :n_samples] * 0.5
    path = tmp_path / f"sound{seed}.wav"
    write_wav(path, wave, 48_000)
    return path, wave


def finished(clip: Path, output: Path, **how: Any) -> tuple[MuxReport, np.ndarray]:
    """Mux a clip with known sound: the report and the sound."""
    info = probe(clip)
    path, wave = soundtrack(clip.parent, info.duration)
    report = mux(clip, info, path, output, metadata=MADE, overwrite=True, **how)
    assert not [name for name in os.listdir(output.parent) if name.startswith(".")]
    return report, wave


def lag(reference: np.ndarray, heard: np.ndarray) -> int:
    """By how many samples `heard` is late."""
    n = 1 << int(np.ceil(np.log2(2 * len(reference))))
    both = np.fft.irfft(np.fft.rfft(heard[: len(reference)], n) * np.conj(np.fft.rfft(reference, n)), n)
    return int((np.argmax(both) + n // 2) % n - n // 2)


SAME = {
    "h264 mp4": ("clip.mp4", {"options": {"preset": "veryfast"}}),
    "h264 mp4 29.97": ("clip.mp4", {"fps": Fraction(30000, 1001), "options": {"preset": "veryfast"}}),
    "h264 mov": ("clip.mov", {"options": {"preset": "veryfast"}}),
    "h264 mkv": ("clip.mkv", {"options": {"preset": "veryfast"}}),
    "h264 mkv 23.976": ("clip.mkv", {"fps": Fraction(24000, 1001), "options": {"preset": "veryfast"}}),
    "hevc mp4": ("clip.mp4", {"codec": "libx265"}),
    "hevc mkv 10 bit": ("clip.mkv", {"codec": "libx265", "pix_fmt": "yuv420p10le"}),
    "mpeg4 mp4": ("clip.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}),
    "vp9 webm": ("clip.webm", {"codec": "libvpx-vp9", "sound_codec": "libopus"}),
    "vp8 webm": ("clip.webm", {"codec": "libvpx", "sound_codec": "libopus"}),
    "av1 webm": ("clip.webm", {"codec": "libsvtav1", "sound_codec": "libopus"}),
    "av1 mp4": ("clip.mp4", {"codec": "libsvtav1"}),
    "prores mov": ("clip.mov", {"codec": "prores_ks", "pix_fmt": "yuv422p10le"}),
    "late mp4": ("clip.mp4", {"start": Fraction(2, 5), "options": {"preset": "veryfast"}}),
    "late mkv": ("clip.mkv", {"start": Fraction(2, 5)}),
    "late odd mp4": ("clip.mp4", {"start": Fraction(1, 7)}),
    "variable mp4": ("clip.mp4", {"times": [Fraction(t, 1000) for t in range(0, 1200, 37)] + [Fraction(2)]}),
    "variable mkv": (
        "clip.mkv",
        {"times": [Fraction(t, 1000) for t in (0, 40, 90, 400, 420)], "base": Fraction(1, 1000)},
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_picture_is_the_same_bit_for_bit(tmp_path: Path, case: str) -> None:
    name, how = SAME[case]
    clip = make_clip(tmp_path / name, sound=tone(40_000), **how)
    output = tmp_path / f"out{clip.suffix}"
    report, wave = finished(clip, output)
    assert pictures(output) == pictures(clip)
    before, after = probe(clip), probe(output)
    assert (after.duration, after.start, after.fps) == (before.duration, before.start, before.fps)
    assert report.n_packets == before.n_frames and report.codec == (
        "aac" if report.container in ("mp4", "mov") else "opus"
    )
    heard = read_audio(output, info=after).wave
    # Matroska rounds times to 1 ms, which only a late start shows.
    tolerance = 48 if clip.suffix == ".mkv" and before.start else 0
    assert abs(heard.shape[1] - wave.shape[1]) <= tolerance
    assert abs(lag(wave[0], heard[0])) <= tolerance and abs(lag(wave[1], heard[1])) <= tolerance
    if tolerance:
        return
    low = np.sqrt(np.mean((heard - wave) ** 2) / np.mean(wave**2))
    assert low < 0.35  # lossy, but neither cut nor shifted


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_finished_file_by_an_independent_meter(tmp_path: Path, kind: str) -> None:
    clip, output = make_clip(tmp_path / f"clip.{kind}", n_frames=150), tmp_path / f"out.{kind}"
    info = probe(clip)
    options = MixOptions(loudness=-11.0)
    mix(music(6, seed=3), None, info.duration, options, output=tmp_path / "mix.wav", codec=sound_codec(output))
    mux(clip, info, tmp_path / "mix.wav", output)
    loudness, peak = by_ffmpeg(read_audio(output, info=probe(output)).wave, 48_000)
    assert loudness == pytest.approx(-11, abs=0.5)
    assert peak <= -0.95


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm", "ts"])
def test_sound_that_the_mix_encoded_is_written_as_if_encoded_here(tmp_path: Path, kind: str) -> None:
    """The same file byte for byte, for pictures that begin late, too (ts)."""
    how = {"codec": "libvpx"} if kind == "webm" else {}
    clip, output = make_clip(tmp_path / f"clip.{kind}", n_frames=62, **how), f"out.{'mp4' if kind == 'ts' else kind}"
    info, mixed, packets = probe(clip), tmp_path / "mix.wav", []
    codec = sound_codec(tmp_path / output)
    mix(music(3, seed=5), None, info.duration, MixOptions(loudness=-6.0), output=mixed, codec=codec, packets=packets)
    assert packets
    for folder, encoded in (("kept", packets), ("again", [])):
        (tmp_path / folder).mkdir()
        mux(clip, info, mixed, tmp_path / folder / output, encoded=encoded)
    files = [tmp_path / folder / output for folder in ("kept", "again")]
    sounds = [sounds_of(file) for file in files]
    assert sounds[0] == sounds[1] and pictures(files[0]) == pictures(files[1])
    if kind in ("mp4", "mov", "ts"):  # Matroska has a random number in each file
        assert files[0].read_bytes() == files[1].read_bytes()


def sounds_of(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        return [(bytes(p), p.pts, p.dts, p.duration) for p in container.demux(container.streams.audio[0]) if p.size]


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_reaches_the_last_sample(tmp_path: Path, kind: str) -> None:
    clip = make_clip(tmp_path / f"clip.{kind}", n_frames=31)
    info = probe(clip)
    n_samples = Clock(Fraction(48_000)).count(info.duration)
    wave = tone(n_samples, 1000, 0.5)
    write_wav(tmp_path / "sound.wav", wave, 48_000)
    mux(clip, info, tmp_path / "sound.wav", tmp_path / f"out.{kind}")
    heard = read_audio(tmp_path / f"out.{kind}").wave
    assert heard.shape[1] == n_samples
    for part in (slice(0, 480), slice(n_samples - 480, n_samples)):
        assert np.sqrt(np.mean(heard[:, part] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.15)


@pytest.mark.parametrize(
    ("name", "how", "suffix"),
    [
        ("clip.avi", {"codec": "mpeg4"}, ".mp4"),
        ("clip.avi", {"options": {"preset": "veryfast"}}, ".mp4"),
        ("clip.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}, ".mkv"),
        ("clip.ts", {"options": {"preset": "veryfast"}}, ".mp4"),
        ("clip.flv", {}, ".mp4"),
        ("clip.mpg", {"codec": "mpeg2video"}, ".mp4"),
    ],
)
def test_other_containers_are_written_as_one_that_works(tmp_path: Path, name: str, how: Any, suffix: str) -> None:
    clip = make_clip(tmp_path / name, **how)
    info = probe(clip)
    chosen, reason = choose_extension(info)
    assert chosen == suffix and reason is not None and f"written as {suffix}" in reason
    output = tmp_path / f"out{chosen}"
    _, wave = finished(clip, output)
    frames = [f for piece in read_frames(output, [FrameRequest(None, 64, True)]) for f in piece.frames]
    assert [number(frame) for frame in frames] == list(range(30))
    after = probe(output)
    assert abs(after.duration - info.duration) <= Fraction(1, 1000)
    assert lag(wave[0], read_audio(output, info=after).wave[0]) == 0


@pytest.mark.parametrize(
    ("name", "how"), [("clip.gif", {"codec": "gif", "pix_fmt": "rgb8"}), ("clip.wmv", {"codec": "wmv2"})]
)
def test_codecs_that_no_container_here_holds(tmp_path: Path, name: str, how: Any) -> None:
    with pytest.raises(InputError, match=r"no container with sound written here can hold; convert it to H.264"):
        choose_extension(probe(make_clip(tmp_path / name, n_frames=5, **how)))


def test_extensions_stay(tmp_path: Path) -> None:
    for name, how in (("a.mp4", {}), ("a.mov", {}), ("a.mkv", {}), ("a.webm", {"codec": "libvpx"})):
        assert choose_extension(probe(make_clip(tmp_path / name, n_frames=5, **how))) == (Path(name).suffix, None)
    assert [sound_codec(name) for name in ("a.mp4", "a.mov", "a.mkv", "a.webm")] == ["aac", "aac", "opus", "opus"]


@pytest.mark.parametrize("rotation", [90, 270])
def test_rotation_is_kept(tmp_path: Path, rotation: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", rotation=rotation)
    finished(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").rotation == rotation


def test_colour_description_is_kept(tmp_path: Path) -> None:
    from av.video.reformatter import ColorTrc

    clip = make_clip(tmp_path / "clip.mp4", codec="libx265", pix_fmt="yuv420p10le", transfer=ColorTrc.SMPTE2084)
    finished(clip, tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").is_hdr
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv"])
def test_tags_and_chapters_are_kept(tmp_path: Path, kind: str) -> None:
    chapters = [
        {"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}},
        {"id": 2, "start": 500, "end": 1200, "time_base": Fraction(1, 1000), "metadata": {"title": "Two"}},
    ]
    tags = {"title": "My film", "artist": "Ada", "comment": "holiday\nat the sea"}
    clip = make_clip(tmp_path / f"clip.{kind}", metadata=tags, chapters=chapters)
    output = tmp_path / f"out.{kind}"
    finished(clip, output)
    with av.open(str(output)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
        marks = [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in container.chapters()
        ]
    assert found["title"] == "My film" and found["artist"] == "Ada"
    assert found["comment"].startswith("holiday\nat the sea\n{")
    assert marks == [(0, Fraction(1, 2), "One"), (Fraction(1, 2), Fraction(6, 5), "Two")]
    assert read_provenance(output) == MADE
    assert read_provenance(clip) is None


def test_provenance_is_replaced_when_scored_again(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", metadata={"comment": "mine"})
    finished(clip, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    sound, _ = soundtrack(tmp_path, info.duration)
    mux(tmp_path / "out.mp4", info, sound, tmp_path / "again.mp4", metadata={**MADE, "seed": 8})
    with av.open(str(tmp_path / "again.mp4")) as container:
        assert container.metadata["comment"].splitlines()[0] == "mine"
        assert len(container.metadata["comment"].splitlines()) == 2
    assert read_provenance(tmp_path / "again.mp4") == {**MADE, "seed": 8}


def test_unusual_tags_of_telephones_are_kept(tmp_path: Path) -> None:
    tags = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.location.ISO6709": "+48.1+011.5/"}
    clip = make_clip(tmp_path / "clip.mov", metadata=tags, muxer={"movflags": "use_metadata_tags"})
    finished(clip, tmp_path / "out.mov")
    with av.open(str(tmp_path / "out.mov")) as container:
        assert tags.items() <= container.metadata.items()
    assert read_provenance(tmp_path / "out.mov") == MADE


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_music_as_a_track_of_its_own(tmp_path: Path, kind: str) -> None:
    clip = make_clip(tmp_path / f"clip.{kind}", sound=tone(48_000))
    alone, wave = soundtrack(tmp_path, Fraction(6, 5), seed=5)
    output = tmp_path / f"out.{kind}"
    report, _ = finished(clip, output, music=alone)
    assert report.dropped == ("audio stream 1 (the soundtrack takes its place)",)
    with av.open(str(output)) as container:
        first, second = container.streams.audio
        title = second.metadata.get("title") or second.metadata.get("handler_name") or second.metadata.get("name")
        assert title == MUSIC_TITLE
        assert first.disposition & av.stream.Disposition.default
        assert not second.disposition & av.stream.Disposition.default
        heard = np.concatenate([frame.to_ndarray() for frame in container.decode(second)], axis=1)
    heard = heard.reshape(-1, 2).T if len(heard) == 1 else heard
    assert lag(wave[0], heard[0][: wave.shape[1]]) == 0


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "mov_text"), ("mkv", "subrip")])
def test_subtitles_are_kept(tmp_path: Path, kind: str, codec: str) -> None:
    clip = make_clip(tmp_path / f"clip.{kind}", subtitles=codec)
    report, _ = finished(clip, tmp_path / f"out.{kind}")
    assert report.dropped == ()
    texts = []
    for path in (clip, tmp_path / f"out.{kind}"):
        with av.open(str(path)) as container:
            (stream,) = container.streams.subtitles
            packets = [p for p in container.demux(stream) if p.size and b"Hello" in bytes(p)]
            texts.append([(bytes(p), p.pts * p.time_base, p.duration * p.time_base) for p in packets])
    assert texts[0] == texts[1] and len(texts[0]) == 1


def test_what_the_container_cannot_hold_is_named(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", subtitles="subrip")
    report, _ = finished(clip, tmp_path / "out.mp4")
    assert report.dropped == ("subtitle stream 1 (the container cannot hold it)",)


def test_attachments_and_covers_are_kept(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "plain.mkv")
    with av.open(str(clip)) as source, av.open(str(tmp_path / "clip.mkv"), "w") as result:
        copy = result.add_stream_from_template(source.streams.video[0], opaque=True)
        result.add_attachment("letters.ttf", "application/x-truetype-font", b"abc" * 100)
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = copy
                result.mux(packet)
    finished(tmp_path / "clip.mkv", tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        (attachment,) = [stream for stream in container.streams if stream.type == "attachment"]
        assert attachment.metadata["filename"] == "letters.ttf"
    covered = make_clip(tmp_path / "covered.mp4", cover=True)
    finished(covered, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        covers = [s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic]
        assert [(s.width, s.height) for s in covers] == [(640, 480)]
    assert pictures(tmp_path / "out.mp4") == pictures(covered)


def test_existing_output_is_kept_unless_asked(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    sound, _ = soundtrack(tmp_path, Fraction(6, 5))
    (tmp_path / "out.mp4").write_text("precious")
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        mux(clip, probe(clip), sound, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "precious"
    mux(clip, probe(clip), sound, tmp_path / "out.mp4", overwrite=True)
    assert probe(tmp_path / "out.mp4").n_frames == 30
    with pytest.raises(OutputError, match="is the input itself"):
        mux(clip, probe(clip), sound, clip, overwrite=True)


def test_codec_that_the_container_cannot_hold(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    sound, _ = soundtrack(tmp_path, Fraction(6, 5))
    with pytest.raises(OutputError, match=r"webm files cannot hold h264 video; give an output in .mkv"):
        mux(clip, probe(clip), sound, tmp_path / "out.webm")
    with pytest.raises(OutputError, match=r"end the output in .mp4, .mov, .mkv or .webm"):
        mux(clip, probe(clip), sound, tmp_path / "out.avi")
    with pytest.raises(OutputError, match="does not exist; create it"):
        mux(clip, probe(clip), sound, tmp_path / "none" / "out.mp4")
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "sound0.wav"]


def test_wrong_soundtrack(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    write_wav(tmp_path / "sound.wav", tone(100), 44_100)
    with pytest.raises(InputError, match="must be 48 kHz stereo"):
        mux(clip, probe(clip), tmp_path / "sound.wav", tmp_path / "out.mp4")


def test_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", n_frames=600)
    sound, _ = soundtrack(tmp_path, Fraction(24))

    def interrupt(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mux(clip, probe(clip), sound, tmp_path / "out.mp4", progress=interrupt)
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "sound0.wav"]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_no_space_left(tmp_path: Path, suffix: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4", n_frames=100, size=(320, 240), options={"qp": "1"})
    soundtrack(tmp_path, Fraction(4))
    script = """
import resource, sys, signal
from openvmas.errors import OutputError
from openvmas.media.containers import choose_extension, sound_codec
from openvmas.media.mix import mix
from openvmas.media.mux import mux
from openvmas.media.probe import probe
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    mux(sys.argv[1], probe(sys.argv[1]), sys.argv[2], sys.argv[3])
except OutputError as error:
    print(error)
"""
    arguments = [sys.executable, "-c", script, str(clip), str(tmp_path / "sound0.wav"), str(tmp_path / f"out.{suffix}")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert "there is no space left" in done.stdout, done.stdout + done.stderr
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "sound0.wav"]


def test_broken_packets_are_copied_as_they_are(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", n_frames=60)
    with av.open(str(clip)) as container:
        spans = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(clip.read_bytes())
    for position, size in spans[20:25]:
        data[position : position + size] = b"\xee" * size
    clip.write_bytes(bytes(data))
    finished(clip, tmp_path / "out.mp4")
    assert pictures(tmp_path / "out.mp4") == pictures(clip)


def test_edit_list_that_hides_frames(tmp_path: Path) -> None:
    # A clip cut without re-encoding: what the edit list hides stays hidden; the sound starts with the picture.
    source = make_clip(tmp_path / "source.mp4", n_frames=50, options={"g": "50", "preset": "veryfast"})
    clip = tmp_path / "clip.mp4"
    with av.open(str(source)) as container, av.open(str(clip), "w") as result:
        copy = result.add_stream_from_template(container.streams.video[0], opaque=True)
        for packet in container.demux(video=0):
            if packet.size:
                packet.pts -= 10 * packet.duration
                packet.dts -= 10 * packet.duration
                packet.stream = copy
                result.mux(packet)
    info = probe(clip)
    assert (info.n_frames, info.start) == (40, 0)
    frames = [f for piece in read_frames(clip, [FrameRequest(None, 64, True)]) for f in piece.frames]
    assert [number(frame) for frame in frames] == list(range(10, 50))
    _, wave = finished(clip, tmp_path / "out.mp4")
    assert pictures(tmp_path / "out.mp4") == pictures(clip)
    assert probe(tmp_path / "out.mp4").duration == info.duration
    heard = np.concatenate(
        list(read_audio_blocks(tmp_path / "out.mp4", 48_000, 2, 4800, probe(tmp_path / "out.mp4"))), axis=1
    )
    assert heard.shape == wave.shape and lag(wave[0], heard[0]) == 0
