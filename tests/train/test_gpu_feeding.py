"""What feeds a GPU: waves on the device, parts unpacked, many small launches made few. All of it runs on a CPU, too."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from openvmas.errors import InputError
from openvmas.train.codec.augment import DeviceCrops
from openvmas.train.codec.codec_trainer import CodecRecipe, open_batches
from openvmas.train.codec.corpus import Crops, Track
from openvmas.train.loop import draw_ahead
from openvmas.train.optim import BatchedMuon

RATE = 32_000
LENGTH = 12_800


def add_track(folder: Path, name: str, wave: np.ndarray) -> None:
    start = (folder / "waves.s16").stat().st_size // 2 if (folder / "waves.s16").exists() else 0
    with (folder / "waves.s16").open("ab") as waves, (folder / "index.jsonl").open("a") as index:
        waves.write((wave * 32767).astype("<i2").tobytes())
        index.write(json.dumps(asdict(Track(name, "album", start, len(wave), False, 0.0, 0.0))) + "\n")


@pytest.fixture
def folder(tmp_path) -> Path:
    time = np.arange(6 * RATE) / RATE
    add_track(tmp_path, "sine", 0.5 * np.sin(2 * np.pi * 1000 * time))
    return tmp_path


def plain(folder: Path, **shares: float) -> DeviceCrops:
    every = {"change_share": 0.0, "mix_share": 0.0, "tone_share": 0.0, "gap_share": 0.0, **shares}
    return DeviceCrops(Crops(folder), LENGTH, "cpu", **every)


def pitch(wave: torch.Tensor) -> float:
    strengths = torch.fft.rfft(wave * torch.hann_window(len(wave))).abs()
    return strengths.argmax().item() * RATE / len(wave)


def test_plain_crops_are_pieces_of_the_tracks(folder):
    crops = plain(folder)
    torch.manual_seed(0)
    read = crops.read(5, LENGTH)
    whole = crops.waves.float() / 32768
    for row in read:
        assert any(torch.equal(row, whole[i : i + LENGTH]) for i in range(len(whole) - LENGTH))
    drawn = crops.draw(8)
    assert drawn.shape == (8, LENGTH) and drawn.abs().max() <= 0.99 + 1e-6
    assert {pitch(row) for row in drawn} == {1000.0}
    assert len({round(row.abs().max().item(), 3) for row in drawn}) > 4  # gains differ


def test_the_seed_alone_decides(folder):
    crops = plain(folder, change_share=0.5, mix_share=0.5, gap_share=0.5)
    torch.manual_seed(3)
    first = crops.draw(6)
    crops.draw(6)
    torch.manual_seed(3)
    assert torch.equal(first, crops.draw(6))


@pytest.mark.parametrize("semitones", [-2, -0.7, 0, 2])
def test_another_speed_is_another_pitch_and_clean(folder, semitones):
    speed = 2 ** (semitones / 12)
    torch.manual_seed(0)
    wave = plain(folder).read(1, 32_000, torch.tensor([speed]))[0]
    strengths = torch.fft.rfft(wave * torch.blackman_window(32_000)).abs()
    top = int(strengths.argmax())
    assert top == round(1000 * speed) and wave.abs().max() == pytest.approx(0.5, rel=0.01)
    strengths[top - 9 : top + 10] = 0
    assert strengths.max() < 1e-3 * 0.25 * 32_000  # 60 dB down


def test_changed_and_silent_crops(folder):
    torch.manual_seed(0)
    changed = plain(folder, change_share=1.0).draw(16)
    pitches = [pitch(row) for row in changed]
    assert len(set(pitches)) > 8 and min(pitches) > 885 and max(pitches) < 1130
    silent = (plain(folder, gap_share=1.0).draw(99) == 0).float().mean(1)
    assert silent.min() < 0.4 and silent.max() == 1.0


def test_tracks_that_arrive_are_drawn(folder):
    crops = plain(folder)
    add_track(folder, "other", np.sin(2 * np.pi * 3000 * np.arange(30 * RATE) / RATE) * 0.5)
    assert {pitch(row) for row in crops.draw(8)} == {1000.0}
    crops.refresh()
    torch.manual_seed(0)
    assert {pitch(row) for row in crops.draw(16)} == {1000.0, 3000.0}


def test_waves_are_needed_on_the_device(folder, tmp_path_factory):
    recipe = CodecRecipe(batch=3, tone_share=0)
    batches, _ = open_batches(folder, recipe, LENGTH, 0, 0, "cpu")
    assert next(batches).shape == (3, LENGTH)
    with pytest.raises(InputError, match="holds neither"):
        open_batches(tmp_path_factory.mktemp("empty"), recipe, LENGTH, 0, 0, "cpu")
    files = tmp_path_factory.mktemp("files")
    (files / "album").mkdir()
    soundfile.write(files / "album" / "song.wav", np.zeros(5 * RATE), RATE)
    (files / "listing.csv").write_text("track,singing_share,speech_share\nalbum/song.wav,0,0\n")
    assert next(open_batches(files / "listing.csv", recipe, LENGTH, 0, 1, "cpu")[0]).shape == (3, LENGTH)
    with pytest.raises(InputError, match="--loaders 0 needs waves"):
        open_batches(files / "listing.csv", recipe, LENGTH, 0, 0, "cpu")


def test_processes_draw_the_same_in_the_same_order():
    def draw(step: int) -> torch.Tensor:
        return torch.from_numpy(np.random.default_rng(step).random(3))

    thread, processes = draw_ahead(draw, 5), draw_ahead(draw, 5, 2)
    for _ in range(6):
        assert torch.equal(next(thread), next(processes))


def test_muon_in_batches_is_muon():
    def train(kind: type[torch.optim.Muon]) -> list[torch.Tensor]:
        torch.manual_seed(0)
        matrices = [torch.nn.Parameter(torch.randn(shape)) for shape in ((16, 64), (64, 16), (16, 64), (8, 8))]
        optimizer = kind(matrices, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
        for _ in range(4):
            for matrix in matrices:
                matrix.grad = torch.randn_like(matrix)
            optimizer.step()
        return [matrix.detach() for matrix in matrices]

    for a, b in zip(train(torch.optim.Muon), train(BatchedMuon), strict=True):
        assert torch.allclose(a, b, atol=1e-4)
