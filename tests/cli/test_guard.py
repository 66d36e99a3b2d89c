"""A command in a child of its own: crashes become sentences, signals are handed on, nobody is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clips import write_clip

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

CRASH = """
import os, signal, sys
from openvmas.__main__ import main
from openvmas.vision import analysis

def crash(*_, **__):
    os.kill(os.getpid(), signal.{name})

analysis.read_frames = crash
sys.argv[0] = "openvmas"
sys.exit(main())
"""


def start(body: str) -> subprocess.Popen[str]:
    """A program that runs a function with this body under guard."""
    code = (
        f"import os, sys, time\nfrom openvmas.cli.guard import guarded\ndef command():\n    {body}\n"
        "sys.exit(guarded(command, lambda said, code: print(said)))"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_the_exit_code_is_that_of_the_command() -> None:
    with start("return 7") as program:
        assert program.communicate(timeout=60)[0] == "" and program.returncode == 7


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("SIGSEGV", "error: a library crashed (SIGSEGV), most likely the decoder on a damaged file"),
        ("SIGKILL", "error: the system ended the program (SIGKILL), most likely because memory ran out"),
    ],
)
def test_a_crash_while_decoding_is_a_sentence_and_leaves_nothing(tmp_path: Path, name: str, sentence: str) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0)
    (tmp_path / "crashing.py").write_text(CRASH.format(name=name))
    command = [sys.executable, "crashing.py", "score", "clip.mp4", "--model", "symbolic", "--quiet"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(sentence) and ended.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["clip.mp4", "crashing.py"]


def test_signals_are_handed_on() -> None:
    body = "print('begun', flush=True)\n    try: time.sleep(60)\n    except KeyboardInterrupt: return 130"
    with start(body) as program:
        assert program.stdout is not None and program.stdout.readline() == "begun\n"
        program.send_signal(signal.SIGINT)
        assert program.wait(timeout=10) == 130


def test_the_child_ends_with_its_parent() -> None:
    with start("print(os.getpid(), flush=True)\n    time.sleep(60)\n    return 0") as program:
        assert program.stdout is not None
        child = int(program.stdout.readline())
        program.kill()
        program.wait()
    for _ in range(100):
        if not is_running(child):
            return
        time.sleep(0.1)
    pytest.fail("the child lives on")


def is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")  # in a container there may be nobody to collect a dead one
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
