"""Odd names, several videos to one name, signals, closed streams, files left by the dead: one sentence, no mess."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openvmas.cli.batch import distinct
from openvmas.cli.main import main
from openvmas.errors import OptionError, OutputError
from openvmas.files import beside, hidden_name, is_being_written, sweep
from openvmas.generate import scorer
from openvmas.generate.deliver import Outputs
from tests import run_cli
from tests.clips import write_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 1.0)


@pytest.fixture
def folder(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(clip, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scorer, "load", run_cli.load)
    return tmp_path


def hidden(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.startswith(".")]


def start(*arguments: str, cwd: Path, program: str = "tests.run_cli", **how: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **how.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.Popen([sys.executable, "-m", program, *arguments], cwd=cwd, env=environment, **how)  # type: ignore[call-overload]


@pytest.mark.parametrize("n_bytes", [225, 243])
def test_long_names_work(folder: Path, n_bytes: int) -> None:
    name = "ä" * ((n_bytes - 4) // 2) + "x" * ((n_bytes - 4) % 2) + ".mp4"
    os.rename("clip.mp4", name)
    assert main(["score", name, "--quiet"]) == 0
    assert sorted(os.listdir()) == sorted([name, f"{name[:-4]}.scored.mp4", f"{name[:-4]}.scored.json"])


@pytest.mark.slow
@pytest.mark.parametrize("n_bytes", [244, 250, 255])
def test_results_of_long_names_are_shortened(folder: Path, n_bytes: int) -> None:
    name = "ä" * ((n_bytes - 4) // 2) + "x" * ((n_bytes - 4) % 2) + ".mp4"
    os.rename("clip.mp4", name)
    assert main(["score", name, "--quiet"]) == 0
    assert main(["score", name, "--quiet", "--variations", "2"]) == 0
    for command in ("analyze", "plan"):
        assert main([command, name, "--quiet"]) == 0
    results = [other for other in os.listdir() if other != name]
    assert len(results) == 8 and all(other.startswith("ä" * 100) for other in results)
    assert max(len(os.fsencode(other)) for other in results) <= 255
    assert sorted(other.partition(".")[2] for other in results) == [
        "analysis.json", "plan.yaml", "scored.1.json", "scored.1.mp4", "scored.2.json", "scored.2.mp4",
        "scored.json", "scored.mp4",
    ]  # fmt: skip


def test_long_names_with_one_beginning_have_results_of_their_own() -> None:
    first, second = (beside("x" * 249 + letter + ".mp4", ".scored.mp4") for letter in "ab")
    assert first != second and first.suffixes == [".scored", ".mp4"]
    assert beside(os.fsdecode(b"\xe9" * 251 + b".mp4"), ".scored.mp4").name.endswith(".scored.mp4")
    assert beside("a/clip", ".x") == Path("a/clip.x")


@pytest.mark.parametrize("arguments", [("clip.mp4", "--output", "y" * 300 + ".mp4"), ("z" * 300,)])
def test_names_that_are_too_long(folder: Path, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    before = os.listdir()
    assert main(["score", *arguments, "--quiet"]) == 2
    error = capfd.readouterr().err
    assert "is too long" in error and len(error) < 250 and len(error.splitlines()) == 1
    assert os.listdir() == before


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are Unicode")
def test_names_that_are_not_unicode(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    name = os.fsdecode(b"caf\xe9.mp4")
    os.rename("clip.mp4", name)
    assert main(["score", name, "--quiet"]) == 0
    assert "caf\\udce9.scored.mp4: 1.0 s" in capfd.readouterr().out
    sidecar = json.loads(Path(os.fsdecode(b"caf\xe9.scored.json")).read_text(encoding="utf-8"))
    assert sidecar["input"]["path"] == name
    for command in ("plan", "analyze"):
        assert main([command, name, "--quiet"]) == 0
    assert main(["report", os.fsdecode(b"caf\xe9.scored.mp4"), "--quiet"]) == 0
    assert not hidden(folder)


def test_names_that_the_output_cannot_show(folder: Path) -> None:
    os.rename("clip.mp4", "sea 😀.mp4")
    run = start(
        "score", "sea 😀.mp4", "./sea 😀.mp4", cwd=folder, env={"PYTHONIOENCODING": "cp1252"}, stdout=-1, stderr=-1
    )
    out, error = run.communicate(timeout=120)
    assert run.returncode == 0, error
    assert b"sea \\U0001f600.scored.mp4" in out and b"1 of 1" in out


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_closed_streams(folder: Path, stream: str) -> None:
    sign = {"stdout": ">&-", "stderr": "2>&-"}[stream]
    command = f'"{sys.executable}" -m tests.run_cli score clip.mp4 {sign}'
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=120, capture_output=True
    )
    assert done.returncode == 0, done
    assert sorted(os.listdir()) == ["clip.mp4", "clip.scored.json", "clip.scored.mp4"]


def test_two_videos_that_would_get_one_name(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.copy("clip.mp4", "clip.mov")
    assert main(["score", "clip.mp4", "clip.mov", "--quiet"]) == 2
    assert "clip.mp4 and clip.mov would both be written as clip.scored; score them one by one" in capfd.readouterr().err
    assert sorted(os.listdir()) == ["clip.mov", "clip.mp4"]
    assert distinct(["clip.mp4", "./clip.mp4", "other/clip.mp4"]) == ["clip.mp4", "other/clip.mp4"]
    results = ["a.scored.mp4", "a.scored.2.mp4", "b.scored.mp4"]  # the last is a video of somebody's
    assert distinct(["a.mp4", *results]) == ["a.mp4", "b.scored.mp4"]
    with pytest.raises(OptionError, match="would both be written"):
        distinct(["a/b.mkv", "c.mp4", "a/../a/b.webm"])


def test_the_later_of_two_runs_does_not_replace_the_earlier(folder: Path) -> None:
    with Outputs("clip.mp4", overwrite=False) as mine:
        mine.reserve("out.mp4").write_text("mine")
        Path("out.mp4").write_text("theirs")
        with pytest.raises(OutputError, match=r"out\.mp4 has been written by another run in the meantime"):
            mine.commit()
    assert Path("out.mp4").read_text() == "theirs" and not hidden(folder)
    with Outputs("clip.mp4", overwrite=True) as mine:
        mine.reserve("out.mp4").write_text("mine")
        mine.commit()
    assert Path("out.mp4").read_text() == "mine"


@pytest.mark.skipif(sys.platform == "win32", reason="processes of POSIX")
def test_a_name_that_a_living_run_writes_is_refused(folder: Path) -> None:
    script = """
