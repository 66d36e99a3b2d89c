"""The parts of a studio on a cluster that need no cluster: files by content, news of what grows, options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openvmas.errors import OptionError
from openvmas.processes import cluster
from openvmas.studio.limits import StudioOptions
from openvmas.studio.queue import remote
from openvmas.studio.queue.remote import Growth, SharedFolder, SharedStorage
from openvmas.studio.storage.folders import ProjectFolder, new_id

fsspec = pytest.importorskip("fsspec")


@pytest.mark.parametrize("place", ["memory://store/p", "folder"])
def test_files_travel_once_and_arrive_whole(tmp_path: Path, place: str) -> None:
    shared = SharedFolder(place if "://" in place else str(tmp_path / "store"))
    server, node = tmp_path / "server", tmp_path / "node"
    (server / "projects" / "p").mkdir(parents=True)
    node.mkdir()
    for name, words in (("a", b"one"), ("b", b"two"), ("c", b"one")):
        (server / "projects" / "p" / name).write_bytes(words)
    names = remote.names_below(server, server / "projects" / "p")
    files = shared.push(server, [*names, "projects/p/gone"], {})
    assert sorted(files) == names and files["projects/p/a"] == files["projects/p/c"] != files["projects/p/b"]
    shared.pull(node, files)
    assert [(node / name).read_bytes() for name in names] == [b"one", b"two", b"one"]
    (node / "projects" / "p" / "b").write_bytes(b"three")
    (node / "projects" / "p" / "new").write_bytes(b"four")
    changed = shared.push(node, remote.names_below(node, node / "projects" / "p"), files)
    assert sorted(changed) == ["projects/p/b", "projects/p/new"]
    shared.pull(server, changed)
    assert (server / "projects" / "p" / "b").read_bytes() == b"three"
    assert not [path for path in (*server.iterdir(), *node.iterdir()) if path.name.startswith(".")]


def test_a_folder_of_the_storage_is_there_while_jobs_of_its_project_run(tmp_path: Path) -> None:
    storage = SharedStorage(str(tmp_path / "store"))
    (tmp_path / "file").write_text("x")
    with storage.folder("p") as first:
        first.push(tmp_path, ["file"], {})
        with storage.folder("p"):
            pass
        assert len(list((tmp_path / "store" / "p").iterdir())) == 1
    assert not (tmp_path / "store" / "p").exists()


def test_growing_music_comes_in_order_and_every_byte_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_MESSAGE", 3)
    server, project = tmp_path / "server", new_id()
    folder = ProjectFolder(tmp_path / "node", project)
    take = folder.take(new_id(), 1)
    take.path.mkdir(parents=True)
    growth, request = Growth(tmp_path / "node", folder.path), type("Request", (), {"home": server})()
    told: list[str] = []

    def send() -> None:
        for kind, value in growth.news():
            told.append(f"{kind} {Path(value[0]).name}")
            remote.receive(request, SharedFolder(""), kind, value, lambda message: None)  # type: ignore[arg-type]

    server.mkdir()
    for words in (b"12345", b"", b"678"):
        for path in (take.wave, take.loudness):
            with path.open("ab") as file:
                file.write(words)
        (take.path / "mixed.peaks.f32").write_bytes(b"not growing")
        folder.partial_analysis.write_bytes(words) if words else None
        (server / "projects" / project).mkdir(parents=True, exist_ok=True)
        send()
    assert told == [
        *["grown loudness.f32"] * 2, *["grown music.f32"] * 2, "whole analysis.part.json",
        "grown loudness.f32", "grown music.f32", "whole analysis.part.json",
    ]  # fmt: skip
    arrived = server / take.wave.relative_to(tmp_path / "node")
    assert arrived.read_bytes() == b"12345678"


def test_options_that_need_a_cluster() -> None:
    with pytest.raises(OptionError, match="give --ray too"):
        StudioOptions.of(storage="s3://b/x")
    with pytest.raises(OptionError, match="sends no streams back"):
        StudioOptions.of(ray="ray://10.0.0.5:10001")


def test_without_ray_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(cluster.importlib, "import_module", none)
    with pytest.raises(OptionError, match=r"pip install 'openvmas\[ray\]'"), cluster.connected("auto"):
        pass
