"""Everything that `eval run` measures, in lists: of one system's music under one clip, and of all its music.

What the learned comparison says of clips is in `eval.metrics.cross_modal_similarity`. A new measure is a function
here and its name in
`eval.reports.folder_tables.MEASURES`; run, tests between systems, tables and JSON take it from there. Raise VERSION
when a number
changes: what was kept is then measured again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from openvmas.eval.benchmark import set_measures
from openvmas.eval.benchmark.cache import Sound
from openvmas.eval.benchmark.folder_measures import MeasuredFolder
from openvmas.eval.metrics import signal_quality, timing
from openvmas.eval.metrics.statistics import Interval
from openvmas.music.analysis import MusicAnalysis
from openvmas.vision.analysis import VideoAnalysis

VERSION = 2


@dataclass(frozen=True)
class Heard:
    """One system's music under one clip.

    wave: [C, L] at sample_rate, as it came; music: what is heard in it. picture: of the clip. reference: what is heard
    in the true music, None where there is none.
    """

    wave: np.ndarray
    sample_rate: int
    music: MusicAnalysis
    picture: VideoAnalysis
    reference: MusicAnalysis | None


def with_picture(heard: Heard) -> dict[str, float]:
    """Does the music answer its picture in time?"""
    return timing.evaluate(heard.picture, heard.music, heard.wave, heard.sample_rate)


def with_reference(heard: Heard) -> dict[str, float]:
    """Are its beats where those of the true music are?"""
    if heard.reference is None:
        return {}
    return timing.evaluate_pair(heard.reference, heard.music, float(heard.picture.duration))


def alone(heard: Heard) -> dict[str, float]:
    """Tempo, ending and craft."""
    return timing.evaluate_sound(heard.music, heard.wave, heard.sample_rate) | signal_quality.evaluate(
        heard.wave, heard.sample_rate
    )


@dataclass(frozen=True)
class Collected:
    """All music of one system as one embedder hears it.

    reference: None of the true music itself. classes: that the embedder knows. takes: of some videos one sound a seed.
    """

    reference: MeasuredFolder | None
    estimated: MeasuredFolder
    classes: tuple[str, ...]
    takes: tuple[tuple[Sound, ...], ...] = ()


def distances(all_music: Collected) -> dict[str, Interval]:
    """How far all music of a system lies from the true music of the suite."""
    if all_music.reference is None:
        return {}
    return set_measures.compare(all_music.reference, all_music.estimated)


def diversity(all_music: Collected) -> dict[str, Interval]:
    """How unlike the music for different clips is, in itself and in style, and for different seeds."""
    found = set_measures.variety(all_music.estimated)
    found |= set_measures.styles(all_music.reference, all_music.estimated, all_music.classes)
    return found | set_measures.of_seeds(all_music.reference, all_music.takes)


def tags(all_music: Collected) -> dict[str, dict[str, float]]:
    """Does the music have the styles and moods of the true music of its clip?"""
    if all_music.reference is None:
        return {}
    return set_measures.agreement(all_music.reference, all_music.estimated, all_music.classes)


CLIP_METRICS: tuple[Callable[[Heard], dict[str, float]], ...] = (with_picture, with_reference, alone)
SET_METRICS: tuple[Callable[[Collected], dict[str, Interval]], ...] = (distances, diversity)
# Figures of clips that take all clips to tell: by file and measure.
CONTEXT_METRICS: tuple[Callable[[Collected], dict[str, dict[str, float]]], ...] = (tags,)


def measure(heard: Heard) -> dict[str, float]:
    """All measures of one clip, by name."""
    found = {"duration": heard.wave.shape[1] / heard.sample_rate}
    for metric in CLIP_METRICS:
        found |= metric(heard)
    return found
