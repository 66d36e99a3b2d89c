"""What the docs say is what the code does: generated parts, names, links, and the commands of the README."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from openvmas.cli.main import app
from openvmas.cli.options import flag
from openvmas.settings import GROUPS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
# No settings of a score:
FRAME = {"videos", "workers", "quiet", "progress", "as_json", "list", "table", "timeout", "ray"}
SET_UP_COMMANDS = {"pip install ."}  # of the README; what they do is what `make test` and bench/install_size.py do


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def test_generated_docs_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/generate_docs.py", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


def test_every_option_of_score_is_a_field_and_every_field_an_option() -> None:
    names = {item.name for item in app.commands["score"].params if item.name not in FRAME}
    assert names == {item.name for group in GROUPS.values() for item in fields(group)}
    flags = {name for item in app.commands["score"].params for name in item.opts if name.startswith("--")}
    assert {flag(name) for name in names} <= flags


def test_option_names_are_unique_over_the_groups() -> None:
    names = [item.name for group in GROUPS.values() for item in fields(group)]
    assert len(names) == len(set(names))


def test_a_newcomer_has_a_result_before_line_25() -> None:
    head = README.splitlines()[:25]
    assert any(line.startswith("openvmas score examples/") for line in head)
    assert any("unofficial" in line for line in README.splitlines()[:30])


LINKED = ("own-videos.md", "vmas.md", "data/sets.md", "data/recipe.md", "eval/entering.md", "eval/published.md")


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "CHANGELOG.md", *(f"docs/{name}" for name in LINKED)],
)
def test_links_inside_the_project_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith(("http:", "https:")):
            assert (path.parent / target).exists(), f"{page} links to {target}"


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples, and the first 8 s of one as the reader's own clip.mp4."""
    folder = tmp_path_factory.mktemp("newcomer")
    shutil.copytree(ROOT / "examples", folder / "examples")
    example = sorted(folder.glob("examples/*.mp4"))[0]
    cut_clip(example, folder / "clip.mp4", 8.0)
    return folder


def cut_clip(source: Path, target: Path, duration: float) -> None:
    """The packets of the first seconds."""
    import av

    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        picture = reader.streams.video[0]
        copy = writer.add_stream_from_template(picture)
        for packet in reader.demux(picture):
            if packet.pts is not None and packet.pts * picture.time_base < duration:
                packet.stream = copy
                writer.mux(packet)


def run(command: list[str], folder: Path) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_of_the_readme_work_in_order(newcomer: Path) -> None:
    n_run = 0
    for line in "".join(blocks("bash")).splitlines():
        if line in SET_UP_COMMANDS:
            continue
        words = shlex.split(line)
        assert words[0] == "openvmas", f"this test does not know how to try: {line}"
        out = run([sys.executable, "-m", *words], newcomer)
        assert len(out.strip().splitlines()) == 1, out
        n_run += 1
    assert n_run >= 6
    assert (newcomer / "take2.mp4").stat().st_size > 10_000
    assert (newcomer / "music.wav").stat().st_size > 8 * 48_000 * 2 * 2
    assert json.loads((newcomer / "clip.scored.json").read_text())["options"]["seed"] == 3


def test_the_python_of_the_readme_works(newcomer: Path) -> None:
    for code in blocks("python"):
        assert run([sys.executable, "-c", code], newcomer).strip()
