"""Folders, tars and tables become the same records on every machine; what is broken costs its own entry."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from openvmas.data.curation.recipe import SourceOptions
from openvmas.data.curation.record import Record
from openvmas.data.curation.record_media import Media, copy_member
from openvmas.data.sources.records import find_place, list_records, local_path, parse_time
from openvmas.errors import InputError


def listed(folder: Path, **options: str | int) -> list[Record]:
    return list(list_records(SourceOptions(**{"name": "s", **options}), folder))  # type: ignore[arg-type]


def test_a_folder_is_listed_in_order_with_sidecars(tmp_path: Path) -> None:
    for name in ("b/2.MP4", "b/1.mkv", "a.webm", "notes.txt", ".hidden.mp4"):
        (tmp_path / "media" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "media" / name).write_bytes(b"123")
    side = {"title": "T", "uploader": "U", "license": "Creative Commons Attribution license (reuse allowed)"}
    (tmp_path / "media" / "a.info.json").write_text(json.dumps(side))
    (tmp_path / "media" / "b" / "1.json").write_text("{broken")
    os.mkfifo(tmp_path / "media" / "z.mp4")
    records = listed(tmp_path, kind="folder", path="media", licence="CC0-1.0")
    assert [r.origin.uri for r in records] == ["a.webm", "z.mp4", "b/1.mkv", "b/2.MP4"]
    assert (records[0].origin.title, records[0].origin.author, records[0].origin.licence) == ("T", "U", "CC-BY")
    assert records[2].origin.licence == "CC0-1.0" and records[2].origin.collection == "b"
    assert records[0].origin.collection == ""  # what lies in the source itself may go to any split
    assert records[3].facts == {"source.bytes": 3}
    again = tmp_path / "elsewhere"
    (tmp_path / "media").rename(again)
    assert [r.id for r in listed(tmp_path, kind="folder", path="elsewhere")] == [r.id for r in records]


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_members_of_tars_are_read_in_place(tmp_path: Path) -> None:
    members = {
        "000.mp4": b"first" * 300,
        "000.json": json.dumps({"url": "https://x.org/1", "caption": "one", "license": "CC0"}).encode(),
        "001.json": json.dumps({"title": "two"}).encode(),
        "001.mp4": b"second",
        "002.txt": b"no medium",
    }
    write_tar(tmp_path / "b.tar", members)
    write_tar(tmp_path / "a.tar", {"d/0.mp4": b"zero"})
    records = listed(tmp_path, kind="tar", path=".")
    assert [r.origin.uri for r in records] == ["a.tar!d/0.mp4", "b.tar!000.mp4", "b.tar!001.mp4"]
    assert [r.origin.title for r in records] == ["d/0.mp4", "one", "two"]
    assert records[1].origin.licence == "CC0-1.0" and records[1].origin.page == "https://x.org/1"
    place = find_place(SourceOptions(name="s", kind="tar", path="."), tmp_path)
    with Media(records[1], local_path(records[1], place), tmp_path) as media:
        assert media.path.read_bytes() == members["000.mp4"] and media.path.suffix == ".mp4"
        copied = media.path
    assert not copied.exists()
    target = tmp_path / "by_name"
    copy_member(tmp_path / "b.tar", "001.mp4", Record("0", "video", records[0].origin), target)
    assert target.read_bytes() == b"second"


def test_a_tar_that_ends_early_costs_what_is_behind(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {f"{i}.mp4": bytes(2000) for i in range(4)})
    with path.open("r+b") as file:
        file.truncate(2 * (512 + 2048) + 700)  # inside the third
    records = listed(tmp_path, kind="tar", path="a.tar")
    assert [r.origin.uri for r in records[:2]] == ["a.tar!0.mp4", "a.tar!1.mp4"]
    last = records[-1]
    place = find_place(SourceOptions(name="s", kind="tar", path="a.tar"), tmp_path)
    if "source.problem" not in last.facts:
        with Media(last, local_path(last, place), tmp_path) as media, pytest.raises(InputError, match="ends inside"):
            media.probe()
    packed = write_tar(tmp_path / "b.tar", {"0.mp4": b"0"}, "w:gz")
    records = listed(tmp_path, kind="tar", path=packed.name)
    assert "compressed or damaged" in records[0].facts["source.problem"]


TABLE = """link,begin,end,license,artist,title
https://x.org/1.mp4,0:10,1:05.5,Standard,A,one
https://x.org/2.mp4,,,CC-BY-4.0,B,two
,0,1,CC0,C,no address
https://x.org/3.mp4,20,10,CC0,D,backwards
dQw4w9WgXcQ,5,15,CC0,E,an id
../secret.mp4,,,CC0,F,outside
https://x.org/4.mp4,nan,,CC0,G,not a time
"""


def test_a_table_gives_spans_licences_first_and_bad_rows_as_such(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("\ufeff" + TABLE)
    records = listed(tmp_path, kind="manifest", path="list.csv", start="begin")
    by_title = {r.origin.title: r for r in records}
    assert records[-1].origin.title == "one", "what is not free comes last"
    assert (by_title["one"].start, by_title["one"].end) == (10.0, 65.5)
    assert (by_title["two"].start, by_title["two"].end) == (0.0, None)
    assert by_title["an id"].origin.uri == "https://www.youtube.com/watch?v=dQw4w9WgXcQ"
    problems = {t: r.facts["source.problem"] for t, r in by_title.items() if "source.problem" in r.facts}
    assert problems == {
        "no address": "the row has no address",
        "backwards": "its time span is not one",
        "outside": "the path leads out of the source's folder; set root and give paths inside it",
        "not a time": "its time span is not one",
    }


def test_parquet_and_json_lines_say_the_same_as_csv(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = [{"url": f"https://x.org/{i}.mp4", "start": i / 2, "end": i + 1.0, "license": "CC0"} for i in range(2500)]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "a.csv").write_text(
        "url,start,end,license\n" + "".join(f"{','.join(map(str, r.values()))}\n" for r in rows)
    )
    first, *others = (
        [r.to_json() for r in listed(tmp_path, kind="manifest", path=f"a.{e}")] for e in ("csv", "parquet", "jsonl")
    )
    assert len(first) == 2500 and all(other == first for other in others)
    assert len(listed(tmp_path, kind="manifest", path="a.parquet", max_records=7)) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "folder", "path": "none"}, "none is not a folder"),
        ({"kind": "tar", "path": "none*.tar"}, "no tar at"),
        ({"kind": "manifest", "path": "none.csv"}, "no table"),
        ({"kind": "manifest", "path": "a.xls"}, "no table that is understood"),
        ({"kind": "manifest", "path": "a.csv"}, "no column of addresses or paths"),
        ({"kind": "manifest", "path": "a.csv", "address": "colour"}, "no column colour; did you mean color"),
    ],
)
def test_a_source_that_is_not_there_is_said_to_be(tmp_path: Path, options: dict[str, str], message: str) -> None:
    (tmp_path / "a.xls").write_text("x")
    (tmp_path / "a.csv").write_text("color,size\nred,3\n")
    with pytest.raises(InputError, match=message):
        listed(tmp_path, **options)


def test_times_of_all_kinds() -> None:
    assert [parse_time(v, None) for v in ("1:02:03.5", "61", 2, "", None)] == [3723.5, 61.0, 2.0, None, None]
    for value in ("x", "1:2:3:4", "-5", "inf"):
        assert parse_time(value, None) != parse_time(value, None), "NaN"
