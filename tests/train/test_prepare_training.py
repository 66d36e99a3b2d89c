"""The way of docs/TRAINING.md from packages to packed examples, on three tiny ones, and the listing that it reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import prepare_training
import pytest
import soundfile
import tag_music
from music_tags import Tagger

from openvmas.codec.runtime import CodecRunner
from openvmas.condition import AXES
from openvmas.hub.taggers import Embeddings
from openvmas.pretrained import find_weights
from openvmas.train.codec.corpus import EXCLUDED_ALBUMS, is_held_out
from openvmas.train.decoder.examples import MAX_SINGING, MAX_SPEECH, read_packed

pytestmark = pytest.mark.slow

RATE = 22_050


class MeanYamnet:
    """Stands for YAMNet: the mean spectrum of a patch, as long as its embeddings are."""

    classes = tuple(f"class {i}" for i in range(521))

    def embed_log_mel(self, frames: np.ndarray) -> Embeddings:
        starts = np.arange(0, len(frames) - 95, 48)
        means = np.stack([np.resize(frames[s : s + 96].mean(0), 1024) for s in starts])
        return Embeddings(means, means[:, :521], 0.4875 + starts / 100)


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Two albums and one that is held out by name, each with a track of 21 s; a listing without any mood."""
    lines = ["track,singing_share,speech_share"]
    for i, album in enumerate(("first", "second", "xmoto-data")):
        (tmp_path / "deb" / album / "music").mkdir(parents=True)
        time = np.arange(21 * RATE) / RATE
        wave = 0.4 * np.sin(2 * np.pi * (200 + 40 * i) * time) * np.exp(-5 * (time % (0.5 + 0.1 * i)))
        soundfile.write(tmp_path / "deb" / album / "music" / "song.ogg", wave, RATE)
        lines.append(f"{album}/usr/music/song.ogg,0.0,0.0")
    (tmp_path / "listing.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "deb"


def test_one_command_leads_from_packages_to_packed_examples(
    packages: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that the page needs is left to find: no mood labels, no listing, no tags made before."""
    monkeypatch.setattr(tag_music, "Yamnet", MeanYamnet)
    folder = packages.parent / "made"
    given = [str(folder), "--packages", str(packages), "--listing", str(packages.parent / "listing.csv")]
    prepare_training.main(given)
    assert capsys.readouterr().out.strip().endswith(str(folder / "packed"))
    music, held_out = read_packed(folder / "packed")
    assert len(music.examples) == 2 and len(held_out.examples) == 1
    codec = CodecRunner(find_weights("mini"))
    assert music.codec and music.codec.sha256 == codec.codebooks_sha256 and music.codec == held_out.codec
    example = music.examples[0]
    assert example.codes.shape == (4, 1050) and example.axes.shape[1] == len(AXES) and np.isfinite(example.axes).all()
    before = (folder / "packed" / "music.npz").read_bytes()
    monkeypatch.setattr(tag_music, "measure", lambda *given: pytest.fail("measured again"))
    prepare_training.main(given)
    assert (folder / "packed" / "music.npz").read_bytes() == before
    with pytest.raises(SystemExit, match="none of the tracks"):
        prepare_training.main([str(folder / "x"), "--packages", str(folder), *given[3:]])


def test_the_published_listing_says_what_the_decoder_learned() -> None:
    """The rules that training applies to docs/tracks.csv give the tracks that it marks."""
    rows = list(csv.DictReader(prepare_training.LISTING.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 784 and sum(bool(row["valence"]) for row in rows) == 306
    for row in rows:
        is_instrumental = float(row["singing_share"]) <= MAX_SINGING and float(row["speech_share"]) <= MAX_SPEECH
        is_learned = is_instrumental and row["package"] not in EXCLUDED_ALBUMS and row["split"] == "train"
        assert (row["decoder"] == "yes") == is_learned, row["track"]
        assert (row["split"] == "held out") == is_held_out(row["track"], row["package"])
    tagger = Tagger.load(tag_music.TAGGER)
    assert tagger.weights.shape == (1024, len(AXES) - 2) and (tagger.stds > 0).all()
    assert list(json.loads((tag_music.TAGGER / "axes.json").read_text())) == list(AXES)
