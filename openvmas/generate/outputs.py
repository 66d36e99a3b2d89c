"""Files that appear all together or not at all, checked at the door: before minutes are spent on them."""

from __future__ import annotations

import errno
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from openvmas.errors import OptionError, OutputError
from openvmas.files import beside, explain_write_errors, hidden_name, is_being_written, sweep
from openvmas.media.containers import check_container, choose_extension
from openvmas.media.probe import VideoInfo
from openvmas.settings import SAMPLE_RATE_OUT, Options

SOUND_BYTES = SAMPLE_RATE_OUT * 2 * 4  # per second of stereo float samples
N_SOUNDS = 5  # music, original, sum, mix and music alone lie on disk at the same time
COMPRESSED_BYTES = 64_000  # per second of a finished file's sound, two tracks
SPARE_BYTES = 16_000_000


@dataclass(frozen=True)
class Target:
    """Where one variation goes. audio, midi, stems (a folder): of the music alone, if they are wanted."""

    video: Path
    audio: Path | None
    midi: Path | None = None
    stems: Path | None = None

    @property
    def sidecar(self) -> Path:
        return self.video.with_suffix(".json")


@dataclass(frozen=True)
class Hidden:
    """Where one variation is written before it is moved to its names; the sounds are float WAV files.

    music: as composed. mixed: the finished sound. audio: the music alone if it is wanted, alone: the same as scratch.
    midi: its notes, stems: a folder for its parts, if they are wanted.
    """

    video: Path
    sidecar: Path
    audio: Path | None
    music: Path
    mixed: Path
    alone: Path
    midi: Path | None = None
    stems: Path | None = None


class Outputs:
    """A `with` block inside which results are written to hidden files beside their targets.

    `commit` moves them to their names; leaving the block without it, by an error or an interrupt, leaves nothing.
    Scratch data lies there too and not in the system's temporary folder, which on many machines is memory.
    """

    def __init__(self, source: str | Path, overwrite: bool) -> None:
        self._source = Path(source)
        self._overwrite = overwrite
        self._targets: dict[Path, Path] = {}
        self._scratch: list[Path] = []
        self._folders: dict[Path, Path] = {}

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for path in self._scratch:
            path.unlink(missing_ok=True)
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    def reserve_folder(self, target: str | Path, option: str) -> Path:
        """Reserve a folder of files: it may be there, but without --overwrite only empty. Raises OutputError."""
        target = Path(target)
        check_name(target, option)
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist; create it or choose another with {option}.")
        if target.exists() and not target.is_dir():
            raise OutputError(f"{target} is a file; give the name of a folder with {option}.")
        if target.is_dir() and any(target.iterdir()) and not self._overwrite:
            raise OutputError(f"{target} is not empty; give --overwrite to replace its files or another with {option}.")
        hidden = target.with_name(hidden_name())
        self._folders[target] = hidden  # before it is there: an interrupt may come at any moment
        with explain_write_errors(target.parent):
            hidden.mkdir()
        return hidden

    def reserve(self, target: str | Path, option: str = "--output") -> Path:
        """Check that a result can be written at `target` and return the hidden file to write it to.

        option: the one that names another place, for the message. Raises OutputError.
        """
        target = Path(target)
        check_name(target, option)
        if not target.parent.is_dir():
            raise OutputError(f"the folder {target.parent} does not exist; create it or choose another with {option}.")
        if target.is_dir():
            raise OutputError(f"{target} is a folder; give a file name with {option}.")
        if target.exists() and target.samefile(self._source):
            raise OutputError(f"{target} is the input itself; give another name with {option}.")
        if target.exists() and not self._overwrite:
            raise OutputError(f"{target} exists already; give --overwrite to replace it or another name with {option}.")
        if any(same_place(target, other) for other in self._targets):
            raise OutputError(f"{target} would be written twice; give another name with {option}.")
        sweep(target.parent)
        if is_being_written(target):
            raise OutputError(
                f"{target} is being written by another run; wait for it or give another name with {option}."
            )
        hidden = self._hide(target)
        self._targets[target] = hidden
        return hidden

    def reserve_all(self, target: Target) -> Hidden:
        """The door for everything that one variation writes. Raises OutputError."""
        return Hidden(
            video=self.reserve(target.video),
            sidecar=self.reserve(target.sidecar),
            audio=self.reserve(target.audio, "--audio-out") if target.audio else None,
            music=self.scratch(target.video, ".music.wav"),
            mixed=self.scratch(target.video, ".mixed.wav"),
            alone=self.scratch(target.video, ".alone.wav"),
            midi=self.reserve(target.midi, "--midi-out") if target.midi else None,
            stems=self.reserve_folder(target.stems, "--stems-out") if target.stems else None,
        )

    def scratch(self, target: str | Path, suffix: str) -> Path:
        """A hidden file beside `target` that is deleted at the end of the block."""
        return self._hide(Path(target).with_suffix(suffix))

    def _hide(self, target: Path) -> Path:
        hidden = target.with_name(hidden_name(target.suffix, target.name))
        self._scratch.append(hidden)  # before it is there: an interrupt may come at any moment
        with explain_write_errors(target.parent):
            hidden.touch(exist_ok=False)
        return hidden

    def _claim(self, target: Path) -> None:
        """Take a name that nothing has; what another run wrote there in the meantime stays. Raises OutputError."""
        if self._overwrite:
            return
        try:
            target.open("xb").close()
        except FileExistsError as error:
            raise OutputError(
                f"{target} has been written by another run in the meantime; give another name with --output."
            ) from error

    def commit(self) -> None:
        """Move every result to its name, the first reserved last: that it is there means that all are."""
        moved: list[Path] = []
        try:
            for folder, hidden in self._folders.items():
                with explain_write_errors(folder.parent):
                    folder.mkdir(exist_ok=True)
                    for file in sorted(hidden.iterdir()):
                        os.replace(file, folder / file.name)
                        moved.append(folder / file.name)
            for target, hidden in reversed(self._targets.items()):
                with explain_write_errors(target.parent):
                    self._claim(target)
                    os.replace(hidden, target)
                moved.append(target)
        except BaseException:
            for target in moved:
                target.unlink(missing_ok=True)
            raise
        self._targets.clear()


