"""Where the files of projects and takes lie. Names are made from ids of our own, never from what a client sent."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path

import numpy as np

# The extension decides the container of the finished file; any other name becomes none.
SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".ogv",
    ".3gp", ".gif", ".mxf",
)  # fmt: skip
ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """A new id: 128 random bits in hexadecimal digits."""
    return secrets.token_hex(16)


def check_id(name: str) -> str:
    """The id itself; raises ValueError for anything else, so that no other text becomes part of a path."""
    if not ID.fullmatch(name):
        raise ValueError("not an id")
    return name


def safe_suffix(filename: str) -> str:
    """The extension in lower case if it is a known one, else nothing."""
    suffix = Path(filename.replace("\\", "/")).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def safe_stem(filename: str) -> str:
    """The file's name for downloads: letters, digits, dot, dash and underscore only."""
    return safe_name(Path(filename.replace("\\", "/")).stem) or "clip"


def safe_name(text: str) -> str:
    """Text as a part of file names: letters, digits, dot, dash and underscore only; may be empty."""
    return re.sub(r"[^\w.-]+", "_", text).strip("._")[:80]


class ProjectFolder:
    """Where the files of one project lie."""

    def __init__(self, home: Path, project: str) -> None:
        self.path = home / "projects" / check_id(project)
        self.analysis = self.path / "analysis.npz"
        self.summary = self.path / "analysis.json"  # what the page draws of it
        self.partial_analysis = self.path / "analysis.part.json"  # the summary so far
        self.speech = self.path / "speech.npy"
        self.filmstrip = self.path / "filmstrip.jpg"

    def source(self, suffix: str) -> Path:
        """The uploaded video, growing while it is uploaded."""
        if suffix not in ("", *SUFFIXES):
            raise ValueError("not a known extension")
        return self.path / f"source{suffix}"

    def take(self, take: str, attempt: int) -> TakeFolder:
        """The files of one attempt at a take."""
        return TakeFolder(self.path / "takes" / check_id(take) / str(int(attempt)))

    def remove_take(self, take: str) -> None:
        """Delete all attempts at a take."""
        shutil.rmtree(self.path / "takes" / check_id(take), ignore_errors=True)

    def remove(self) -> None:
        """Delete everything of the project."""
        shutil.rmtree(self.path, ignore_errors=True)


def read_speech(project: ProjectFolder) -> np.ndarray | None:
    """Probability of speech in the original sound [T], None where the video has none."""
    return np.load(project.speech) if project.speech.exists() else None


class TakeFolder:
    """Where the files of one attempt at a take lie; what another attempt left is never mixed in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wave = path / "music.f32"  # as composed: interleaved stereo float32 at 48 kHz, growing, without a header
        self.peaks = path / "peaks.f32"  # lowest and highest sample of each 10 ms, float32 pairs, growing
        self.shades = path / "shades.f32"  # how bright the music is in each 10 ms, 0 to 1, float32, growing
        self.loudness = path / "loudness.f32"  # LUFS of the music so far, growing
        self.accents = path / "accents.wav"  # what sweetening adds to it, alone, as `media.audio.write_wav` writes
        self.codes = path / "codes.npy"
        self.notes = path / "notes.json"  # of a voice that writes notes, for it to go on with
        self.music = path / "music.wav"
        self.mixed = path / "mixed.wav"  # the finished sound as a float WAV file of `media.audio.write_wav`
        self.mixed_peaks = path / "mixed.peaks.f32"
        self.report = path / "report.json"
        self.levels = path / "levels.json"  # power of music and original over time: `storage.levels`
        self.midi = path / "music.mid"
        self.stems = path / "stems.zip"

    @property
    def can_change(self) -> bool:
        """Whether parts of its music can be written again."""
        return self.codes.exists() or self.notes.exists()

    def video(self, suffix: str) -> Path:
        """The finished video."""
        return self.path / f"video{suffix}"
