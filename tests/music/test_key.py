"""Keys of written scales."""

import numpy as np
import pytest

from openvmas.music.key import find_key


@pytest.mark.parametrize("tonic", [0, 3, 9])
@pytest.mark.parametrize(("degrees", "name"), [((0, 2, 4, 5, 7, 9, 11), "major"), ((0, 2, 3, 5, 7, 8, 10), "minor")])
def test_scales_with_a_strong_triad_have_their_key(tonic, degrees, name):
    chroma = np.zeros(12)
    for degree in degrees:
        chroma[(tonic + degree) % 12] = 2.0 if degree in (0, 3, 4, 7) else 1.0
    found = find_key(np.tile(chroma, (5, 1)))
    assert (found.tonic, str(found).split()[1]) == (tonic, name)


def test_silence_has_no_clear_key():
    assert find_key(np.zeros((0, 12))).clarity == 0