def name_targets(info: VideoInfo, options: Options) -> list[Target]:
    """Where the results go: NAME.scored.EXT beside the input unless said otherwise, numbered if they are several."""
    path, output = Path(info.path), options.output
    if output.audio_out is not None and Path(output.audio_out).suffix.lower() != ".wav":
        raise OptionError(f"the music is written as WAV; give --audio-out a name in .wav, not {output.audio_out}.")
    if output.midi_out is not None and Path(output.midi_out).suffix.lower() not in (".mid", ".midi"):
        raise OptionError(f"notes are written as MIDI; give --midi-out a name in .mid, not {output.midi_out}.")
    video = Path(output.output) if output.output else beside(path, f".scored{choose_extension(info)[0]}")
    check_container(info, video)  # before minutes are spent
    audio, midi, stems = (Path(p) if p else None for p in (output.audio_out, output.midi_out, output.stems_out))
    if output.variations == 1:
        return [Target(video, audio, midi, stems)]
    return [
        Target(numbered(video, index), *(numbered(path, index) if path else None for path in (audio, midi, stems)))
        for index in range(1, output.variations + 1)
    ]


def numbered(path: Path, index: int) -> Path:
    return path.with_name(f"{path.stem}.{index}{path.suffix}")


def space_needed(info: VideoInfo, n_variations: int) -> int:
    """Bytes: the finished files, and the sound of one variation while it is made (music, original, sum, mix)."""
    seconds = math.ceil(info.duration)
    finished = Path(info.path).stat().st_size + seconds * COMPRESSED_BYTES
    return n_variations * finished + N_SOUNDS * seconds * SOUND_BYTES + SPARE_BYTES


def check_name(target: Path, option: str) -> None:
    """Raises OutputError if no file of this name can be."""
    try:
        os.lstat(target)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            reason = "impossible" if isinstance(error, ValueError) else "too long"
            raise OutputError(f"the name {shortened(target.name)} is {reason}; give another with {option}.") from error


def shortened(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}...{name[-16:]}"


def same_place(first: Path, second: Path) -> bool:
    return first.absolute().parent.resolve() / first.name == second.absolute().parent.resolve() / second.name
