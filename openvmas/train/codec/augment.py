"""Augmentation of codec training: other speeds and equalisers, mixes of two tracks, gaps, and synthetic notes.

The functions work on single crops on a CPU (`codec_trainer.draw_batch`). `DeviceCrops` draws and changes whole batches
the same way on the GPU where the waves lie: one H100 takes 2,000 crops a second; its sixteen CPU cores made 300.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from openvmas.train.codec.corpus import SAMPLE_RATE, Crops

MARGIN = 2048  # samples on each side that take up what a circular transform does to the ends
EQ_POINTS = np.array([0.0, 100.0, 300.0, 1000.0, 3000.0, 8000.0, 1e5])  # Hz
GRAIN = 2048
TAPS = 32  # of the filter that reads between samples
N_TONES = 512  # made once
REFRESH_EVERY = 500  # batches


def read_changed(
    crop: Callable[[np.random.Generator, int], np.ndarray],
    generator: np.random.Generator,
    length: int,
    sample_rate: int,
    semitones: float = 2.0,
    eq_db: float = 6.0,
) -> np.ndarray:
    """A crop [length] of another speed (and so pitch), by at most `semitones`, through a random smooth equaliser.

    One Fourier transform in, one out: the spectrum is cut or padded to the new length and weighted.
    """
    n_out = -(-(length + 2 * MARGIN) // GRAIN) * GRAIN
    n_in = round(n_out * 2 ** (generator.uniform(-semitones, semitones) / 12) / GRAIN) * GRAIN
    spectrum = np.fft.rfft(crop(generator, n_in))
    gains_db = generator.normal(0, eq_db / 2, len(EQ_POINTS)).clip(-eq_db, eq_db)
    frequencies = np.arange(n_out // 2 + 1) * (sample_rate / n_out)
    curve = np.interp(np.log1p(frequencies), np.log1p(EQ_POINTS), gains_db)
    kept = np.zeros(n_out // 2 + 1, complex)
    n = min(len(kept), len(spectrum))
    kept[:n] = spectrum[:n] * (n_out / n_in)
    wave = np.fft.irfft(kept * 10 ** (curve / 20), n_out)
    return wave[MARGIN : MARGIN + length].astype(np.float32)


def augment(wave: np.ndarray, other: np.ndarray | None, generator: np.random.Generator) -> np.ndarray:
    """Gain and polarity, and a second track mixed in where one is given. All [L]."""
    if other is not None:
        wave = 0.7 * (wave + other * generator.uniform(0.3, 1))
    peak = float(np.abs(wave).max()) + 1e-4
    gain = min(10 ** generator.uniform(-0.5, 0.2), 0.99 / peak)
    return wave * gain * generator.choice([-1, 1])


def gap(wave: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
    """The wave [L] with digital silence from or up to some place, now and then all of it: codecs like to hum there."""
    fade = int(0.005 * sample_rate)
    place = int(generator.integers(-len(wave) // 5, len(wave)))
    shape = np.clip((np.arange(len(wave)) - place) / fade, 0, 1)
    return wave * (shape if generator.random() < 0.5 or place < 0 else 1 - shape) * (place > -len(wave) // 10)


def make_tones(generator: np.random.Generator, length: int, sample_rate: int) -> np.ndarray:
    """Notes of one to four voices by additive synthesis, from pure to square-like, some clipped: [length] in [-1, 1].

    Recorded music has few bare notes; without these a sine came back 29 dB too soft.
    """
    time = np.arange(length) / sample_rate
    total = np.zeros(length)
    for _ in range(int(generator.integers(1, 5))):
        harmonics = np.arange(1, int(generator.choice([1, 2, 6, 16])) + 1)
        if generator.random() < 0.3:
            harmonics = 2 * harmonics - 1
        weights = harmonics ** -generator.uniform(0.5, 2.5)
        start = 0
        while start < length:
            end = min(length, start + int(generator.uniform(0.15, 1.5) * sample_rate))
            since = time[start:end] - time[start]
            pitch = 440 * 2 ** (generator.integers(-36, 25) / 12 + generator.uniform(-0.5, 0.5) / 12)
            used = harmonics * pitch < sample_rate / 2.2
            phases = 2 * np.pi * pitch * since[:, None] * harmonics[used] + generator.uniform(0, 2 * np.pi, used.sum())
            envelope = np.minimum(1, since / generator.uniform(0.002, 0.05)) * np.exp(
                -since * generator.choice([0, 1, 5])
            )
            total[start:end] += np.sin(phases) @ weights[used] * envelope
            start = end
    level = 10 ** generator.uniform(-1.5, 0)
    if generator.random() < 0.15:
        return np.clip(3 * total / (np.abs(total).max() + 1e-9), -1, 1) * level
    return total * (level / (np.abs(total).max() + 1e-9))


class DeviceCrops:
    """All training tracks of `crops` on a device, as int16: 115 MB an hour.

    Shares are those of `CodecRecipe`; here they are exact in every batch.
    """

    def __init__(
        self, crops: Crops, length: int, device: str, change_share: float, mix_share: float, tone_share: float,
        gap_share: float,
    ) -> None:  # fmt: skip
        self.length, self.device = length, device
        self.change_share, self.mix_share, self.gap_share, self.tone_share = (
            change_share, mix_share, gap_share, tone_share,
        )  # fmt: skip
        self.crops, self.n_read = crops, 0
        self.refresh()
        self.tones = self._make_tones() if tone_share else torch.zeros(0, length, device=device)
        frequencies = np.log1p(np.fft.rfftfreq(length + 2 * MARGIN, 1 / SAMPLE_RATE))
        hats = [np.interp(frequencies, np.log1p(EQ_POINTS), row) for row in np.eye(len(EQ_POINTS))]
        self.eq = torch.tensor(np.stack(hats), dtype=torch.float32, device=device)

    def refresh(self) -> None:
        """Read the waves again if tracks were added meanwhile."""
        self.crops.refresh()
        ends = np.cumsum([track.length for track in self.crops.tracks])
        if int(ends[-1]) == self.n_read:
            return
        self.n_read = int(ends[-1])
        self.waves = torch.empty(self.n_read, dtype=torch.int16, device=self.device)
        for track, end in zip(self.crops.tracks, ends, strict=True):
            samples = self.crops.waves[track.start : track.start + track.length]
            self.waves[end - track.length : end] = torch.from_numpy(np.array(samples)).to(self.device)
        self.ends = torch.from_numpy(ends).to(self.device)

    def _make_tones(self) -> Tensor:
        with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) - 1)) as pool:
            waves = list(pool.map(partial(_make_tones, self.length), range(N_TONES), chunksize=16))
        return torch.from_numpy(np.stack(waves)).to(self.device)

    def batches(self, n: int) -> Iterator[Tensor]:
        """Batches without end; every REFRESH_EVERY new tracks are searched for."""
        for i in itertools.count(1):
            yield self.draw(n)
            if i % REFRESH_EVERY == 0:
                self.refresh()

    def draw(self, n: int) -> Tensor:
        """[n, length] float32 in [-1, 1]; depends on the seed of PyTorch's generators only."""
        waves = self.read(n, self.length)
        self._change(waves, round(n * self.change_share))
        tones = self._choose(n, self.tone_share)
        if len(tones):
            waves[tones] = self.tones[torch.randint(len(self.tones), (len(tones),), device=self.device)]
        mixed = self._choose(n, self.mix_share)
        if len(mixed):
            others = self.read(len(mixed), self.length) * self._uniform((len(mixed), 1), 0.3, 1)
            waves[mixed] = 0.7 * (waves[mixed] + others)
        peak = waves.abs().amax(1, keepdim=True) + 1e-4
        gain = torch.minimum(10 ** self._uniform((n, 1), -0.5, 0.2), 0.99 / peak)
        waves = waves * gain * (torch.randint(2, (n, 1), device=self.device) * 2 - 1)
        return self._gap(waves, self._choose(n, self.gap_share))

    def read(self, n: int, length: int, speed: Tensor | None = None) -> Tensor:
        """Crops [n, length] from tracks in proportion to their lengths; speed [n]: samples read for one made."""
        where = torch.randint(int(self.waves.shape[0]), (n,), device=self.device)
        track = torch.searchsorted(self.ends, where, right=True)
        end = self.ends[track]
        begin = torch.where(track > 0, self.ends[(track - 1).clamp_min(0)], 0)
        reach = length if speed is None else math.ceil(length * 2 ** (2 / 12)) + TAPS
        start = begin + (torch.rand(n, device=self.device) * (end - begin - reach).clamp_min(1)).long()
        steps = torch.arange(length, device=self.device)
        if speed is None:
            return self._take(start[:, None] + steps, end[:, None])
        place = steps * speed[:, None]  # float32 is exact to a hundredth of a sample here
        whole = place.floor()
        taps = torch.arange(TAPS, device=self.device) - TAPS // 2 + 1
        distance = taps - (place - whole)[..., None]
        cut = (0.95 / speed).clamp_max(0.95)[:, None, None]
        window = torch.cos(distance * (math.pi / TAPS)).clamp_min(0).square()
        samples = self._take(start[:, None, None] + TAPS // 2 + whole.long()[..., None] + taps, end[:, None, None])
        return (samples * window * cut * torch.sinc(cut * distance)).sum(-1)

    def _take(self, index: Tensor, end: Tensor) -> Tensor:
        is_inside = index < end
        samples = self.waves[torch.where(is_inside, index, 0)].float() * (1 / 32768)
        return samples * is_inside

    def _change(self, waves: Tensor, n: int) -> None:
        """The first n become crops of another speed, by at most two semitones, through a random smooth equaliser."""
        if not n:
            return
        speed = 2 ** (self._uniform((n,), -2, 2) / 12)
        spectrum = torch.fft.rfft(self.read(n, self.length + 2 * MARGIN, speed))
        gains = (3 * torch.randn(n, len(EQ_POINTS), device=self.device)).clamp(-6, 6)
        spectrum = spectrum * 10 ** (gains @ self.eq / 20)
        waves[:n] = torch.fft.irfft(spectrum, n=self.length + 2 * MARGIN)[:, MARGIN : MARGIN + self.length]

    def _gap(self, waves: Tensor, rows: Tensor) -> Tensor:
        """Digital silence from or up to some place in these rows, now and then everywhere."""
        if not len(rows):
            return waves
        n, fade = len(rows), int(0.005 * SAMPLE_RATE)
        place = self._uniform((n, 1), -self.length / 5, self.length)
        shape = ((torch.arange(self.length, device=self.device) - place) / fade).clamp(0, 1)
        is_after = (torch.rand(n, 1, device=self.device) < 0.5) | (place < 0)
        shape = torch.where(is_after, shape, 1 - shape) * (place > -self.length / 10)
        waves[rows] = waves[rows] * shape
        return waves

    def _choose(self, n: int, share: float) -> Tensor:
        return torch.randperm(n, device=self.device)[: round(n * share)]

    def _uniform(self, shape: tuple[int, ...], low: float, high: float) -> Tensor:
        return torch.rand(shape, device=self.device) * (high - low) + low


def _make_tones(length: int, seed: int) -> np.ndarray:
    return make_tones(np.random.default_rng(seed), length, SAMPLE_RATE).astype(np.float32)
