"""Video and sound files by their names, and their sound on the picture's clock."""

from __future__ import annotations

from pathlib import Path

from openvmas.errors import InputError
from openvmas.media.audio import Audio, read_audio
from openvmas.media.probe import probe

VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".ogv", ".wmv", ".flv"}
SOUND_SUFFIXES = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aac"}


def is_video(path: Path) -> bool:
    """Whether a file has the name of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def clip_name(name: str) -> str:
    """The name that files of the same clip share: clip.mp4, clip.wav and clip.scored.mp4 are one."""
    return Path(name).stem.removesuffix(".scored")


def read_sound(path: Path, mono: bool = False) -> Audio:
    """A file's sound at its own rate, on the picture's clock if it has a picture. Raises InputError."""
    return read_audio(path, mono=mono, info=probe(path) if is_video(path) else None)


def media_files(folder: Path) -> list[Path]:
    """The videos and sounds directly in a folder, by name. Raises InputError if there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give a folder of videos or sounds.")
    suffixes = VIDEO_SUFFIXES | SOUND_SUFFIXES
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in suffixes and not p.name.startswith("."))
    if not files:
        raise InputError(f"{folder} holds no videos or sounds; give a folder with files such as mp4, mkv, wav or mp3.")
    return files
