"""The embedded network runs, is deterministic, small, and names what it sees."""

import numpy as np
import pytest

from openvmas.errors import ModelError
from openvmas.vision.backbone import WEIGHTS, Backbone, picture_size, read_class_names
from tests.vision.synthetic import make_picture


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return Backbone()


def pictures(n: int) -> np.ndarray:
    return np.stack([make_picture(k, 192, 256) for k in range(n)]).astype(np.uint8)


def test_shapes_and_batches(backbone):
    seen = backbone.extract(pictures(5), batch=2)
    assert seen.features.shape == (5, 1280) and seen.probabilities.shape == (5, 1000)
    np.testing.assert_allclose(seen.probabilities.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(seen.features, backbone.extract(pictures(5), batch=5).features, atol=1e-4)


def test_small_changes_of_the_picture_change_features_little(backbone):
    first, other = pictures(2)
    noisy = np.clip(first + np.random.default_rng(0).normal(0, 2, first.shape), 0, 255).astype(np.uint8)
    features = backbone.extract(np.stack([first, noisy, other])).features
    features = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert features[0] @ features[1] > 0.9 > features[0] @ features[2]


def test_example_is_recognised(backbone):
    from pathlib import Path

    import av

    with av.open(str(Path(__file__).parents[2] / "examples" / "landscape.mp4")) as container:
        frame = next(container.decode(video=0)).reformat(256, 192, format="rgb24").to_ndarray()
    probabilities = backbone.extract(frame[None]).probabilities[0]
    names = [read_class_names()[k] for k in np.argsort(-probabilities)[:3]]
    assert {"alp", "valley"} & set(names)


def test_weights_are_small_and_classes_complete():
    assert WEIGHTS.stat().st_size < 5.2e6
    names = read_class_names()
    assert len(names) == 1000 and names[970] == "alp" and names[817] == "sports car"


def test_picture_size_follows_orientation():
    assert picture_size(1920, 1080) == (256, 192)
    assert picture_size(1080, 1920) == (192, 256)
    assert picture_size(600, 600) == (224, 224)


def test_damaged_weights_are_named(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"broken.onnx .*reinstall"):
        Backbone(weights=path)


def test_wrong_pictures_are_refused(backbone):
    with pytest.raises(ValueError, match="uint8"):
        backbone.extract(np.zeros((1, 192, 256, 3), np.float32))
