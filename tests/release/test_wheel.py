"""The wheel alone, in an empty environment, scores a video; what it holds and how large it is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import release_notes  # pyright: ignore[reportMissingImports]

import openvmas
from tests.test_docs import README, ROOT, cut_clip

MAX_WHEEL_MB = 95


def uv(*words: str | Path, **environment: str) -> str:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/3.*/bin")  # behind its shims
    env = {**os.environ, "PATH": os.pathsep.join([*map(str, pyenv), os.environ["PATH"]]), **environment}
    command = [sys.executable, "-m", "uv", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def pythons_at_hand() -> dict[str, Path]:
    """Version ("3.12") → an interpreter of this machine that OpenVMAS supports; of each version one."""
    pytest.importorskip("uv", reason="uv is not installed")
    listed = json.loads(uv("python", "list", "--only-installed", "--output-format", "json"))
    wanted = [item for item in listed if item["implementation"] == "cpython" and item["version_parts"]["major"] == 3]
    minors = {item["version_parts"]["minor"]: Path(item["path"]) for item in wanted}
    found = {f"3.{minor}": path for minor, path in minors.items() if minor >= 11}
    return {**found, f"3.{sys.version_info.minor}": Path(sys.executable)}


def build_wheel(folder: Path) -> Path:
    """The wheel of this tree; what an earlier build left lying about does not come in."""
    layout = folder / "layout.cfg"
    layout.write_text(f"[build]\nbuild_base = {folder / 'build'}\n[egg_info]\negg_base = {folder}\n", encoding="utf-8")
    uv("build", "--wheel", "--out-dir", folder, ROOT, DIST_EXTRA_CONFIG=str(layout))
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_alone_runs_the_first_example(tmp_path: Path) -> None:
    """In empty environments of every supported Python of this machine, with four seconds of the example."""
    pytest.importorskip("uv", reason="uv is not installed")
    wheel = build_wheel(tmp_path)
    assert wheel.stat().st_size <= MAX_WHEEL_MB * 1e6
    assert wheel.name == f"openvmas-{openvmas.__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "openvmas").rglob("*.onnx")}
    assert shipped and shipped <= set(names)
    ours = f"openvmas-{openvmas.__version__}"
    assert {name.split("/")[0] for name in names} == {"openvmas", f"{ours}.dist-info", f"{ours}.data"}
    assert {name.split("/")[-1] for name in names if ".data/" in name} == {"city.mp4", "landscape.mp4"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    first = re.search(r"^openvmas score (examples/\S+)$", README, re.M)
    assert first is not None
    clip = tmp_path / first[1]
    clip.parent.mkdir()
    cut_clip(ROOT / first[1], clip, 4.0)
    for version, python in pythons_at_hand().items():
        run_from_wheel(wheel, python, clip, tmp_path / version)


def run_from_wheel(wheel: Path, python: Path, clip: Path, home: Path) -> None:
    """Install a wheel for one Python in the folder `home`, and score a clip."""
    uv("venv", "--no-project", "--python", python, home)
    scripts = home / ("Scripts" if sys.platform == "win32" else "bin")
    uv("pip", "install", "--python", scripts / "python", wheel)
    command = [scripts / "openvmas", "score", clip, "--quiet", "--overwrite"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # else this tree would answer
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=env)
    assert done.returncode == 0, (home.name, done.stderr)
    said = json.loads(clip.with_name(f"{clip.stem}.scored.json").read_text(encoding="utf-8"))
    assert said["generated_by"] == f"OpenVMAS {openvmas.__version__}"


def test_the_changes_of_this_version_can_be_released() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "### Added" in release_notes.notes(f"v{openvmas.__version__}", changes, release_notes.version())
    assert changes.index("## Unreleased") < changes.index(f"## {openvmas.__version__}")


@pytest.mark.parametrize(
    ("tag", "changes", "message"),
    [
        ("v1.0.0", "## 0.2.0 - 2026-11-30\n- x\n", "does not say the version"),
        ("v0.2.0", "## Unreleased\n- x\n", "no section 0.2.0"),
        ("v0.2.0", "## 0.2.0 - 2026-11-30\n\n## 0.1.0 - 2026-11-01\n- x\n", "no section 0.2.0"),
    ],
)
def test_a_tag_that_does_not_fit_is_refused(tag: str, changes: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        release_notes.notes(tag, changes, "0.2.0")
