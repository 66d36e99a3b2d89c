"""Recordings that users put into a project: to be fitted to the picture, or for the music to sound like.

Each lies in a folder of its own as a WAV file that the confined process wrote, under the user's name for it, with what
is known of its maker and licence beside it.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openvmas.studio.storage.folders import ProjectFolder, check_id, safe_stem
from openvmas.studio.storage.projects import NotFoundError

FREE = "free"  # in place of an id: the recordings that come with the package
MODEL = "recording"  # in place of a model, of takes that play a recording
MAX_SOUNDS = 50  # in one project
FACTS = "sound.json"


@dataclass(frozen=True)
class SoundFolder:
    """Where the files of one recording lie."""

    path: Path

    @property
    def upload(self) -> Path:
        """The file that the user sent, until it has been read."""
        return self.path / "upload"

    def wave(self, filename: str) -> Path:
        """The WAV file under the user's name."""
        return self.path / f"{safe_stem(filename)}.wav"

    def facts(self) -> dict[str, Any] | None:
        """Name, length and credits of the recording; None before it has been read."""
        try:
            return json.loads((self.path / FACTS).read_text(encoding="utf-8"))
        except OSError:
            return None


def folder_of(project: ProjectFolder, sound: str) -> SoundFolder:
    """The folder of a recording by its id."""
    return SoundFolder(project.path / "sounds" / check_id(sound))


def list_sounds(project: ProjectFolder) -> list[dict[str, Any]]:
    """The facts about all recordings of a project, the oldest first."""
    home = project.path / "sounds"
    folders = sorted(home.iterdir(), key=lambda path: path.stat().st_mtime) if home.is_dir() else []
    return [facts for path in folders if (facts := SoundFolder(path).facts())]


def remove_sound(project: ProjectFolder, sound: str) -> None:
    """Delete a recording; takes that were made with it keep their music."""
    shutil.rmtree(folder_of(project, sound).path, ignore_errors=True)


def check_sounds(project: ProjectFolder, options: dict[str, Any]) -> None:
    """Raises NotFoundError where options name a recording that is not there."""
    for name in ("music", "like"):
        sound = options.get(name)
        if sound not in (None, FREE) and folder_of(project, sound).facts() is None:
            raise NotFoundError(f"the recording for `{name}` is not in this project any more; drop it in again.")


def with_names(project: ProjectFolder, options: dict[str, Any], has_paths: bool) -> dict[str, Any]:
    """Options whose recordings are files: their paths, or for reports the users' names alone."""
    found = dict(options)
    for name in ("music", "like"):
        sound = options.get(name)
        if sound in (None, FREE):
            continue
        folder = folder_of(project, sound)
        facts = folder.facts() or {"filename": "recording"}
        found[name] = str(folder.wave(facts["filename"])) if has_paths else facts["filename"]
    return found
