"""Features and ImageNet classes of single pictures, by a small pretrained network.

The network is EfficientNet-Lite0 (Tan and Le 2019, arXiv:1905.11946; Google's Lite weights, Apache-2.0), converted by
`tools/export_backbone.py`. It is fully convolutional, so pictures keep their orientation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openvmas.errors import ModelError
from openvmas.pretrained import open_graph

WEIGHTS = Path(__file__).parent / "weights" / "efficientnet_lite0.onnx"
CLASS_NAMES = Path(__file__).parent / "weights" / "imagenet_classes.json"
N_FEATURES = 1280
N_CLASSES = 1000


def picture_size(width: int, height: int) -> tuple[int, int]:
    """The (width, height) to show the network: about 50,000 pixels, never stretched by more than the training was.

    width, height: of the video as displayed.
    """
    if width > 1.2 * height:
        return 256, 192
    if height > 1.2 * width:
        return 192, 256
    return 224, 224


@dataclass(frozen=True)
class FrameFeatures:
    """features: [F, 1280] float32; probabilities: [F, 1000] float32 over the ImageNet classes."""

    features: np.ndarray
    probabilities: np.ndarray


class Backbone:
    """The loaded network.

    n_threads: of ONNX Runtime. Raises ModelError if the weights cannot be read.
    """

    def __init__(self, n_threads: int = 1, weights: Path = WEIGHTS) -> None:
        try:
            self._session = open_graph(weights, n_threads)
        except Exception as error:  # ONNX Runtime has no narrower base class for damaged files
            raise ModelError(
                f"The picture network {weights.name} cannot be read ({error}); reinstall openvmas."
            ) from error

    def extract(self, pictures: np.ndarray, batch: int = 4) -> FrameFeatures:
        """Features and class probabilities of pictures [F, h, w, 3] uint8 RGB, h and w multiples of 32."""
        if pictures.ndim != 4 or pictures.shape[3] != 3 or pictures.dtype != np.uint8:
            raise ValueError(f"pictures must be [F, h, w, 3] uint8, not {pictures.shape} {pictures.dtype}")
        features = np.zeros((len(pictures), N_FEATURES), np.float32)
        probabilities = np.zeros((len(pictures), N_CLASSES), np.float32)
        for start in range(0, len(pictures), batch):
            part = slice(start, start + batch)
            outputs = self._session.run(["features", "probabilities"], {"pictures": pictures[part]})
            features[part], probabilities[part] = np.asarray(outputs[0]), np.asarray(outputs[1])
        return FrameFeatures(features, probabilities)


def read_class_names() -> tuple[str, ...]:
    """The 1000 ImageNet classes, in the order of the network's outputs."""
    return tuple(json.loads(CLASS_NAMES.read_text(encoding="utf-8")))
