"""A caption for a picture, by a stated rule: the prompt of a text-to-music system, which cannot be given the video.

The rule: `vision.mood.describe` over the whole clip gives axes in standard deviations. Of arousal and valence, of the
styles, the feelings and the instruments, the words of the strongest axes are taken (up to 1, 1, 2, 1 and 2 of them) if
they are at least LEAST strong, then what the ImageNet classes see most. The words of the music are all in
`openvmas.planning.lexicon`, so that our own decoder understands them.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass

import numpy as np

from openvmas.condition import FEELING_AXES, INSTRUMENT_AXES, STYLE_AXES
from openvmas.vision.analysis import VideoAnalysis
from openvmas.vision.backbone import CLASS_NAMES
from openvmas.vision.mood import describe

LEAST = 0.4  # standard deviations
MAX_CLASSES, MIN_PROBABILITY = 2, 0.08  # classes named at most; mean probability
POLES = {"arousal": ("calm", "energetic"), "valence": ("dark", "happy")}  # below and above the middle
WORDS = {"hip_hop": "hip hop", "game": "video game"}  # the other axes are words themselves


@dataclass(frozen=True)
class Caption:
    """music: what the music should be like; seen: what is in the picture, "" where nothing is sure."""

    music: str
    seen: str

    def __str__(self) -> str:
        return f"{self.music} music" + (f" for a video of {self.seen}" if self.seen else "")


def caption(picture: VideoAnalysis) -> Caption:
    """The caption of a whole picture."""
    axes = describe(picture, 0.0, float(picture.duration))
    words = [pair[axes[axis] > 0] for axis, pair in POLES.items() if abs(axes.get(axis, 0.0)) >= LEAST]
    for group, n in ((FEELING_AXES, 1), (STYLE_AXES, 2), (INSTRUMENT_AXES, 2)):
        strong = sorted((axis for axis in group if axes.get(axis, 0) >= LEAST), key=lambda axis: -axes[axis])
        words += [WORDS.get(axis, axis) for axis in strong[:n]]
    return Caption(", ".join(dict.fromkeys(words)) or "background", visible_classes(picture))


def visible_classes(picture: VideoAnalysis) -> str:
    """The names of the most probable ImageNet classes over the whole picture."""
    if not len(picture.classes):
        return ""
    share = picture.classes.astype(np.float32).mean(axis=0)
    best = [int(i) for i in np.argsort(-share)[:MAX_CLASSES] if share[i] >= MIN_PROBABILITY]
    return " and ".join(class_names()[i] for i in best)


@functools.cache
def class_names() -> tuple[str, ...]:
    """The name of each ImageNet class."""
    return tuple(json.loads(CLASS_NAMES.read_text(encoding="utf-8")))
