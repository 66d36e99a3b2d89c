"""Systems that write music: ours with any options, our decoder with less than it could know, and text-to-music."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from openvmas.condition import Condition
from openvmas.errors import ModelError, OptionError
from openvmas.eval.systems.captions import caption
from openvmas.eval.systems.system import Setting, System, Task
from openvmas.generate.scorer import Scorer, exactly, load
from openvmas.media.audio import Audio, map_wav
from openvmas.media.mix import mix
from openvmas.planning.beat_grid import TempoMark
from openvmas.planning.conditioning import build_condition
from openvmas.planning.lexicon import parse_text
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan, Section
from openvmas.pretrained import find_weights
from openvmas.settings import FIRST_MODEL, SAMPLE_RATE_OUT, MixOptions, Options, OutputOptions
from openvmas.timeline import Clock

TEMPI = (80.0, 140.0)  # BPM, of music without a given tempo


def finished(wave: np.ndarray, duration: Fraction, options: MixOptions, scratch: Path) -> Audio:
    """A wave [C, L] at 48 kHz as long as the picture and at the loudness of finished videos."""
    target = scratch / "finished.wav"
    mix(wave, None, duration, options, output=target)
    mapped, rate = map_wav(target)
    return Audio(np.array(mapped), rate)


class Ours(System):
    """OpenVMAS as `openvmas score` runs it, with any of its options."""

    says = "OpenVMAS as `openvmas score` runs it"
    known = None
    defaults: ClassVar[dict[str, str]] = {}

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        try:
            self._given = Options.parse({**self.defaults, **options})
        except OptionError as error:
            raise OptionError(f"{spec}: {error}") from error
        self._options = Options.of(**self._given)
        asked = self._options.output.model
        self._model = FIRST_MODEL if asked == OutputOptions().model else asked  # tables are of one voice
        self._weights = find_weights(self._model)

    def describe(self) -> str:
        given = ", ".join(f"{name} {value}" for name, value in self._given.items())
        model = f"model {self._weights.name} {self._weights.version}"
        return f"{self.says}{f' ({given})' if given else ''}; {model}"

    def version(self) -> str:
        return f"{super().version()} {self._weights.sha256}"

    @functools.cached_property
    def _scorer(self) -> Scorer:
        return load(self._model)

    def make(self, task: Task) -> Audio:
        picture = task.excerpt.picture
        plan = make_plan(picture, self._options.plan, task.seed)
        asked: dict[str, Any] = asdict(self._options.generate) | {"seed": task.seed}
        wave = np.concatenate(list(self._scorer.compose(plan, picture, **asked)), axis=1)
        return finished(wave, task.excerpt.duration, self._options.mix, task.scratch)


class Symbolic(Ours):
    """The rule-based composer with sampled instruments."""

    says = "a composer by rules, played on sampled instruments"
    defaults: ClassVar[dict[str, str]] = {"model": "symbolic"}


class PartiallyConditioned(Ours):
    """Our decoder alone, with a condition that holds less than the picture shows.

    One candidate: there is nothing to choose by.
    """

    defaults: ClassVar[dict[str, str]] = {"candidates": "1"}

    def condition(self, task: Task) -> Condition:
        """The condition that the decoder is given."""
        raise NotImplementedError

    def make(self, task: Task) -> Audio:
        options = replace(self._options.generate, seed=task.seed)
        blocks = self._scorer.composer.compose(self.condition(task), None, options)
        length = Clock(Fraction(SAMPLE_RATE_OUT)).count(task.excerpt.duration)
        wave = np.concatenate(list(exactly(blocks, length)), axis=1)
        return finished(wave, task.excerpt.duration, self._options.mix, task.scratch)


class Waveform(PartiallyConditioned):
    """Conditioned on the video without both alignments: tempo and levels of the plan, no moments and no meaning."""

    says = "our decoder told tempo and section levels of the plan, but no moments and no meaning of the picture"

    def condition(self, task: Task) -> Condition:
        plan = make_plan(task.excerpt.picture, self._options.plan, task.seed)
        sections = tuple(replace(section, picture={}) for section in plan.sections)
        return build_condition(replace(plan, sections=sections), None, events="off", seed=task.seed)


class Blind(PartiallyConditioned):
    """Conditioned on the length alone; a steady tempo is drawn."""

    says = "our decoder told nothing of the picture but its length, and a tempo drawn by lot"

    def condition(self, task: Task) -> Condition:
        return blind_condition(task.excerpt.duration, task.seed)


class Text(PartiallyConditioned):
    """A caption of the picture, by the rule of `eval.systems.captions`, then our decoder with those words and no
    events."""

    says = "a caption made from the picture by rule, then our decoder with those words alone and event guidance 0"
    defaults: ClassVar[dict[str, str]] = {"candidates": "1", "event_guidance": "0"}

    def condition(self, task: Task) -> Condition:
        return blind_condition(task.excerpt.duration, task.seed, caption(task.excerpt.picture).music)


def blind_condition(duration: Fraction, seed: int, text: str | None = None) -> Condition:
    """A condition of which only the length, a steady tempo and perhaps words are known."""
    tempo = parse_text(text).tempo or float(np.random.default_rng(seed).uniform(*TEMPI))
    plan = ScorePlan(duration, (Section(0.0, float(duration)),), (TempoMark(0.0, tempo),), text=text, seed=seed)
    return build_condition(plan, None, events="off", seed=seed)


class MusicGen(System):
    """MusicGen (Copet et al. 2023) through transformers, from a folder with its weights, with a caption as prompt."""

    says = "MusicGen told a caption made from the picture by rule"
    known = frozenset({"folder", "guidance"})

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._folder = Path(options.get("folder", "musicgen-small"))
        from openvmas.hub.musicgen_writer import MusicGenWriter  # needs PyTorch

        try:
            self._writer = MusicGenWriter(self._folder)
        except ModelError as error:
            raise ModelError(f"{error} Name it as musicgen:folder=DIR, or leave musicgen out.") from error

    def version(self) -> str:
        sizes = [f"{path.name} {path.stat().st_size}" for path in sorted(self._folder.iterdir())]
        return f"{super().version()} {sizes}"

    def make(self, task: Task) -> Audio:
        said = task.excerpt.clip.caption or str(caption(task.excerpt.picture))
        guidance = float(self.options.get("guidance", "3"))
        return self._writer.write(said, float(task.excerpt.duration), task.seed, guidance)
