"""Sounds of the planted set that are no music, and music at another pitch: voices, noises, a phase vocoder."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import soxr
from video_editor import find

SAMPLE_RATE = 44_100
SENTENCES = {
    "en-gb": (
        "Welcome back to the channel, today we are going to look at something quite different.",
        "If you like this kind of thing, please tell your friends about it, it really helps us a lot.",
        "The first thing that you have to do is to take off the cover and to count the screws.",
        "Nobody in the village could remember when the old bridge had been built, or by whom.",
        "We will come back to this question later, but first let us listen to what the experts say.",
    ),
    "en-us": (
        "So I went down to the harbor that morning and there was nobody around at all.",
        "Here is the recipe: two eggs, a cup of flour, some milk, and a little bit of salt.",
        "The train from the north will arrive at platform number seven in about twelve minutes.",
        "What you see behind me is the oldest clock tower in the whole of the country.",
    ),
    "de": (
        "Guten Abend, meine Damen und Herren, wir begruessen Sie zu unserer heutigen Sendung.",
        "Zuerst nehmen wir den Deckel ab, dann zaehlen wir die Schrauben, und dann sehen wir weiter.",
        "Am Wochenende bleibt es im Norden trocken, im Sueden regnet es bis in die Nacht hinein.",
    ),
    "fr": (
        "Bonjour a tous, aujourd'hui nous allons parler de quelque chose de completement nouveau.",
        "Le train en provenance de Lyon arrivera avec dix minutes de retard sur la voie numero trois.",
    ),
}


class Speaker:
    """eSpeak NG from the wheel espeakng-loader: several languages, speeds and pitches."""

    def __init__(self, media: Path) -> None:
        self._library = ctypes.CDLL(find(media, "libespeak-ng.so"))
        data = Path(find(media, "en_dict")).parent
        self._rate = self._library.espeak_Initialize(2, 0, str(data).encode(), 0)  # 2: samples to the callback
        self._blocks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._take)
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: ctypes._Pointer, n_samples: int, _events: int) -> int:
        if n_samples > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0

    def talk(self, duration: float, rng: np.random.Generator) -> np.ndarray:
        """Sentences of one voice one after the other: [L] float32, RMS 0.1 where it speaks."""
        voice = str(rng.choice(sorted(SENTENCES)))
        self._library.espeak_SetVoiceByName(voice.encode())
        self._library.espeak_SetParameter(1, int(rng.integers(130, 190)), 0)  # words per minute
        self._library.espeak_SetParameter(3, int(rng.integers(30, 70)), 0)  # pitch
        parts: list[np.ndarray] = []
        total = 0.0
        while total < duration:
            text = str(rng.choice(SENTENCES[voice])).encode() + b"\0"
            self._blocks.clear()
            self._library.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None)
            self._library.espeak_Synchronize()
            spoken = soxr.resample(np.concatenate(self._blocks).astype(np.float32), self._rate, SAMPLE_RATE)
            parts.append(spoken * np.float32(0.1 / np.sqrt(np.mean(spoken[np.abs(spoken) > 1] ** 2))))
            parts.append(np.zeros(int(rng.uniform(0.1, 0.5) * SAMPLE_RATE), np.float32))
            total += (len(parts[-1]) + len(parts[-2])) / SAMPLE_RATE
        return np.concatenate(parts)[: int(duration * SAMPLE_RATE)].astype(np.float32)


def make_noise(n: int, rng: np.random.Generator) -> np.ndarray:
    """White, brown, wind-like or humming noise: [2, n] float32."""
    kind = int(rng.integers(4))
    frequency = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    sides = []
    swell = np.interp(np.arange(n), np.linspace(0, n, 12), rng.uniform(0.3, 1, 12))
    for _ in range(2):
        slope = (0.0, 1.0, 0.7, 1.0)[kind]
        shape = np.where(frequency > 30, np.maximum(frequency, 30) ** -slope, 0)
        wave = np.fft.irfft(shape * np.exp(2j * np.pi * rng.random(len(shape))), n)
        wave *= 0.08 / wave.std()
        if kind == 2:
            wave = wave * swell
        if kind == 3:
            hum = sum(np.sin(2 * np.pi * 50 * k * np.arange(n) / SAMPLE_RATE) / k for k in (1, 2, 3, 5))
            wave = 0.3 * wave + 0.05 * np.asarray(hum)
        sides.append(wave)
    return np.stack(sides).astype(np.float32)


def shift_pitch(wave: np.ndarray, semitones: float) -> np.ndarray:
    """Shift the pitch of a wave [C, L] and keep its length: phase vocoder (Flanagan and Golden 1966), resampling."""
    ratio = 2 ** (semitones / 12)
    n_fft, hop = 2048, 512
    window = np.hanning(n_fft + 1)[:-1]
    sides = []
    for side in wave:
        padded = np.pad(side, n_fft)
        frames = np.lib.stride_tricks.sliding_window_view(padded, n_fft)
        places = np.arange(0, len(frames) - hop, hop / ratio)
        now = np.fft.rfft(frames[places.astype(int)] * window)
        later = np.fft.rfft(frames[np.minimum(places.astype(int) + hop, len(frames) - 1)] * window)
        phase = np.cumsum(np.angle(later * now.conj()), axis=0)
        pieces = np.fft.irfft(np.abs(now) * np.exp(1j * phase)) * window
        out = np.zeros(hop * len(pieces) + n_fft)
        for k, piece in enumerate(pieces):
            out[k * hop : k * hop + n_fft] += piece / 1.5
        stretched = out[int(n_fft * ratio) :]
        shifted = soxr.resample(stretched, SAMPLE_RATE * ratio, SAMPLE_RATE)[: len(side)]
        sides.append(np.pad(shifted, (0, len(side) - len(shifted))))
    return np.stack(sides).astype(np.float32)
