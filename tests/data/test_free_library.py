"""`openvmas library build`: recordings of packages with their licences, from a mirror on disk."""

from __future__ import annotations

import io
import json
import lzma
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile

from openvmas.cli.main import main
from openvmas.data.sources import free_library, free_music
from openvmas.fitting.licence import read_credits
from tests.data.test_render import COPYRIGHT, deb_file

pytestmark = pytest.mark.slow


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OPENVMAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(free_library, "PACKAGES", ("x-music", "y-music"))
    sound = io.BytesIO()
    clicks = np.zeros(22 * 8000)
    clicks[:: 8000 // 2] = 0.7
    soundfile.write(sound, np.convolve(clicks, np.exp(-np.arange(800) / 80))[: len(clicks)], 8000, format="OGG")
    members = {
        "./usr/share/games/x/music/theme.ogg": sound.getvalue(),
        "./usr/share/games/x/music/battle.ogg": sound.getvalue(),
        "./usr/share/games/x/other/battle.ogg": sound.getvalue(),
        "./usr/share/games/x/ambient/day/farm.ogg": sound.getvalue(),
        "./usr/share/games/x/music/broken.ogg": b"OggS broken",
        "./usr/share/doc/x-music/copyright": COPYRIGHT.encode(),
    }
    folder = tmp_path / "mirror"
    (folder / "pool").mkdir(parents=True)
    deb_file(folder / "pool/x-music_1_all.deb", members)
    digest = sha256((folder / "pool/x-music_1_all.deb").read_bytes()).hexdigest()
    listing = folder / f"dists/{free_music.RELEASE}/main/binary-amd64/Packages.xz"
    listing.parent.mkdir(parents=True)
    text = f"Package: x-music\nFilename: pool/x-music_1_all.deb\nSHA256: {digest}\n"
    listing.write_bytes(lzma.compress(text.encode()))
    return folder


def build(tmp_path: Path, mirror: Path, *arguments: str) -> int:
    return main(["library", "build", str(tmp_path / "free"), "--mirror", mirror.as_uri(), "--quiet", *arguments])


def test_a_library_is_built_and_a_second_run_goes_on(tmp_path, mirror, capsys) -> None:
    assert build(tmp_path, mirror) == 2  # y-music is not on the mirror
    said = capsys.readouterr()
    assert "y-music: the mirror has no package" in said.err and "run this again" in said.err
    rows = {row["path"]: row for row in free_library.read_listing(tmp_path / "free")}
    kept = {path for path, row in rows.items() if not row["problem"]}
    noises = "x-music/usr/share/games/x/ambient/day/farm.ogg"
    assert rows[noises]["problem"] == "its folder is one of noises or voices"
    assert kept == {path for path in rows if path.startswith("x-music/") and "broken" not in path and path != noises}
    for path in kept:
        credits = read_credits(tmp_path / "free" / path)
        assert credits.licence == rows[path]["licence"] != "" and credits.source.endswith("/x-music")
    assert not (tmp_path / "free" / ".packages").exists()
    before = (tmp_path / "free" / "library.csv").read_text()
    assert build(tmp_path, mirror, "--package", "x-music") == 0
    assert f"{len(kept)} recordings" in capsys.readouterr().out
    assert (tmp_path / "free" / "library.csv").read_text() == before


def test_licences_can_be_chosen(tmp_path, mirror, capsys) -> None:
    assert build(tmp_path, mirror, "--package", "x-music", "--licence", "CC0*") == 0
    rows = free_library.read_listing(tmp_path / "free")
    assert {row["licence"] for row in rows if not row["problem"]} == {"CC0-1.0"}
    assert any("its licence is" in row["problem"] for row in rows)
    theme = json.loads((tmp_path / "free" / "x-music" / "theme.license.json").read_text())
    assert theme["title"] == "theme" and theme["licence"] == "CC0-1.0"


def test_unknown_packages_are_refused(tmp_path, mirror, capsys) -> None:
    assert build(tmp_path, mirror, "--package", "z-music") == 2
    assert "choose from x-music" in capsys.readouterr().err
    assert build(tmp_path, mirror, "--package", "warmux-data") == 2
    assert "left out for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("holders", "said"),
    [
        ("2016 Juhani Junkala", "Juhani Junkala"),
        ("2004-2013 A. Korotaev <a@b.com>, 2011, 2012 R. Deur <r@d.com>", "A. Korotaev, R. Deur"),
        ("© 2001 0zone0ne", "0zone0ne"),
    ],
)
def test_attributions_name_makers_without_years_and_addresses(holders: str, said: str) -> None:
    track = free_music.FreeTrack("x/a.ogg", "x", 30.0, "", holders, "CC0-1.0", "")
    assert json.loads(free_library.credits_of(track, "CC0-1.0"))["artist"] == said
