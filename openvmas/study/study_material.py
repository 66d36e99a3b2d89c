"""The material of a study: the same videos scored by several systems, in a folder with its STUDY.toml."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from openvmas.errors import InputError, OptionError
from openvmas.eval.suites.cache import Cache
from openvmas.eval.suites.excerpt import prepare
from openvmas.eval.suites.suite import Clip
from openvmas.eval.systems.system import Setting, System, Task, open_system
from openvmas.files import atomic_path, explain_write_errors
from openvmas.media.audio import Audio, resample, write_wav
from openvmas.media.mux import mux
from openvmas.media.probe import probe
from openvmas.settings import SAMPLE_RATE_OUT

STUDY_FILE = "STUDY.toml"
TEMPLATE = """\
# Made by `openvmas study material`; then: openvmas study create {file} --output my-study
title = "{title}"
picture_pairs = {pairs}
sound_pairs = {pairs}
rounds = 1

[systems]
{systems}
"""


def make_material(
    videos: Sequence[Path],
    specs: Sequence[str],
    setting: Setting,
    folder: Path,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Path:
    """Score every video by every system into FOLDER/SYSTEM/NAME.mp4, and write what `study create` reads.

    specs: systems as `eval run` names them. What is there already is kept, so a stopped run goes on. Returns the path
    of STUDY.toml. Raises InputError, OptionError, OutputError.
    """
    names = folder_names(specs)
    stems = [video.stem for video in videos]
    if len(set(stems)) < len(stems):
        raise InputError("two videos have the same name; a study tells clips apart by it, so rename one.")
    opened = {name: open_system(spec, setting) for name, spec in zip(names, specs, strict=True)}
    cache = Cache(setting.cache) if setting.cache else Cache()
    with explain_write_errors(folder.parent):
        for name in names:
            (folder / name).mkdir(parents=True, exist_ok=True)
        for video in videos:
            excerpt = None
            for name, system in opened.items():
                target = folder / name / f"{video.stem}.mp4"
                if target.exists():
                    continue
                say(f"{video.name}: {name}")
                excerpt = excerpt or prepare(Clip(video.stem, "material", video, None), cache)
                with tempfile.TemporaryDirectory(dir=folder) as scratch:
                    write_video(video, system, Task(excerpt, seed, Path(scratch)), target)
        study = folder / STUDY_FILE
        if not study.exists():
            table = "\n".join(f'{name} = "{name}"' for name in names)
            text = TEMPLATE.format(file=study, title=" and ".join(names), pairs=min(6, len(videos)), systems=table)
            study.write_text(text, encoding="utf-8")
    return study


def folder_names(specs: Sequence[str]) -> list[str]:
    """A name for each system that is fit for a folder and a key. Raises OptionError."""
    names = [spec.replace(":", "-").replace("=", "-").replace("/", "-") for spec in specs]
    if len(set(names)) < 2:
        raise OptionError("a study compares two systems or more; give --systems such as fitted,trimmed.")
    return names


def write_video(video: Path, system: System, task: Task, target: Path) -> None:
    """The picture of a video with a system's sound, in stereo at 48 kHz. Raises InputError, OutputError."""
    sound = resample(system.make(task), SAMPLE_RATE_OUT)
    stereo = Audio(np.repeat(sound.wave, 2, axis=0) if len(sound.wave) == 1 else sound.wave, SAMPLE_RATE_OUT)
    wav = task.scratch / "material.wav"
    write_wav(wav, stereo.wave, SAMPLE_RATE_OUT)
    with atomic_path(target, ".mp4") as hidden:
        mux(video, probe(video), wav, hidden)
