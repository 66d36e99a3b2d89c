"""Batches for the codec drawn and changed on the GPU where the waves lie, as `draw_batch` of
train.codec.codec_trainer does on CPUs.

One H100 takes 2,000 crops a second; its sixteen cores made 300.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import torch
from torch import Tensor

from openvmas.train.codec.augment import EQ_POINTS, MARGIN, make_tones
from openvmas.train.codec.corpus import SAMPLE_RATE, Crops

TAPS = 32  # of the filter that reads between samples
N_TONES = 512  # made once
REFRESH_EVERY = 500  # batches


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
        """Batches without end; now and then a look for new tracks."""
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