import sys
from openvmas.generate.deliver import Outputs
with Outputs("clip.mp4", False) as outputs:
    outputs.reserve("out.mp4")
    print("ready", flush=True)
    sys.stdin.read()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    other = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, env=environment)
    assert other.stdin and other.stdout and other.stdout.readline() == b"ready\n"
    with Outputs("clip.mp4", overwrite=False) as mine:
        with pytest.raises(OutputError, match=r"out\.mp4 is being written by another run; wait for it"):
            mine.reserve("out.mp4")
        mine.reserve("another.mp4")
    other.kill()
    other.communicate()
    assert len(hidden(folder)) == 1
    with Outputs("clip.mp4", overwrite=False) as mine:  # the dead one's file goes
        mine.reserve("out.mp4")
        assert len(hidden(folder)) == 1
    assert not hidden(folder)


def test_only_what_the_dead_left_is_swept(tmp_path: Path) -> None:
    mine = tmp_path / hidden_name(".wav", "out.mp4")
    mine.write_bytes(b"1")
    dead = tmp_path / mine.name.replace(f"-{os.getpid()}-", "-4194999-")
    dead.write_bytes(b"2")
    (tmp_path / dead.name.replace(".wav", "")).mkdir()
    others = tmp_path / (".openvmas-zzzzzz" + dead.name[len(".openvmas-zzzzzz") :])
    others.write_bytes(b"3")
    (tmp_path / ".openvmas-notes.txt").write_bytes(b"4")
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([mine.name, others.name, ".openvmas-notes.txt"])
    assert not is_being_written(tmp_path / "out.mp4")
    sweep(tmp_path / "nothing")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("after", [0.2, 0.6, 2.0])
def test_signals_at_any_time(folder: Path, name: str, after: float) -> None:
    clip = write_clip(folder / "long.mp4", 20.0)
    run = start("score", str(clip), "--model", "symbolic", cwd=folder, program="openvmas", stdout=-1, stderr=-1)
    time.sleep(after)
    run.send_signal(getattr(signal, name))
    _, error = run.communicate(timeout=60)
    if run.returncode not in (0, 130):  # before the first line of the program ran
        assert run.returncode == -getattr(signal, name) and not re.search(rb"openvmas/(__main__|cli)", error)
    if run.returncode == 130:
        assert error.decode().splitlines()[-1] == "error: interrupted; nothing was left behind."
    assert not hidden(folder)


def test_interrupts_that_modules_swallow(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)

    def swallow(*_: object, **__: object) -> None:
        try:
            broken()
        except KeyboardInterrupt:
            raise ImportError("numpy is broken") from None

    monkeypatch.setattr("openvmas.cli.main.Options.of", swallow)
    assert main(["score", "clip.mp4"]) == 130
    assert capfd.readouterr().err == "error: interrupted; nothing was left behind.\n"


def test_interrupts_within_code_made_from_text_end_with_130(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(
        "import sys, openvmas.cli.main as command_line\n"
        "def of(*_, **__): exec('import signal; signal.raise_signal(signal.SIGTERM)')\n"
        "command_line.Options.of = of\n"
        "sys.exit(command_line.main(['score', 'clip.mp4']))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.strip()) == (130, "error: interrupted; nothing was left behind.")


@pytest.mark.parametrize("n_frames", [2, 3, 5])
def test_clips_of_a_few_frames(folder: Path, n_frames: int) -> None:
    from tests.media.clips import make_clip

    make_clip(folder / "few.mp4", n_frames=n_frames)
    assert main(["score", "few.mp4", "--quiet"]) == 0
    assert main(["analyze", "few.mp4", "--quiet"]) == 0
    assert main(["report", "few.scored.mp4", "--quiet"]) == 0
