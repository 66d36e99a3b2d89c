"""In a worker: a few seconds of music in each of the styles that are offered, at the video's strongest moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from openvmas.condition import Condition
from openvmas.generate.piece import Composer
from openvmas.media.audio import write_wav
from openvmas.media.loudness import integrated_loudness
from openvmas.planning.conditioning import build_condition
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions
from openvmas.studio.storage.folders import ProjectFolder
from openvmas.studio.storage.styles import StyleFolder, choose_styles
from openvmas.timeline import Events
from openvmas.vision.analysis import VideoAnalysis

SECONDS = 6.0  # of each sketch
NEAR = 4.0  # s around it in which beats are kept, so that its own first and last lie between two
FADE = 0.4  # s at its end
LOUDNESS, PEAK = -16.0, 0.9  # LUFS, and the highest sample
ACCENT_WEIGHT = 2.0  # of accents beside energy where the strongest moment is looked for


def strongest(condition: Condition) -> tuple[int, int]:
    """First and last step of the SECONDS with the most energy and accents; of all where the video is shorter."""
    n = min(condition.n_steps, round(SECONDS * float(condition.rate)))
    wanted = condition.events.energy + ACCENT_WEIGHT * condition.events.accents
    sums = np.concatenate([[0.0], np.cumsum(wanted)])
    start = int(np.argmax(sums[n:] - sums[:-n]))
    return start, start + n


def sketch(
    voice_of: Callable[[ScorePlan], Composer], model: str, plan: ScorePlan, project: ProjectFolder,
    tell: Callable[[float], None], is_wanted: Callable[[], bool],
) -> bool:  # fmt: skip
    """Write the sketches that are missing; False where it stopped because something else is waited for.

    voice_of: who writes the music of a plan; model: what was asked for, of which the sketches are.
    """
    analysis, folder = VideoAnalysis.load(project.analysis), StyleFolder(project)
    begin, end = strongest(build_condition(plan, analysis))
    styles = choose_styles(plan)
    kept = folder.load()
    start = begin / float(build_condition(plan, analysis).rate)
    if kept != (start, model, styles):
        for path in folder.path.glob("*.wav"):
            path.unlink()
        folder.save(styles, start, model)
    for index, style in enumerate(styles):
        tell(index / len(styles))
        if folder.sound(index).exists():
            continue
        if not is_wanted():
            return False
        wished = replace(plan, text=style.words, mood=None)
        condition = cut(build_condition(wished, analysis), begin, end)
        blocks = [*voice_of(wished).compose(condition, None, GenerateOptions(candidates=1, seed=index))]
        write_wav(folder.sound(index), finished(np.concatenate(blocks, axis=1)), SAMPLE_RATE_OUT)
    return True


def cut(condition: Condition, start: int, end: int) -> Condition:
    """The condition of steps [start, end) as a piece of its own, which goes on after them; without the picture."""
    rate = float(condition.rate)
    names = ("accents", "energy", "novelty")
    events = Events(condition.rate, *(getattr(condition.events, name)[start:end] for name in names))
    begin, stop = start / rate, end / rate
    beats, downbeats = (
        marks[(marks >= begin - NEAR) & (marks <= stop + NEAR)] - begin
        for marks in (condition.beats, condition.downbeats)
    )
    left = np.full(end - start, np.inf)
    return Condition(events, beats, downbeats, condition.semantics[start:end], left, condition.time_since[start:end])


def finished(wave: np.ndarray) -> np.ndarray:
    """Music [C, L] at the loudness of all sketches, with its end faded: [2, L] float32."""
    wave = np.repeat(wave, 2, axis=0) if len(wave) == 1 else wave
    loudness = integrated_loudness(wave, SAMPLE_RATE_OUT)
    gain = 10 ** ((LOUDNESS - loudness) / 20) if np.isfinite(loudness) else 1.0
    gain = min(gain, PEAK / max(float(np.abs(wave).max(initial=0.0)), 1e-9))
    left = (wave.shape[1] - 1 - np.arange(wave.shape[1])) / (FADE * SAMPLE_RATE_OUT)
    return (wave * gain * np.clip(left, 0, 1)).astype(np.float32)
