"""Agreement of music and picture: of their events, beyond chance, and by a contrastive model if one is given."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import numpy as np

from openvmas.data.curation.record import Drop, Record
from openvmas.data.curation.record_media import SAMPLE_RATE, Media
from openvmas.errors import ModelError
from openvmas.music.onsets import onset_strength
from openvmas.music.sync import sync_z
from openvmas.pretrained import open_graph, run
from openvmas.settings import option

# features [F, D] float32, their times [F] s, wave [L] float32 mono, its rate in Hz → similarity in [-1, 1]
Similarity = Callable[[np.ndarray, np.ndarray, np.ndarray, int], float]


@dataclass(frozen=True)
class Fit:
    """Marks how well music answers its picture, and refuses what does no better than chance where that is asked.

    What is refused by a measure cannot be judged by it later: `eval run` prints the same z. So by default records are
    only marked (`fit.z`, and `fit.agrees` where enough happens), and a recipe that wants the well-cut ones says
    `is_refused = true`.

    The measure is `music.sync.sync_z`: onset strength at visual beats against circular shifts, in standard deviations
    of chance. It grows with the square root of the length. Real music videos average about +1.3 on clips of half a
    minute, so 1.45 keeps the better-cut ones among them, and one pair in 14 that agrees by chance alone; a set whose
    music need not follow the cuts takes less.
    """

    is_refused: bool = option(False, "Refuse pictures whose music agrees less than min_sync_z; else only mark them.")
    min_sync_z: float = option(1.45, "Least agreement of events, standard deviations beyond chance.", min=-100, max=100)
    min_beats: int = option(6, "With fewer visual beats nothing can be said.", min=1)
    keep_undecided: bool = option(True, "Keep pictures with so few events that nothing can be said.")
    model: str = option("", "A contrastive model: an ONNX file or `module:function`; none if left out.")
    min_similarity: float = option(0.0, "Least similarity that the model must find.", min=-1, max=1)
    name: ClassVar[str] = "fit"

    def __call__(self, record: Record, media: Media) -> Record | Drop:
        if record.kind != "video":
            return record
        analysis, wave = media.video(), media.audio()
        strength = onset_strength(wave, SAMPLE_RATE)
        duration = min(analysis.duration, Fraction(len(wave), SAMPLE_RATE))
        found = sync_z(strength, analysis.visual_beats, duration)
        is_decided = found.n_beats >= self.min_beats
        if not is_decided and not self.keep_undecided:
            return Drop(record, self.name, "too few events", f"{found.n_beats} visual beats")
        if self.is_refused and is_decided and found.z < self.min_sync_z:
            return Drop(record, self.name, "no agreement", f"z {found.z:.1f} over {found.n_beats} visual beats")
        record = record.with_facts(self.name, z=round(found.z, 2), n_beats=found.n_beats)
        if is_decided:
            record = record.with_facts(self.name, agrees=bool(found.z >= self.min_sync_z))
        if not self.model:
            return record
        similarity = load_similarity(self.model)(
            analysis.features.astype(np.float32), analysis.feature_times, wave, SAMPLE_RATE
        )
        if similarity < self.min_similarity:
            return Drop(record, self.name, "does not fit", f"similarity {similarity:.2f}")
        return record.with_facts(self.name, similarity=round(float(similarity), 4))


@functools.cache
def load_similarity(model: str) -> Similarity:
    """The contrastive model of a name: `module:function` with the signature of Similarity, or an ONNX file.

    The graph takes "features" [1, F, D] (picture features of vision.backbone, two per second) and "wave" [1, L] (mono,
    32 kHz) and gives one number. Raises ModelError if there is no such model.
    """
    if ":" in model and not Path(model).exists():
        module, _, name = model.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ModelError(f"the model {model} cannot be imported ({error}); check module and function.") from error
    if not Path(model).is_file():
        raise ModelError(f"there is no model {model}; give an ONNX file or `module:function`.")
    try:
        graph = open_graph(model, threads=1)
    except Exception as error:  # ONNX Runtime has no narrower base class for damaged files
        raise ModelError(f"{model} cannot be read as an ONNX graph ({error}); export it again.") from error
    names = {item.name for item in graph.get_inputs()}
    if names != {"features", "wave"}:
        raise ModelError(f'{model} has the inputs {sorted(names)}; a model of fit takes "features" and "wave".')

    def similarity(features: np.ndarray, times: np.ndarray, wave: np.ndarray, sample_rate: int) -> float:
        return float(run(graph, {"features": features[None], "wave": wave[None]})[0].reshape(-1)[0])

    return similarity
