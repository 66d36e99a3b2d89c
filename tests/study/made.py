"""Studies that tests need: a real one from tiny videos, and listeners of known taste who answer like people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

from openvmas.media.audio import write_wav
from openvmas.study.session import Step, Study, pending
from openvmas.study.store import Answer, Store
from openvmas.study.study_builder import create
from openvmas.study.study_settings import StudyPlan, StudySettings
from tests.clips import write_clip

RATE = 48_000


def tune(seed: int, duration: float) -> np.ndarray:
    """[2, L] float32: decaying notes of a random melody, with harmonics up to 8 kHz."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(duration * RATE)) / RATE
    wave = 0.02 * generator.standard_normal(len(time))
    for start in np.arange(0, duration, 0.25):
        after = np.maximum(time - start, 0)
        note = 220 * 2 ** (generator.choice([0, 3, 5, 7, 10, 12, 15]) / 12)
        wave += (time >= start) * np.exp(-6 * after) * sum(np.sin(2 * np.pi * note * k * after) / k for k in (1, 2, 5))
    return np.stack([wave, wave]).astype(np.float32) * 0.1


def with_sound(path: Path, wave: np.ndarray, **options: Any) -> Path:
    """A clip with this sound, uncompressed, and names of its maker in its tags."""
    silent = write_clip(path.with_name(f"silent-{path.stem}.mp4"), wave.shape[1] / RATE, **options)
    with av.open(str(silent)) as source, av.open(str(path), "w") as result:
        picture = result.add_stream_from_template(source.streams.video[0])
        sound: Any = result.add_stream("pcm_s16le", rate=RATE, layout="stereo")
        result.metadata["comment"] = f"made by system {path.parent.name}"
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = picture
                result.mux(packet)
        whole = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16).T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole), format="s16", layout="stereo")
        frame.sample_rate = RATE
        for packet in (*sound.encode(frame), *sound.encode(None)):
            result.mux(packet)
    silent.unlink()
    return path


def write_systems(
    folder: Path, names: tuple[str, ...], n_clips: int = 2, duration: float = 3.0, has_picture: bool = True
) -> dict[str, Path]:
    """Folders of clips with different tunes at different levels."""
    made = {}
    for i, name in enumerate(names):
        made[name] = folder / name
        made[name].mkdir(parents=True)
        for clip in range(n_clips):
            wave = tune(10 * i + clip, duration) * (1 + i)
            if has_picture:
                with_sound(made[name] / f"clip{clip}.mov", wave)
            else:
                write_wav(made[name] / f"clip{clip}.wav", wave, RATE)
    return made


def quick_study(folder: Path, names: tuple[str, ...], n_clips: int, **settings: Any) -> Study:
    """A study of sounds alone: made in a second, for tests of answers."""
    systems = write_systems(folder / "systems", names, n_clips, duration=2.2, has_picture=False)
    create(StudyPlan(systems, None, StudySettings.of(seconds=2, **settings)), folder / "study")
    return Study(folder / "study")


def answer_all(study: Study, store: Store, respond: Any, n_steps: int | None = None) -> None:
    """A new listener answers every step (or the first n_steps) by respond(step) -> (choice, quality, fit)."""
    name = store.begin()
    assert name is not None
    session = store.session(name)
    assert session is not None
    steps, choices = study.plan(session.block), {}
    while (left := pending(steps, choices)) and (n_steps is None or len(choices) < n_steps):
        choice, quality, fit = respond(steps[left[0]])
        choices[left[0]] = choice
        store.add(session.number, Answer(left[0], choice, quality, fit, 30.0, 30.0))
    if not left:
        store.finish(session.number)


class Taste:
    """A listener who attends, has headphones, and prefers by planted strengths with Davidson's ties."""

    def __init__(self, key: dict[str, Any], strengths: dict[str, float], tie: float, seed: int) -> None:
        self._stimuli, self._tie = key["stimuli"], tie
        self._generator = np.random.default_rng(seed)
        self._strengths = {name: value + 0.3 * self._generator.normal() for name, value in strengths.items()}
        self._bias = 0.3 * self._generator.normal()

    def __call__(self, step: Step) -> tuple[str | None, int | None, int | None]:
        if step.kind == "volume":
            return "ok", None, None
        if step.kind == "headphones":
            return step.right, None, None
        if step.kind == "question":
            return "1", None, None
        if step.kind == "rating":
            if step.right is not None:
                number = int(step.right)
                return None, number, number if step.has_fit else None
            mean = 3 + self._strengths.get(self._stimuli[step.media[0]]["condition"], -1.5) + self._bias
            quality, fit = np.clip(np.round(mean + 0.7 * self._generator.normal(size=2)), 1, 5).astype(int)
            return None, int(quality), int(fit) if step.has_fit else None
        if step.right is not None:
            return step.right, None, None
        a, b = (self._strengths.get(self._stimuli[name]["condition"], -9) for name in step.media)
        weights = np.array([np.exp(a), np.exp(b), self._tie * np.exp((a + b) / 2)])
        return str(self._generator.choice(["a", "b", "same"], p=weights / weights.sum())), None, None
