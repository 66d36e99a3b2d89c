"""The fit of music and picture, by what the joint training learned: `openvmas.similarity(video, music)`.

Picture and music are cut into spans as long as a clip in training. Meaning is the cosine between what the two stand
for, timing the cosine between what they are moment by moment (the two contrastive objectives of `model.alignment`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import Picture
from openvmas.errors import InputError, ModelError
from openvmas.generate.pattern import delay
from openvmas.generate.picture_encoder import PictureEncoder
from openvmas.media.audio import Audio, read_audio_blocks, resample
from openvmas.planning.conditioning import picture_of
from openvmas.pretrained import Weights, find_alignment, find_weights, open_graph, run
from openvmas.vision.analysis import VideoAnalysis, analyze
from openvmas.vision.stated_axes import state_axes


@dataclass(frozen=True)
class Similarity:
    """All in [-1, 1], about 0 for music of another video.

    meaning: what both stand for; timing: when things happen; combined: both, weighted by the inverse temperatures of
    training, which are larger for what distinguished pairs better.
    """

    meaning: float
    timing: float
    combined: float


@dataclass(frozen=True)
class Vectors:
    """Embeddings of a picture or a piece, span by span: enough to compare it with any number of others.

    places: [N] start and end of each span, codec steps; embeddings: [N] of [E], length 1; moments: [N] of [m, E'].
    """

    places: Sequence[tuple[int, int]]
    embeddings: Sequence[np.ndarray]
    moments: Sequence[np.ndarray]


class Aligner:
    """The learned comparison, opened once for many. weights: of the alignment. runner: of the codec it reads."""

    def __init__(self, weights: Weights, runner: CodecRunner, threads: int = 1) -> None:
        self._sizes, self._runner = weights.sizes["alignment"], runner
        if runner.codebooks_sha256 != self._sizes["codebooks_sha256"]:
            raise ModelError(
                f"the alignment {weights.name} {weights.version} reads codes of another codec than model "
                f"{runner.weights.name} {runner.weights.version} has; export it for this model with --codes-of."
            )
        self._video = PictureEncoder(weights, threads)
        self._music = open_graph(weights.file("music_embedding"), threads)

    def encode(self, music: str | Path | Audio) -> np.ndarray:
        """Codes [K, T] of a sound or video file, or of a wave. Raises InputError."""
        rate, n = self._runner.sample_rate, self._sizes["n_codebooks"]
        if isinstance(music, Audio):
            return self._runner.encode(resample(music, rate).wave.mean(axis=0, dtype=np.float32), n)
        blocks = (block[0] for block in read_audio_blocks(music, rate, 1))
        return np.concatenate([np.zeros((n, 0), np.int64), *self._runner.encode_blocks(blocks, n)], axis=1)

    def picture(self, analysis: VideoAnalysis, n_steps: int) -> Picture:
        """Input of the alignment for the first n_steps of a video."""
        found = picture_of(analysis, n_steps)
        return replace(found, axes=state_axes(analysis)) if self._video.n_axes else found

    def embed_picture(self, picture: Picture | VideoAnalysis, n_steps: int) -> Vectors:
        """Vectors of the first n_steps of a picture. Raises InputError for one that lacks the axes that are read."""
        if isinstance(picture, VideoAnalysis):
            picture = self.picture(picture, n_steps)
        if self._video.n_axes and (picture.axes is None or picture.axes.shape[1] != self._video.n_axes):
            raise InputError(
                f"this alignment reads {self._video.n_axes} stated axes of a picture beside its features, and there "
                f"are {0 if picture.axes is None else picture.axes.shape[1]}; give the video, or its analysis."
            )
        places = list(spans(n_steps, self._video.span))
        found = [self._video.encode(picture, start, end - start) for start, end in places]
        return Vectors(places, [part.embedding for part in found], [part.moments for part in found])

    def embed_music(self, codes: np.ndarray, hop: int | None = None) -> Vectors:
        """Vectors of codes [K, T]. hop: steps from one span to the next, the length of a span if left out."""
        codes = codes[: self._sizes["n_codebooks"]].astype(np.int64)
        places = list(spans(codes.shape[1], self._video.span, hop))
        embeddings, moments = [], []
        for start, end in places:
            # As in training, a clip is as long as its tokens: the last codebooks lack their last codes.
            tokens = delay(codes[:, start:end], self._sizes["codebook_size"])[:, : end - start]
            embedding, timed = (output[0] for output in run(self._music, {"tokens": tokens[None]}))
            embeddings.append(embedding)
            moments.append(timed)
        return Vectors(places, embeddings, moments)

    def compare_vectors(self, picture: Vectors, music: Vectors) -> Similarity:
        """A picture with a piece over the spans that begin at the same steps. Raises InputError where none do."""
        at = {start: i for i, (start, _) in enumerate(music.places)}
        both = [(i, at[start]) for i, (start, _) in enumerate(picture.places) if start in at]
        if not both:
            raise InputError("picture and music have no second in common; give music that is at least 1 s long.")
        meaning = [float(picture.embeddings[i] @ music.embeddings[j]) for i, j in both]
        timing = [cosine(picture.moments[i], music.moments[j]) for i, j in both]
        lengths = [min(b - a for a, b in (picture.places[i], music.places[j])) for i, j in both]
        total, times = (float(np.average(values, weights=lengths)) for values in (meaning, timing))
        scales = self._sizes["temperature"], self._sizes["timed_temperature"]
        return Similarity(total, times, (scales[0] * total + scales[1] * times) / sum(scales))

    def compare(self, picture: Picture | VideoAnalysis, codes: np.ndarray) -> Similarity:
        """A picture with the codes [K, T] of music that begins with it, over what both last. Raises InputError."""
        length = len(picture.motion if isinstance(picture, VideoAnalysis) else picture.curves)
        n_steps = min(length, codes.shape[1])
        return self.compare_vectors(self.embed_picture(picture, n_steps), self.embed_music(codes[:, :n_steps]))


def similarity(
    video: str | Path | VideoAnalysis | Picture, music: str | Path | Audio | np.ndarray, model: str | Path = "mini"
) -> Similarity:
    """The fit of music and a video from its first frame on.

    video: a file, its analysis, or what a video encoder reads of it. music: a sound or video file, a wave with its
    rate, or codes [K, T] of the model's codec. model: preset or folder with an alignment part. For many pairs open an
    `Aligner` once. Raises ModelError where the model has none, InputError for files that cannot be read.
    """
    aligner = Aligner(find_alignment(model), CodecRunner(find_weights(model)))
    if isinstance(video, str | Path):
        video = analyze(video)
    return aligner.compare(video, music if isinstance(music, np.ndarray) else aligner.encode(music))


def spans(n_steps: int, length: int, hop: int | None = None) -> Iterator[tuple[int, int]]:
    """Start and end of spans of `length` steps; the rest is one if it is half as long, or all there is and a second."""
    for start in range(0, n_steps, hop or length):
        end = min(start + length, n_steps)
        if end - start >= length / 2 or (start == 0 and end >= 50):
            yield start, end


def cosine(reference: np.ndarray, estimated: np.ndarray) -> float:
    """Cosine of moments [m, E] less what stays the same over the span (model.alignment.TimedEmbedding)."""
    m = min(len(reference), len(estimated))
    a, b = (x[:m] - x[:m].mean(axis=0) for x in (reference, estimated))
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12))
