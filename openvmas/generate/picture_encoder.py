"""The exported video encoder: vectors of a picture for the decoder at every codec step, and embeddings of spans."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openvmas.condition import Picture
from openvmas.errors import ModelError
from openvmas.pretrained import Weights, open_graph, run
from openvmas.settings import CONTROL_RATE


@dataclass(frozen=True)
class PictureEncoding:
    """Vectors of one span of a picture.

    steps: [n, D] at every codec step; embedding: [E] of length 1; moments: [m, E'].
    """

    steps: np.ndarray
    embedding: np.ndarray
    moments: np.ndarray


class PictureEncoder:
    """Reads spans about as long as a clip in training (`span` steps): it never saw longer ones."""

    def __init__(self, weights: Weights, threads: int = 1) -> None:
        sizes = weights.sizes["video"]
        self.span, self._fps, self._width = int(sizes["span"]), float(sizes["fps"]), int(sizes["feature_width"])
        self.n_axes = int(sizes.get("n_axes", 0))  # that it reads beside the features
        self._graph = open_graph(weights.file("video_encoder"), threads)

    def encode(self, picture: Picture, start: int, n_steps: int) -> PictureEncoding:
        """Vectors of the picture from step `start` on. Raises ModelError for features that the model does not know.

        Axes that a picture lacks count as neutral: they have a part in the embedding alone.
        """
        if picture.features.ndim != 2 or picture.features.shape[1] != self._width or not len(picture.features):
            raise ModelError(
                f"this model reads features of {self._width} numbers a frame but was given {picture.features.shape}; "
                "analyse the video with this version of openvmas."
            )
        rate = float(CONTROL_RATE)
        times = start / rate + np.arange(max(int(np.ceil(n_steps / rate * self._fps - 1e-9)), 1)) / self._fps
        after = np.clip(np.searchsorted(picture.times, times), 1, max(len(picture.times) - 1, 1))
        after = np.minimum(after, len(picture.times) - 1)
        before = np.maximum(after - 1, 0)
        is_nearer = np.abs(picture.times[before] - times) <= np.abs(picture.times[after] - times)
        rows = np.where(is_nearer, before, after)
        given = {"features": picture.features[rows].astype(np.float32)[None]}
        given["curves"] = picture.curves[start : start + n_steps][None]
        if self.n_axes:
            axes = np.zeros((len(picture.times), self.n_axes)) if picture.axes is None else picture.axes
            given["axes"] = axes[rows].astype(np.float32)[None]
        steps, embedding, moments = run(self._graph, given)
        return PictureEncoding(steps[0], embedding[0], moments[0])

    def steps(self, picture: Picture, n_steps: int, begin: int = 0) -> Iterator[np.ndarray]:
        """Vectors of all steps from `begin` on, in chunks [n, D]; each fades from one span into the next."""
        half = self.span // 2
        first = max(0, begin // half - 1) * half
        skip, before = begin - first, None
        for start in range(first, max(n_steps - half, first + 1), half):
            steps = self.encode(picture, start, min(2 * half, n_steps - start)).steps
            chunk = steps[:half]
            if before is not None:
                share = ((np.arange(len(chunk)) + 0.5) / half).astype(np.float32)[:, None]
                chunk = (1 - share) * before + share * chunk
            yield chunk[skip:]
            skip, before = max(0, skip - len(chunk)), steps[half:]
        if before is not None:
            yield before[skip:]
