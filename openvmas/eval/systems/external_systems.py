"""Systems that are not ours: a folder of their finished videos, or their program run by command line.

A command file, systems/NAME.toml:

    command = ["python", "infer.py", "--video", "{input}", "--out", "{output}", "--length", "{seconds}"]
    output = ".wav"            # what it writes: any sound or video ending
    timeout = 600              # s for one clip
    folder = "../rival"        # where it runs, beside this file
    version = "1.2"            # another one makes what was kept of it be forgotten
    says = "Rival 1.2, default settings"

    [environment]
    CUDA_VISIBLE_DEVICES = "0"

Placeholders: {input} the silent video, {output}, {seconds}, {seed}, {caption} (the list's, else one made by rule),
{python} the interpreter that runs this.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from openvmas.errors import InputError, OpenVMASError, OptionError
from openvmas.eval.suites.media_files import SOUND_SUFFIXES, VIDEO_SUFFIXES, clip_name, media_files, read_sound
from openvmas.eval.systems.captions import caption
from openvmas.eval.systems.system import Setting, System, Task
from openvmas.media.audio import Audio
from openvmas.processes.limited import kill_group
from openvmas.settings import read_toml

LEAST = 0.1  # s, of sound that counts as an answer
TIMEOUT = 600.0  # s
END_SLACK = 1.0  # s that a sound may end before its video and still be that of the whole
KEYS = {"command", "output", "timeout", "folder", "version", "says", "environment"}


def read_answer(path: Path, who: str) -> Audio:
    """The sound of a finished file, on the picture's clock if it has a picture. Raises InputError."""
    audio = read_sound(path)
    if audio.wave.shape[1] < LEAST * audio.sample_rate:
        raise InputError(f"{who} gave less than {LEAST:g} s of sound in {path.name}; check what it wrote.")
    return audio


class Folder(System):
    """Published outputs: the file with the name of the clip, as `eval folder` pairs them.

    What goes on after the clip is cut and faded out as the true music is. A file that was made for the whole video, of
    which the clip is a part, counts from where the clip begins.
    """

    known = frozenset({"folder"})
    is_random = False

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._folder = Path(options["folder"])
        self._files = {clip_name(path.name): path for path in reversed(media_files(self._folder))}

    def describe(self) -> str:
        return (
            f"finished files of {self._folder.name}, cut and faded out where they go on after the clip, as the true "
            "music is"
        )

    def version(self) -> str:
        return f"{super().version()} cut"  # before, files were measured whole

    def _find(self, task: Task) -> Path:
        clip = task.excerpt.clip
        for name in (clip.name, clip.name.removeprefix(f"{clip.source}-"), clip.video.stem):
            if name in self._files:
                return self._files[name]
        raise InputError(
            f"{self._folder} holds nothing called {clip.name}; name its files as the clips of the suite are."
        )

    def key(self, task: Task) -> str:
        path = self._find(task)
        found = f"{hashlib.sha256(path.read_bytes()).hexdigest()} {path.name}"
        return hashlib.sha256(f"{task.excerpt.key} {found} {self.version()}".encode()).hexdigest()

    def make(self, task: Task) -> Audio:
        path = self._find(task)
        audio = read_answer(path, self.spec)
        return task.excerpt.under_picture(audio, self._start(clip_name(path.name), audio, task))

    def _start(self, name: str, audio: Audio, task: Task) -> float:
        """Second of the file at which the clip begins.

        The name tells a file for the clip from one for the whole video; where both have one name the length tells.
        """
        clip, start = task.excerpt.clip, task.excerpt.music_start
        is_whole = audio.duration > start + float(task.excerpt.duration) - END_SLACK
        is_for_video = name == clip.video.stem
        return start if is_for_video and is_whole else 0.0


class Command(System):
    """Another program, run once for each clip."""

    known = frozenset({"file"})

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._file = Path(options["file"])
        self._data = read_toml(self._file, "a system in TOML as those in systems/")
        self._check()
        self.is_random = any("{seed}" in part for part in self._data["command"])

    def _check(self) -> None:
        data, name = self._data, self._file
        unknown = next((key for key in data if key not in KEYS), None)
        if unknown:
            raise OptionError(f"{name}: the key {unknown} is not known; choose from {', '.join(sorted(KEYS))}.")
        command = data.get("command")
        is_list = isinstance(command, list) and command and all(isinstance(part, str) for part in command)
        if not is_list or not any("{output}" in part for part in command or ()):
            raise OptionError(f"{name}: command must be a list of words of which one has {{output}}; correct it.")
        self._suffix = str(data.get("output", ".wav")).lower()
        if self._suffix not in SOUND_SUFFIXES | VIDEO_SUFFIXES:
            raise OptionError(f"{name}: output cannot be {self._suffix!r}; give an ending such as .wav or .mp4.")
        self._timeout = data.get("timeout", TIMEOUT)
        if not isinstance(self._timeout, int | float) or not 0 < self._timeout <= 86_400:
            raise OptionError(f"{name}: timeout cannot be {self._timeout!r}; give seconds.")

    def describe(self) -> str:
        return str(self._data.get("says", f"the program of {self._file.name}"))

    def version(self) -> str:
        return f"{super().version()} {hashlib.sha256(self._file.read_bytes()).hexdigest()}"

    def make(self, task: Task) -> Audio:
        target = task.scratch.absolute() / f"answer{self._suffix}"  # the program runs in a folder of its own
        said = task.excerpt.clip.caption
        if said is None and any("{caption}" in part for part in self._data["command"]):
            said = str(caption(task.excerpt.picture))
        values = {
            "input": str(task.excerpt.video.absolute()), "output": str(target),
            "seconds": f"{float(task.excerpt.duration):.3f}", "seed": str(task.seed), "caption": said or "",
            "python": sys.executable,
        }  # fmt: skip
        self._run([fill(part, values) for part in self._data["command"]])
        if not target.is_file():
            raise OpenVMASError(f"{self.spec} ended without writing its output; check the command in {self._file}.")
        return read_answer(target, self.spec)

    def _run(self, command: list[str]) -> None:
        """Run to the end or to the time limit, then nothing of it is left. Raises OpenVMASError."""
        environment = {**os.environ, **{str(k): str(v) for k, v in self._data.get("environment", {}).items()}}
        folder = self._file.parent / str(self._data.get("folder", "."))
        with tempfile.TemporaryFile() as errors:
            try:
                child = subprocess.Popen(
                    command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
                    start_new_session=True,
                )  # fmt: skip
            except OSError as error:
                raise OpenVMASError(f"{self.spec} cannot be started ({error}); correct {self._file}.") from error
            try:
                code = child.wait(self._timeout)
            except subprocess.TimeoutExpired as error:
                raise OpenVMASError(
                    f"{self.spec} took longer than {self._timeout:g} s; raise timeout in {self._file}."
                ) from error
            finally:
                stop_group(child)
            if code:
                errors.seek(0)
                lines = errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
                raise OpenVMASError(
                    f"{self.spec} ended with code {code} ({lines[-1] if lines else 'no word why'}); "
                    f"run the command of {self._file} by hand."
                )


def fill(text: str, values: dict[str, str]) -> str:
    """Known placeholders replaced; other braces stay."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def stop_group(child: subprocess.Popen[bytes]) -> None:
    """End the program and all that it started."""
    kill_group(child)
    child.wait()
