"""Bring every preset of the symbolic composer's synthesiser to one level: measures each and writes its `level_db`.

    python tools/level_presets.py [--check]

A preset is played hard at three keys of its reach for three seconds; its level is the loudest half second (of kits:
kick and snare). --check writes nothing and fails where a level is off by more than half a dB.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from openvmas.pretrained import find_weights
from openvmas.symbolic.instruments import KIT_KEYS, Bank
from openvmas.symbolic.synth import presets, voices
from openvmas.symbolic.synth.presets import Preset
from openvmas.symbolic.synth.sampler import Sounds

FOLDER = Path(presets.__file__).parent / "presets"
TOLERANCE_DB = 0.5


def measure(preset: Preset, sounds: Sounds) -> float:
    """The gain in dB that brings a preset to voices.LEVEL_DB."""
    preset = replace(preset, level_db=0.0)
    low, high = preset.reach
    keys = KIT_KEYS if preset.drums else (low + (high - low) // 4, (low + high) // 2, high - (high - low) // 4)
    levels = []
    for key in keys:
        wave = voices.tone(preset, key, voices.SHADES, 0, 3 * voices.RATE, sounds.sampled_tone).astype(float)
        power = np.pad(wave, ((0, 0), (0, voices.RATE)))[:, : len(wave[0]) // 2400 * 2400 + voices.RATE]
        frames = (power[:, : power.shape[1] // 2400 * 2400].reshape(2, -1, 2400) ** 2).mean(axis=(0, 2))
        loudest = np.convolve(frames, np.ones(10) / 10, mode="valid")
        levels.append(10 * np.log10((loudest[0] if preset.drums else loudest.max()) + 1e-12))
    return voices.LEVEL_DB - float(np.mean(levels))


def written(text: str, name: str, level_db: float) -> str:
    """The TOML text with the preset's level right behind its head."""
    head = re.escape(f"[{name}]\n")
    text = re.sub(rf"({head}(?:(?!\[).*\n)*?)level_db = .*\n", r"\1", text, count=1)
    return re.sub(rf"({head})", rf"\1level_db = {level_db:.1f}\n", text, count=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    sounds = Sounds(Bank(find_weights("symbolic").file("instruments")))
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))}
    off = []
    for name, preset in presets.read_presets().items():
        level_db = measure(preset, sounds)
        if abs(level_db - preset.level_db) > TOLERANCE_DB:
            off.append(f"{name}: {preset.level_db:.1f} is to be {level_db:.1f}")
        path = FOLDER / f"{preset.role}.toml"
        texts[path] = written(texts[path], name, level_db)
    if arguments.check:
        print("\n".join(off) or "all presets are level")
        raise SystemExit(bool(off))
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
