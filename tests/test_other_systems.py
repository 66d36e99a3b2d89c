"""Windows and macOS, imitated: what they lack is taken away, and how they refuse is played."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openvmas import files
from openvmas.errors import OutputError
from openvmas.generate.deliver import Outputs
from openvmas.processes import child
from openvmas.processes.limited import kill_group
from tests.clips import write_clip

ROOT = Path(__file__).resolve().parent.parent
# What Python on Windows does not have, so far as anything here asks for it.
WINDOWS = """
import os, signal, sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
for name in ("fork", "killpg", "pathconf", "sched_getaffinity", "sysconf", "getuid", "setsid"):
    delattr(os, name)
for name in ("SIGALRM", "SIGHUP", "SIGKILL", "SIGXCPU", "setitimer", "ITIMER_REAL"):
    delattr(signal, name)
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env)


@pytest.mark.slow
def test_every_module_can_be_imported_without_what_windows_lacks(tmp_path: Path) -> None:
    names = [path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / "openvmas").rglob("*.py"))]
    modules = [".".join(name.parts) for name in names if name.name not in ("__init__", "__main__")]
    libraries = "import torch, scipy.stats, soundfile, onnxruntime, av, pyarrow, fastapi, uvicorn, transformers\n"
    libraries += "import mcp.server.mcpserver, torch.distributed.elastic.timer, torch.distributed.checkpoint\n"
    loop = "import importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code = f"{libraries}{WINDOWS}sys.argv[1:] = {modules!r}\n{loop}"  # what libraries do there is theirs
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_video_is_scored_without_what_windows_lacks(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0, sound="noise")
    code = (
        f"import numpy, onnxruntime, av, subprocess, socket, uuid, tempfile\n{WINDOWS}"
        "from tests import run_cli\nfrom openvmas.generate import scorer\nscorer.load = run_cli.load\n"
        "from openvmas.__main__ import main\n"
        "sys.argv[1:] = ['score', 'clip.mp4', '--json', '--audio-out=music.wav']\nsys.exit(main())"
    )
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    made = {"clip.scored.mp4", "clip.scored.json", "music.wav"}
    assert {path.name for path in tmp_path.iterdir()} == {"clip.mp4", *made}


def test_files_are_replaced_and_not_renamed() -> None:
    """On Windows `rename` refuses a name that is taken; `replace` does the same everywhere."""
    for path in (ROOT / "openvmas").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr in ("rename", "renames")), f"{path}:{node.lineno}"


def test_a_file_that_another_program_holds_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Windows refuses it: errno says "no permission", only winerror says why."""
    source = write_clip(tmp_path / "clip.mp4", 0.2)
    target = tmp_path / "clip.scored.mp4"
    target.write_bytes(b"an older result, open in a player")

    def refuse(*names: Any) -> None:
        error = PermissionError(errno.EACCES, "The process cannot access the file")
        error.winerror = 32
        raise error

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OutputError, match="open in another program; close it there"), Outputs(source, True) as outputs:
        outputs.reserve(target).write_bytes(b"new")
        outputs.commit()
    assert target.read_bytes() == b"an older result, open in a player"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "clip.scored.mp4"]


def test_scratch_that_is_still_mapped_does_not_fail_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_clip(tmp_path / "clip.mp4", 0.2)
    target = tmp_path / "clip.scored.mp4"

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "in use", str(path))

    with Outputs(source, False) as outputs:
        outputs.reserve(target).write_bytes(b"new")
        outputs.scratch(target, ".music.wav")
        outputs.commit()
        monkeypatch.setattr(Path, "unlink", refuse)
    assert target.read_bytes() == b"new"


def test_locks_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The byte that is locked lies where no file has one, and the place in the file stays."""
    asked: list[tuple[int, int]] = []
    held = [False]

    def locking(number: int, mode: int, n_bytes: int) -> None:
        asked.append((os.lseek(number, 0, os.SEEK_CUR), n_bytes))
        if held[0]:
            raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_LOCK=1, LK_NBLCK=2))
    monkeypatch.setattr(files.sys, "platform", "win32")
    with (tmp_path / "lock").open("w+b") as file:
        file.write(b"12")
        assert files.lock_file(file, is_patient=False) and file.tell() == 2
        held[0] = True
        assert not files.lock_file(file, is_patient=False)
    assert asked == [(2**30, 1)] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
def test_a_lock_keeps_others_out_until_it_is_closed(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as mine, (tmp_path / "lock").open("w") as other:
        assert files.lock_file(mine, is_patient=False) and not files.lock_file(other, is_patient=False)
        mine.close()
        assert files.lock_file(other, is_patient=False)


def test_no_limits_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    child.limit_process({})
    child.limit_job(1.0)


def test_without_groups_the_program_alone_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "killpg")
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as program:
        kill_group(program)  # type: ignore[arg-type]
        assert program.wait(30) != 0
