"""Styles that are offered for a video: which ones, and the few seconds of each that are written before anybody asks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from openvmas.condition import AXES
from openvmas.planning.lexicon import parse_text
from openvmas.planning.schema import ScorePlan
from openvmas.studio.storage.folders import ProjectFolder

N_FITTING, N_OTHER = 3, 3
NAMES = {  # of all styles that may be offered → the words for the whole that they stand for
    "Calm piano": "calm piano, tender",
    "Hopeful strings": "hopeful strings, warm",
    "Epic orchestra": "epic orchestral, brass, strings, drums",
    "Dark tension": "dark, tense, slow strings, scary",
    "Bright pop": "happy pop, bright, drums, bass",
    "Driving electronic": "exciting electronic, synthesizer, drums, bass",
    "Dreamy ambient": "ambient, calm, dreamy synthesizer",
    "Acoustic folk": "acoustic folk, guitar, happy",
    "Energetic rock": "energetic rock, guitar, drums, bass",
    "Smooth jazz": "jazz, relaxed, piano, bass",
    "Playful": "funny, playful, bells, flute",
    "Sad and slow": "sad, slow, piano, strings",
    "Hip hop beat": "hip hop, drums, bass",
    "Retro game": "game, happy, synthesizer, fast",
}


@dataclass(frozen=True)
class Style:
    """One card. fits: whether it is among those that fit the picture best."""

    name: str
    words: str
    fits: bool


def choose_styles(plan: ScorePlan) -> list[Style]:
    """The styles that fit what the picture says, and then others that are as far from them and each other as can be."""
    lengths = np.array([section.end - section.start for section in plan.sections])
    pictures = np.array([vector(section.picture) for section in plan.sections])
    seen = lengths @ pictures / lengths.sum()
    places = {name: vector(parse_text(words).axes) for name, words in NAMES.items()}
    units = {name: place / max(float(np.linalg.norm(place)), 1e-9) for name, place in places.items()}
    order = sorted(units, key=lambda name: -float(units[name] @ seen))
    chosen: list[str] = []
    for name in order:  # the best, but not the same thing three times
        if len(chosen) < N_FITTING and all(float(units[name] @ units[one]) < 0.75 for one in chosen):
            chosen.append(name)
    while len(chosen) < N_FITTING + N_OTHER:
        rest = [name for name in order if name not in chosen]
        chosen.append(min(rest, key=lambda name: max(float(units[name] @ units[one]) for one in chosen)))
    return [Style(name, NAMES[name], index < N_FITTING) for index, name in enumerate(chosen)]


def vector(axes: Mapping[str, float]) -> np.ndarray:
    """Values on the axes, 0 where nothing is said: [len(AXES)]."""
    return np.array([axes.get(axis, 0.0) for axis in AXES])


class StyleFolder:
    """Where the cards of a project and their sounds lie."""

    def __init__(self, project: ProjectFolder) -> None:
        self.path = project.path / "styles"
        self._list = self.path / "styles.json"

    def sound(self, index: int) -> Path:
        """A few seconds of music in the style, as a WAV file that is there when it is finished."""
        return self.path / f"{index}.wav"

    def save(self, styles: list[Style], start: float, model: str) -> None:
        """Keep the cards. start: s, where in the video their sounds lie."""
        self.path.mkdir(exist_ok=True)
        content = {"start": start, "model": model, "styles": [asdict(style) for style in styles]}
        self._list.write_text(json.dumps(content), encoding="utf-8")

    def load(self) -> tuple[float, str, list[Style]] | None:
        """Read what `save` has kept; None before that."""
        try:
            content = json.loads(self._list.read_text(encoding="utf-8"))
        except OSError:
            return None
        return content["start"], content["model"], [Style(**style) for style in content["styles"]]
