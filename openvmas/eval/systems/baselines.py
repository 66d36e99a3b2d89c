"""Systems that compose nothing: the true music, what a codec leaves of it, and traps for measures."""

from __future__ import annotations

import numpy as np
import soxr

from openvmas.codec.runtime import CodecRunner
from openvmas.errors import InputError, OptionError
from openvmas.eval.systems.system import Setting, System, Task
from openvmas.media.audio import Audio
from openvmas.pretrained import find_weights
from openvmas.settings import SAMPLE_RATE_OUT

CLICK_PERIOD = 0.125  # s: eight a second, so that one lies near whatever happens
CLICK_LENGTH = 0.01  # s
NOISE_LEVEL = 0.1  # RMS, -20 dB below full scale


def n_samples(task: Task) -> int:
    """Samples of the picture's length at 48 kHz."""
    return round(task.excerpt.duration * SAMPLE_RATE_OUT)


class Reference(System):
    """The true music of the clip."""

    says = "the true music of each clip"
    needs_reference = True
    is_random = False

    def make(self, task: Task) -> Audio:
        audio = task.excerpt.reference
        if audio is None:
            raise InputError(f"{task.excerpt.clip.name} has no reference music.")
        return audio


class CodecCopy(Reference):
    """The true music through our codec and back: what a perfect decoder could reach."""

    says = "the true music through our codec and back: the ceiling of what the decoder writes"
    known = frozenset({"model", "codebooks"})

    def __init__(self, spec: str, options: dict[str, str], setting: Setting) -> None:
        super().__init__(spec, options, setting)
        self._weights = find_weights(options.get("model", "mini"))
        self._runner = CodecRunner(self._weights, threads=1)
        n = self._weights.sizes["n_codebooks"]  # as many as the decoder writes
        try:
            self._codebooks = int(options.get("codebooks", str(n)))
        except ValueError as error:
            raise OptionError(f"{spec}: codebooks cannot be {options['codebooks']}; give a whole number.") from error
        if not 1 <= self._codebooks <= self._runner.n_codebooks:
            raise OptionError(f"{spec}: codebooks cannot be {self._codebooks}; give 1 to {self._runner.n_codebooks}.")

    def describe(self) -> str:
        return f"{self.says} ({self._codebooks} codebooks, mono)"

    def version(self) -> str:
        return f"{super().version()} {self._weights.sha256} {self._codebooks}"

    def make(self, task: Task) -> Audio:
        audio, rate = super().make(task), self._runner.sample_rate
        mono = soxr.resample(audio.wave.mean(axis=0), audio.sample_rate, rate).astype(np.float32)
        wave = self._runner.decode(self._runner.encode(mono, self._codebooks))
        return Audio(wave[None, : len(mono)], rate)


class Click(System):
    """A click eight times a second whatever the picture does: wins what is not corrected for chance."""

    says = "a click eight times a second: a trap for measures that are not corrected for chance"

    def make(self, task: Task) -> Audio:
        rng = np.random.default_rng(task.seed)
        length = round(CLICK_LENGTH * SAMPLE_RATE_OUT)
        burst = rng.normal(size=length) * np.exp(-np.arange(length) / (length / 8)) * 0.3
        wave = np.zeros(n_samples(task), np.float32)
        period = round(CLICK_PERIOD * SAMPLE_RATE_OUT)
        for start in range(period // 2, len(wave) - length, period):
            wave[start : start + length] = burst
        return Audio(np.stack([wave, wave]), SAMPLE_RATE_OUT)


class Noise(System):
    """White noise, different in both channels."""

    says = "white noise at -20 dB"

    def make(self, task: Task) -> Audio:
        wave = NOISE_LEVEL * np.random.default_rng(task.seed).normal(size=(2, n_samples(task)))
        return Audio(wave.clip(-1, 1).astype(np.float32), SAMPLE_RATE_OUT)


class Silence(System):
    """Nothing at all."""

    says = "no sound"
    is_random = False

    def make(self, task: Task) -> Audio:
        return Audio(np.zeros((2, n_samples(task)), np.float32), SAMPLE_RATE_OUT)
