"""Whatever is given: one clear sentence on standard error, exit code 2, nothing left behind."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from openvmas.cli.main import main
from openvmas.generate import scorer
from tests import run_cli
from tests.clips import write_clip

resource = pytest.importorskip("resource", reason="this system has no such limits")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 2.0)


@pytest.fixture
def folder(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a good clip in it; the command line there composes sines."""
    shutil.copy(clip, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "load", run_cli.load)
    return tmp_path


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def refuses(folder: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """Runs a command that must fail as the user's, in one sentence and without a trace; returns the sentence."""

    def run(*arguments: str) -> str:
        before = listing(folder)
        capfd.readouterr()
        code = main([*arguments, "--quiet"])
        output = capfd.readouterr()
        check_refusal(code, output.out, output.err)
        assert listing(folder) == before
        return output.err

    yield run


def check_refusal(code: int, out: str, err: str) -> None:
    assert code == 2, (code, out, err)
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert re.fullmatch(r"error: .{20,400}", lines[0]), err
    assert "Traceback" not in err


def write_samples(path: Path, frames: int, size: tuple[int, int]) -> Path:
    return write_clip(path, frames / 25, size=size)


# --- files that are no videos ---


def test_empty_file(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "empty.mp4").touch()
    assert "is empty" in refuses("score", "empty.mp4")


def test_missing_file(refuses: Callable[..., str]) -> None:
    assert "does not exist" in refuses("score", "nothing.mp4")


def test_a_result_that_is_named_as_a_second_video(refuses: Callable[..., str], folder: Path) -> None:
    """Other programs take it so; nothing is scored before this is said."""
    write_samples(folder / "clip.mp4", 25, (64, 48))
    assert "give it with --output" in refuses("score", "clip.mp4", "out.mp4")


def test_dangling_link(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "link.mp4").symlink_to(folder / "gone.mp4")
    assert "does not exist" in refuses("score", "link.mp4")


def test_text_renamed(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "letter.mp4").write_text("Dear editor,\nthis is not a video.\n" * 40)
    assert "text" in refuses("score", "letter.mp4")


def test_random_bytes(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    assert "not a video" in refuses("score", "noise.mp4")


def test_picture_renamed(refuses: Callable[..., str], folder: Path) -> None:
    with av.open(str(folder / "photo.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width = stream.height = 64  # type: ignore[attr-defined]
        stream.pix_fmt = "rgb24"  # type: ignore[attr-defined]
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    (folder / "photo.png").rename(folder / "photo.mp4")
    refuses("score", "photo.mp4")


def test_folder_instead_of_file(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "videos").mkdir()
    assert "is a folder" in refuses("score", "videos")


def test_playlist_cannot_make_it_read_other_files(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "list.mp4").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    refuses("score", "list.mp4")


def test_named_pipe(refuses: Callable[..., str], folder: Path) -> None:
    os.mkfifo(folder / "pipe.mp4")
    assert "regular file" in refuses("score", "pipe.mp4")


# --- videos with nothing to score ---


def test_sound_only(refuses: Callable[..., str], folder: Path) -> None:
    write_clip(folder / "song.mp4", 1.0, sound="sine", has_picture=False)
    assert "no picture" in refuses("score", "song.mp4")


def test_cover_picture_only(refuses: Callable[..., str], folder: Path) -> None:
    write_clip(folder / "song.mp4", 1.0, sound="sine", has_picture=False)
    with av.open(str(folder / "song.mp4")) as source, av.open(str(folder / "album.m4a"), "w", format="mp4") as target:
        sound = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("png", rate=1)
        cover.width = cover.height = 64  # type: ignore[attr-defined]
        cover.pix_fmt = "rgb24"  # type: ignore[attr-defined]
        cover.disposition = av.stream.Disposition.attached_pic
        target.start_encoding()
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), format="rgb24")
        for packet in (*cover.encode(frame), *cover.encode(None)):  # type: ignore[attr-defined]
            target.mux(packet)
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                target.mux(packet)
    (folder / "song.mp4").unlink()
    assert "cover picture" in refuses("score", "album.m4a")


def test_one_frame(refuses: Callable[..., str], folder: Path) -> None:
    write_samples(folder / "still.mp4", 1, (160, 96))
    assert "only 1 frame" in refuses("score", "still.mp4")


def test_zero_duration(refuses: Callable[..., str], folder: Path) -> None:
    with av.open(str(folder / "zero.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"  # type: ignore[attr-defined]
        frame = av.VideoFrame.from_ndarray(np.zeros((96, 160, 3), np.uint8), format="rgb24")
        packets = [*stream.encode(frame), *stream.encode(None)]  # type: ignore[attr-defined]
        for _ in range(3):
            for packet in packets:
                packet.pts = packet.dts = 0
                container.mux(packet)
    refuses("score", "zero.mkv")


def test_tiny_picture(refuses: Callable[..., str], folder: Path) -> None:
    write_samples(folder / "tiny.mp4", 25, (16, 16))
    assert "16x16" in refuses("score", "tiny.mp4")


def test_huge_picture(refuses: Callable[..., str], folder: Path) -> None:
    with av.open(str(folder / "huge.avi"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8_448, 4_352, "yuvj420p"  # type: ignore[attr-defined]
        frame = av.VideoFrame(8_448, 4_352, "yuvj420p")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        container.mux(stream.encode(frame))  # type: ignore[attr-defined]
    assert "scale it down" in refuses("score", "huge.avi")


def test_truncated_before_its_index(refuses: Callable[..., str], folder: Path) -> None:
    whole = (folder / "clip.mp4").read_bytes()
    assert whole.rfind(b"moov") > len(whole) // 2  # the index is at the end of this file
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "cut off" in refuses("score", "cut.mp4")


def test_every_packet_broken(refuses: Callable[..., str], folder: Path) -> None:
    data = bytearray((folder / "clip.mp4").read_bytes())
    begin, end = data.find(b"mdat") + 4, data.rfind(b"moov") - 4
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    (folder / "broken.mp4").write_bytes(data)
    refuses("score", "broken.mp4")


# --- permissions, kept from root too ---


def without_powers(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run without root's power to ignore permission bits, which the tests may have."""

    def drop() -> None:
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    can_drop = sys.platform == "linux" and os.geteuid() == 0
    if os.geteuid() == 0 and not can_drop:
        pytest.skip("root ignores permissions here")
    return run_in_process(command, cwd, drop if can_drop else None)


def run_in_process(
    arguments: list[str], cwd: Path, prepare: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.run_cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        preexec_fn=prepare,
        timeout=120,
    )


def test_unreadable_file(folder: Path) -> None:
    (folder / "clip.mp4").chmod(0)
    before = listing(folder)
    done = without_powers(["score", "clip.mp4", "--quiet"], folder)
    check_refusal(done.returncode, done.stdout, done.stderr)
    assert "permission" in done.stderr
    assert listing(folder) == before


def test_folder_that_cannot_be_written_to(folder: Path) -> None:
    (folder / "locked").mkdir(mode=0o555)
    before = listing(folder)
    done = without_powers(["score", "clip.mp4", "--quiet", "--output", "locked/out.mp4"], folder)
    check_refusal(done.returncode, done.stdout, done.stderr)
    assert "no permission" in done.stderr
    assert listing(folder) == before


# --- outputs ---


def test_output_exists(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "clip.scored.mp4").write_bytes(b"precious")
    assert "--overwrite" in refuses("score", "clip.mp4")
    assert (folder / "clip.scored.mp4").read_bytes() == b"precious"


def test_sidecar_exists(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "clip.scored.json").write_text("precious")
    assert "--overwrite" in refuses("score", "clip.mp4")


def test_output_folder_missing(refuses: Callable[..., str]) -> None:
    assert "does not exist" in refuses("score", "clip.mp4", "--output", "nowhere/out.mp4")


def test_output_is_a_folder(refuses: Callable[..., str], folder: Path) -> None:
    (folder / "results.mp4").mkdir()
    assert "is a folder" in refuses("score", "clip.mp4", "--output", "results.mp4")


def test_output_is_the_input(refuses: Callable[..., str], folder: Path) -> None:
    before = (folder / "clip.mp4").read_bytes()
    assert "input itself" in refuses("score", "clip.mp4", "--output", "clip.mp4", "--overwrite")
    assert (folder / "clip.mp4").read_bytes() == before


def test_output_of_unknown_kind(refuses: Callable[..., str]) -> None:
    assert ".xyz" in refuses("score", "clip.mp4", "--output", "out.xyz")


def test_music_and_video_under_one_name(refuses: Callable[..., str]) -> None:
    refuses("score", "clip.mp4", "--output", "same.mp4", "--audio-out", "same.mp4")


def test_music_that_is_no_wav(refuses: Callable[..., str]) -> None:
    assert ".wav" in refuses("score", "clip.mp4", "--audio-out", "music.mp3")


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_disk_full_while_writing(folder: Path) -> None:
    before = listing(folder)
    done = run_in_process(["score", "clip.mp4", "--quiet"], folder, limit_files)
    check_refusal(done.returncode, done.stdout, done.stderr)
    assert "no space" in done.stderr
    assert listing(folder) == before


def test_disk_too_small_is_seen_at_the_door(
    refuses: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    assert "1 MB free" in refuses("score", "clip.mp4")


# --- plans, options, models ---


def test_plan_file_missing(refuses: Callable[..., str]) -> None:
    assert "gone.yaml" in refuses("score", "clip.mp4", "--plan", "gone.yaml")


@pytest.mark.parametrize("text", ["", "just words", "sections: [", "tempo: fast\n", "\x00\x01"])
def test_plan_file_invalid(refuses: Callable[..., str], folder: Path, text: str) -> None:
    (folder / "bad.yaml").write_text(text)
    assert "bad.yaml" in refuses("score", "clip.mp4", "--plan", "bad.yaml")


def test_plan_that_is_a_video(refuses: Callable[..., str]) -> None:
    assert "clip.mp4" in refuses("score", "clip.mp4", "--plan", "clip.mp4")


def test_plan_file_beside_plan_options(refuses: Callable[..., str], folder: Path) -> None:
    assert main(["plan", "clip.mp4", "--quiet"]) == 0
    assert "--tempo" in refuses("score", "clip.mp4", "--plan", "clip.plan.yaml", "--tempo", "100")


def test_plan_of_another_video(refuses: Callable[..., str], folder: Path) -> None:
    write_clip(folder / "longer.mp4", 4.0)
    assert main(["plan", "longer.mp4", "--quiet"]) == 0
    assert "longer.plan.yaml" in refuses("score", "clip.mp4", "--plan", "longer.plan.yaml")


def test_hit_outside_the_video(refuses: Callable[..., str]) -> None:
    assert "99" in refuses("score", "clip.mp4", "--hit", "99")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--tempo", "9000"), ("--tempo", "nan"), ("--tempo", "fast"), ("--loudness", "20"), ("--loudness", "inf"),
        ("--seed", "-1"), ("--seed", "1.5"), ("--guidance", "1000000000"), ("--event-guidance", "-1"),
        ("--candidates", "0"),
        ("--temperature", "0"), ("--top-p", "2"), ("--top-k", "-4"), ("--variations", "0"), ("--hit", "-3"),
        ("--true-peak", "6"), ("--duck", "12"), ("--workers", "0"), ("--mood", "qwertzuiop"),
    ],
)  # fmt: skip
def test_absurd_values(refuses: Callable[..., str], option: str, value: str) -> None:
    assert value.split(".")[0].strip("-") in refuses("score", "clip.mp4", f"{option}={value}")


def test_unknown_option(refuses: Callable[..., str]) -> None:
    assert "--temp" in refuses("score", "clip.mp4", "--temp", "90")


def test_unknown_command(refuses: Callable[..., str]) -> None:
    assert "scor" in refuses("scor", "clip.mp4")


def test_unknown_model(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["score", str(clip), "--output", str(tmp_path / "out.mp4"), "--model", "enormous", "--quiet"])
    output = capfd.readouterr()
    check_refusal(code, output.out, output.err)
    assert "enormous" in output.err
    assert listing(tmp_path) == set()
