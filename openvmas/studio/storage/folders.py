"""Where the files of projects and takes lie. Names are made from ids of our own, never from what a client sent."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

# The extension decides the container of the finished file; any other name becomes none.
SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv",
    ".3gp", ".gif", ".mxf",
)  # fmt: skip
ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """128 random bits."""
    return secrets.token_hex(16)


def check_id(name: str) -> str:
    """The id itself; raises ValueError for anything else, so that no other text becomes part of a path."""
    if not ID.fullmatch(name):
        raise ValueError("not an id")
    return name


def safe_suffix(filename: str) -> str:
    suffix = Path(filename.replace("\\", "/")).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def safe_stem(filename: str) -> str:
    """A name for downloads: letters, digits, dot, dash and underscore only."""
    stem = Path(filename.replace("\\", "/")).stem
    return re.sub(r"[^\w.-]+", "_", stem).strip("._")[:80] or "clip"


class ProjectFolder:
    """Files of one project."""

    def __init__(self, home: Path, project: str) -> None:
        self.path = home / "projects" / check_id(project)

    def source(self, suffix: str) -> Path:
        """The uploaded video, growing while it is uploaded."""
        if suffix not in ("", *SUFFIXES):
            raise ValueError("not a known extension")
        return self.path / f"source{suffix}"

    @property
    def analysis(self) -> Path:
        return self.path / "analysis.npz"

    @property
    def summary(self) -> Path:
        return self.path / "analysis.json"

    @property
    def glimpse(self) -> Path:
        """What has been seen so far, while the video is being watched."""
        return self.path / "analysis.part.json"

    @property
    def speech(self) -> Path:
        return self.path / "speech.npy"

    @property
    def filmstrip(self) -> Path:
        return self.path / "filmstrip.jpg"

    def take(self, take: str, attempt: int) -> TakeFolder:
        return TakeFolder(self.path / "takes" / check_id(take) / str(int(attempt)))

    def remove_take(self, take: str) -> None:
        shutil.rmtree(self.path / "takes" / check_id(take), ignore_errors=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class TakeFolder:
    """Files of one attempt at a take; what another attempt left is never mixed in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def wave(self) -> Path:
        """The music as composed: interleaved stereo float32 at 48 kHz, growing, without a header."""
        return self.path / "music.f32"

    @property
    def peaks(self) -> Path:
        """Lowest and highest sample of each 10 ms, float32 pairs, growing."""
        return self.path / "peaks.f32"

    @property
    def codes(self) -> Path:
        return self.path / "codes.npy"

    @property
    def music(self) -> Path:
        return self.path / "music.wav"

    @property
    def mixed(self) -> Path:
        """The finished sound as a float WAV file of `media.audio.write_wav`."""
        return self.path / "mixed.wav"

    @property
    def mixed_peaks(self) -> Path:
        return self.path / "mixed.peaks.f32"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def midi(self) -> Path:
        return self.path / "music.mid"

    @property
    def stems(self) -> Path:
        return self.path / "stems.zip"

    def video(self, suffix: str) -> Path:
        return self.path / f"video{suffix}"
