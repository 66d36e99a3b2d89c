"""The lines of docs/studio.md, run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import write_clip
from tests.studio.kit import ROOT, RunningStudio, running

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "studio.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running(tmp_path_factory.mktemp("studio") / "home") as made:
        yield made


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", 2.0)
    return tmp_path


def block(language: str) -> str:
    return "".join(re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S))


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_the_curl_lines_work(studio: RunningStudio, folder: Path) -> None:
    """jq is replaced by a line of Python, and --json by what it stands for, where they are missing."""
    tools = folder / "tools"
    tools.mkdir()
    path_of = "import json,sys,re; v=json.load(sys.stdin)\nfor p in re.findall(r'[a-z_]+|\\d+', sys.argv[-1]): v=v[int(p) if p.isdigit() else p]\nprint(v)"  # noqa: E501
    (tools / "jq").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{path_of}" "$@"\n')
    (tools / "jq").chmod(0o755)
    lines = re.sub(
        r"--json (\S+|'[^']*'|\"(?:[^\"\\]|\\.)*\")", r'-H "Content-Type: application/json" -d \1', block("bash")
    )
    env = {**os.environ, "STUDIO": studio.url, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-euc", lines], cwd=folder, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    assert '"state":"done"' in done.stdout.splitlines()[-2] + done.stdout.splitlines()[-1], done.stdout
    assert (folder / "clip.scored.mp4").stat().st_size > 5000
    assert (folder / "heard-while-it-is-made.wav").stat().st_size == 58 + 2 * 48_000 * 8
    assert "FCM: NON-DROP FRAME" in (folder / "clip.edl").read_text()


def test_the_python_example_works(studio: RunningStudio, folder: Path) -> None:
    code = f"STUDIO = {studio.url!r}\n{block('python')}"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.glob("*.take*.mp4")) == ["clip.take1.mp4", "clip.take2.mp4"]
    assert "Take 1 0" in done.stdout and "Take 2 1" in done.stdout


def test_its_links_lead_somewhere() -> None:
    for page in ("studio.md", "security.md"):
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert "://" in target or (ROOT / "docs" / target).exists(), target
