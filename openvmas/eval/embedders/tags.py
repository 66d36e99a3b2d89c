"""Which classes of the embedders name a style and which a mood, and how a piece spreads over them.

YAMNet's are the genres and moods of the AudioSet ontology (Gemmeke et al. 2017), musicnn's are last.fm tags of the
Million Song Dataset (Bertin-Mahieux et al. 2011). musicnn has no tag for classical,
film or game music; YAMNet has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from openvmas.eval.metrics.distances import posteriors

STYLES = frozenset({
    # YAMNet
    "Pop music", "Hip hop music", "Rock music", "Heavy metal", "Punk rock", "Grunge", "Progressive rock",
    "Rock and roll", "Psychedelic rock", "Rhythm and blues", "Soul music", "Reggae", "Country", "Swing music",
    "Bluegrass", "Funk", "Folk music", "Middle Eastern music", "Jazz", "Disco", "Classical music", "Opera",
    "Electronic music", "House music", "Techno", "Dubstep", "Drum and bass", "Electronica", "Electronic dance music",
    "Ambient music", "Trance music", "Music of Latin America", "Salsa music", "Flamenco", "Blues",
    "Music for children", "New-age music", "Music of Africa", "Afrobeat", "Christian music", "Gospel music",
    "Music of Asia", "Carnatic music", "Music of Bollywood", "Ska", "Traditional music", "Independent music",
    "Soundtrack music", "Lullaby", "Video game music", "Christmas music", "Dance music",
    # musicnn
    "rock", "pop", "alternative", "indie", "electronic", "dance", "alternative rock", "jazz", "metal", "classic rock",
    "soul", "indie rock", "electronica", "folk", "punk", "blues", "hard rock", "ambient", "experimental", "Hip-Hop",
    "country", "funk", "electro", "heavy metal", "rnb", "indie pop", "House",
})  # fmt: skip
MOODS = frozenset({
    "Happy music", "Sad music", "Tender music", "Exciting music", "Angry music", "Scary music",
    "beautiful", "chillout", "Mellow", "chill", "party", "easy listening", "sexy", "catchy", "sad", "happy",
})  # fmt: skip


def tag_shares(logits: np.ndarray, classes: Sequence[str], group: frozenset[str] = STYLES) -> np.ndarray | None:
    """How a piece spreads over the classes of a group: mean over its patches, [n_tags], 0 or more, sums to 1.

    logits: [P, n_classes] of one piece, P at least 1; classes: their names, as an `Embedder` has them. The softmax is
    over the group alone, so "music" and "speech" do not count. None where fewer than two classes are of the group.
    Raises ValueError for logits of another shape.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != len(classes) or len(logits) == 0:
        raise ValueError(f"logits are [P, {len(classes)}] with at least one row, not {logits.shape}")
    of_group = [i for i, name in enumerate(classes) if name in group]
    return posteriors(logits[:, of_group]).mean(axis=0) if len(of_group) > 1 else None
