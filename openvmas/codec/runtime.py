"""The codec alone, on ONNX Runtime: wave → codes → wave, in constant memory whatever the length.

The same numbers as `codec.autoencoder.Codec`, which trains: STFT, residual quantisation and inverse STFT in NumPy, the
two networks as exported graphs. Both directions are streams; working at once is pushing everything.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator

import numpy as np
import onnxruntime

from openvmas.codec.stream import CodecFrames, CodecStream, read_codebooks, sqrt_hann
from openvmas.errors import ModelError
from openvmas.pretrained import Weights, hash_file, open_graph, run

CHUNK = 250  # codec steps that go through a network at once, beside their history and look-ahead
LEAST_MAGNITUDE, COMPRESSION = 1e-5, 0.6  # as Codec.spectrum
ROLES = ("codec", "codec_encoder", "codebooks")


def compress_spectrum(pieces: np.ndarray) -> np.ndarray:
    """Windowed pieces [T, window_length] → [T, window_length + 2] float32, what the encoder is given (Codec.spectrum).

    In float64, because compression lifts the rounding errors of weak bins.
    """
    spectrum = np.fft.rfft(pieces.astype(np.float64)) / 16
    spectrum *= np.maximum(np.abs(spectrum), LEAST_MAGNITUDE) ** -COMPRESSION
    return spectrum.view(np.float64).astype(np.float32)


class CodecRunner:
    """Encodes and decodes with one model. sizes: of its manifest.

    sample_rate: of every wave here, Hz; hop_length: samples per codec step; n_codebooks: all of the codec's, fewer may
    be used everywhere. Raises ModelError if the model has no encoder (models exported before 0.2 only write music).
    """

    def __init__(self, weights: Weights, threads: int | None = None) -> None:
        lacking = [role for role in ROLES if role not in weights.files]
        if lacking:
            raise ModelError(
                f"model {weights.name} {weights.version} cannot encode or decode sound: it has no {lacking[0]} file; "
                "use another model or export it again with this version of openvmas."
            )
        self.weights = weights
        self.sizes = weights.sizes
        names = ("sample_rate", "hop_length", "codec_codebooks", "codebook_size")
        self.sample_rate, self.hop_length, self.n_codebooks, self.codebook_size = (int(self.sizes[n]) for n in names)
        self.threads = threads or min(2, os.cpu_count() or 1)

    @functools.cached_property
    def codebooks_sha256(self) -> str:
        """Names the language of the codes: two models with the same codebooks read each other's codes."""
        return hash_file(self.weights.file("codebooks"))

    @functools.cached_property
    def codebooks(self) -> np.ndarray:
        """[K, V, D] float32; who only encodes does not open the decoder for them."""
        return read_codebooks(self.weights)

    @functools.cached_property
    def _bias(self) -> np.ndarray:
        return 0.5 * np.square(self.codebooks).sum(axis=2)

    @functools.cached_property
    def _encoder(self) -> onnxruntime.InferenceSession:
        return open_graph(self.weights.file("codec_encoder"), self.threads)

    @functools.cached_property
    def _decoder(self) -> CodecFrames:
        return CodecFrames(self.weights, self.threads)

    def encode_frames(self, frames: np.ndarray) -> np.ndarray:
        """Latents [T, D] of compressed spectrum frames [T, window_length + 2]; edges as in `CodecFrames`."""
        (latents,) = run(self._encoder, {"frames": frames[None]})
        return latents[0]

    def quantize(self, latents: np.ndarray, n_codebooks: int | None = None) -> np.ndarray:
        """Codes [K, T] int64 of latents [T, D]: each level takes the entry nearest to what is left over."""
        left = np.array(latents, dtype=np.float32)
        codes = np.empty((n_codebooks or self.n_codebooks, len(left)), np.int64)
        for level, row in enumerate(codes):
            book = self.codebooks[level]
            row[:] = (left @ book.T - self._bias[level]).argmax(axis=1)
            left -= book[row]
        return codes

    def decode_frames(self, codes: np.ndarray) -> np.ndarray:
        """Codec frames [T, window_length + 2] of codes [K, T]: see `CodecFrames.decode_frames`."""
        return self._decoder.decode_frames(codes)

    def encode(self, wave: np.ndarray, n_codebooks: int | None = None) -> np.ndarray:
        """Codes [K, T] of a wave [L] float32 in [-1, 1] at `sample_rate`; T hops cover it, T = ceil(L / hop_length)."""
        return np.concatenate(list(self.encode_blocks([wave], n_codebooks)), axis=1)

    def encode_blocks(self, blocks: Iterable[np.ndarray], n_codebooks: int | None = None) -> Iterator[np.ndarray]:
        """Codes [K, n] of a wave in blocks [n] of any length, as they become final."""
        stream = EncodeStream(self, n_codebooks)
        piece = CHUNK * self.hop_length
        for block in blocks:
            for start in range(0, len(block), piece):
                yield stream.push(block[start : start + piece])
        yield stream.push(np.zeros(0, np.float32), is_last=True)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Wave [T * hop_length] float32 of codes [K, T]."""
        return np.concatenate(list(self.decode_blocks(codes)))

    def decode_blocks(self, codes: np.ndarray, chunk: int = CHUNK) -> Iterator[np.ndarray]:
        """Wave of codes [K, T] in blocks [n], `chunk` codec steps at a time."""
        stream = CodecStream(self._decoder, len(codes))
        for start in range(0, codes.shape[1], chunk):
            yield stream.push(codes[:, start : start + chunk])
        yield stream.push(codes[:, :0], is_last=True)


class EncodeStream:
    """Wave in, as it comes; codes out, the same as if all had been encoded at once.

    A latent needs `encoder_history` frames before its own and `encoder_look_ahead` after it. Frames go through the
    network in chunks of a fixed length, so that the codes do not depend on how the wave was cut.
    """

    def __init__(self, runner: CodecRunner, n_codebooks: int | None = None) -> None:
        sizes = runner.sizes
        self._runner, self._n_codebooks = runner, n_codebooks or runner.n_codebooks
        self._hop, self._length = sizes["hop_length"], sizes["window_length"]
        self._history, self._look_ahead = sizes["encoder_history"], sizes["encoder_look_ahead"]
        self._margin = (self._length - self._hop) // 2
        self._window = sqrt_hann(self._length)
        self._wave = np.zeros(self._margin, np.float32)  # the first frame reaches back before the beginning
        self._frames = np.zeros((0, self._length + 2), np.float32)
        self._context = 0  # how many of those frames are encoded already and kept as history
        self._n_samples = 0

    def push(self, wave: np.ndarray, is_last: bool = False) -> np.ndarray:
        """Take samples [n] (n may be 0) at the codec's rate; return the codes that are final by now: [K, m] int64."""
        self._n_samples += len(wave)
        parts = [self._wave, wave]
        if is_last:
            parts.append(np.zeros(-self._n_samples % self._hop + self._margin, np.float32))
        self._wave = np.concatenate(parts)
        self._take_frames()
        found = [np.zeros((self._n_codebooks, 0), np.int64)]
        while len(self._frames) - self._context >= CHUNK + self._look_ahead:
            found.append(self._encode(self._context + CHUNK))
        if is_last and len(self._frames) > self._context:
            found.append(self._encode(len(self._frames)))
        return np.concatenate(found, axis=1)

    def _take_frames(self) -> None:
        n_frames = (len(self._wave) - self._length) // self._hop + 1
        if n_frames <= 0:
            return
        pieces = np.lib.stride_tricks.sliding_window_view(self._wave, self._length)[:: self._hop]
        fresh = compress_spectrum(pieces * self._window)
        self._frames = np.concatenate([self._frames, fresh])
        self._wave = self._wave[n_frames * self._hop :]

    def _encode(self, end: int) -> np.ndarray:
        """Codes of the frames from the context to `end`, which become context."""
        latents = self._runner.encode_frames(self._frames[: end + self._look_ahead])[self._context : end]
        keep = max(0, end - self._history)
        self._frames = self._frames[keep:]
        self._context = end - keep
        return self._runner.quantize(latents, self._n_codebooks)
