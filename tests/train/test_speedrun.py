"""What tools/speedrun.sh stands on: its shell, its recipes, and the material it makes from nothing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from midi_scores import Note
from rule_scores import BANDS, compose

from openvmas.cli.train import train
from openvmas.condition import AXES
from openvmas.data.montage.bank import Bank
from openvmas.train.codec.corpus import build, read_index
from openvmas.train.decoder.examples import is_usable, read_wave
from openvmas.train.joint.pairs import split_bank

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "speedrun.sh"


@pytest.fixture(scope="module")
def data():
    spec = importlib.util.spec_from_file_location("make_speedrun_data", ROOT / "tools" / "make_speedrun_data.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_is_shell_and_names_what_there_is():
    subprocess.run(["sh", "-n", str(SCRIPT)], check=True)
    text = SCRIPT.read_text()
    for name in (found := re.findall(r"-m openvmas train (\w+)", text)):
        assert name in train.commands, name
    assert len(found) == 8
    for name in re.findall(r"recipes/train/(\w+)-\$size", text):
        for size in ("mini", "debug"):
            assert (ROOT / "recipes" / "train" / f"{name}-{size}.toml").is_file()
    assert text.count('say "') == 9  # every step says what it is about


def test_a_note_sounds_at_its_pitch_and_dies_away(data):
    wave = data.play((Note(0.5, 2.5, 69, 100, 0),), 3.0)
    assert wave.shape == (96_000,) and np.abs(wave).max() == pytest.approx(0.7) and not wave[:16_000].any()
    spectrum = np.abs(np.fft.rfft(wave[20_000:52_000]))
    assert np.argmax(spectrum) == 440  # Hz: the bins of one second
    early, late = (np.abs(wave[a : a + 8000]).mean() for a in (20_000, 60_000))
    assert late < early / 3
    assert set(data.SAID) == set(BANDS) and {x for row in data.SAID.values() for x in row} <= set(AXES)


def test_the_material_is_a_corpus_with_pictures(data, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "make_speedrun_data.py"), str(tmp_path)]
    subprocess.run([*command, "--pieces", "4", "--seconds", "6", "--pictures", "10"], check=True, cwd=ROOT)
    build(tmp_path / "listing.csv", tmp_path / "music", tmp_path / "waves")
    tracks = sorted(read_index(tmp_path / "waves"), key=lambda track: track.name)
    assert [track.is_held_out for track in tracks] == [False, False, True, True] and all(map(is_usable, tracks))
    assert all(track.length == 6 * 32_000 for track in tracks)
    # The beats of the piece are where its sound begins: what is heard is what was written.
    wave, beats = read_wave(tmp_path / "waves", tracks[0]), compose(0).beats
    level = np.sqrt(np.convolve(wave**2, np.ones(640) / 640, "same"))
    places = [round(float(beat) * 32_000) for beat in beats if 0.1 < beat < 5.5]
    rises = [level[p + 480] - level[max(p - 960, 0)] for p in places]
    assert np.mean(rises) > 0.01
    with np.load(tmp_path / "tags.npz") as tags:
        assert tags["axes"].shape == (4, len(AXES)) and sorted(tags["tracks"]) == [track.name for track in tracks]
    training, held = split_bank(Bank.load(tmp_path / "bank.npz"))
    assert len(training) == 8 and len(held) == 2
