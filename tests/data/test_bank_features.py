"""A bank seen by another backbone: the same views, in their order."""

import av
import numpy as np
import pytest
from picture_bank import SEEN, build, resized, with_features

from openvmas.errors import InputError
from openvmas.vision.analysis import measure_looks


def test_every_view_gets_its_own_features(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        coarse = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.kron(coarse, np.ones((90, 107, 1), np.uint8)), format="rgb24")
        frame.save(tmp_path / f"{name}.png")
    bank = build(tmp_path, ["a.png", "b.png"])
    shapes = []

    def see(pictures: np.ndarray) -> np.ndarray:
        shapes.append(pictures.shape)
        return np.stack([measure_looks(resized(picture, SEEN)) for picture in pictures])

    found = with_features(bank, tmp_path, see)
    n = len(bank.views) // 2
    assert shapes == [(n, 180, 320, 3)] * 2
    assert found.features.shape == (2 * n, 4) and found.features.dtype == np.float16
    assert np.array_equal(found.views, bank.views) and np.array_equal(found.classes, bank.classes)
    # The bank measured the looks of every view when it was made: the same views, in the same order.
    np.testing.assert_allclose(found.features, bank.looks, atol=1e-3)
    assert bank.looks.std(0).min() > 0.01
    with pytest.raises(InputError, match="is not there; give the folder"):
        with_features(bank, tmp_path / "other", see)
