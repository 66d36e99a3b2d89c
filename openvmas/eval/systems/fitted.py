"""The best recording of a library fitted to the picture, and the same recording cut to length and faded."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from openvmas.eval.systems.composers import finished
from openvmas.eval.systems.library import cut, library_files
from openvmas.eval.systems.system import Setting, System, Task
from openvmas.fitting.composer import Recording, fit
from openvmas.fitting.library import Entry, Library, choose
from openvmas.fitting.wishes import Wishes
from openvmas.media.audio import Audio, map_wav, read_audio, write_wav
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, MixOptions, PlanOptions
from openvmas.sweetening.stem import sweeten


class FittedTrack(System):
    """The recording of the library that `score --music FOLDER` chooses, re-arranged as it does."""

    says = "the real track of the library that fits best, re-arranged to the picture as `openvmas score --music` does"
    is_random = False
    known = frozenset({"sweeten"})

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._files = library_files(setting.library)

    def describe(self) -> str:
        added = " and with --sweeten" if self._is_sweetened else ""
        return f"{self.says}{added}; {len(self._files)} tracks"

    @property
    def _is_sweetened(self) -> bool:
        return self.options.get("sweeten", "0").lower() in ("1", "true", "yes", "on")

    def version(self) -> str:
        entries = "\n".join(sorted(entry.sha256 for entry in self._library.entries))
        return f"{super().version()} 2 {entries}"

    @functools.cached_property
    def _library(self) -> Library:
        assert self.setting.library is not None
        found = Library.open(self.setting.library)
        found.used = []  # every video gets the best, whatever was used before
        return found

    def choose(self, task: Task) -> tuple[ScorePlan, Entry]:
        """The plan of the picture, and the recording for it."""
        plan = make_plan(task.excerpt.picture, PlanOptions(), task.seed)
        return plan, choose(self._library, Wishes.of_plan(plan), plan)[0].entry

    def path(self, entry: Entry) -> Path:
        """The file of an entry."""
        return self._library.path(entry)

    def make(self, task: Task) -> Audio:
        plan, entry = self.choose(task)
        piece = fit(Recording.open(self.path(entry), self._library.cache), Wishes.of_plan(plan))
        music = task.scratch / "fitted.wav"
        write_wav(music, piece, SAMPLE_RATE_OUT)
        if self._is_sweetened:
            sweeten(music, plan, 0.0, task.seed)
        return finished(np.array(map_wav(music)[0]), task.excerpt.duration, MixOptions(), task.scratch)


class TrimmedTrack(FittedTrack):
    """Music that plays the recording from its beginning on, cut to length."""

    says = "the real track of the library that `fitted` chooses, from its beginning on, cut to length and faded out"
    known = frozenset()

    def make(self, task: Task) -> Audio:
        _, entry = self.choose(task)
        return cut(read_audio(self.path(entry)), 0.0, task)
