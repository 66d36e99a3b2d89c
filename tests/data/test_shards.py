"""Shards are the same bytes every time, any tar reader can read them, and the index says where everything lies."""

import io
import json
import tarfile

import numpy as np
import pytest

from openvmas.data.curation.record import read_records
from openvmas.data.curation.set_splits import Split, make_set
from openvmas.data.report.datasheet import coverage, describe, draw_page, write_datasheet
from openvmas.data.shards import tar_shards
from openvmas.data.shards.tar_shards import read_run, write_shards
from openvmas.errors import InputError

from .made_sets import make_peaks, make_record, with_prints, write_work

pq = pytest.importorskip("pyarrow.parquet")
MAX_RECORDS = 10


def codes_of(number):
    return np.random.default_rng(number).integers(0, 1024, (4, 20 + number), dtype=np.uint16)


def made(n=50):
    for number in range(n):
        record, arrays = with_prints(
            make_record(number, collection=f"album {number % 9}", **{"tags.mood": ["calm", "dark"][number % 2]}),
            make_peaks(number, 20),
            None,
        )
        arrays = arrays | {"codes": codes_of(number)}
        yield type(record)(**{**vars(record), "arrays": tuple(sorted(arrays))}), arrays


def build(folder, n=50):
    work = write_work(folder / "work", made(n), shard=8)
    make_set(work, folder, (Split(valid=0.2, test=0.2),))
    return write_shards(folder, work, MAX_RECORDS)


def contents(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "work" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    return folder, build(folder)


def test_two_builds_are_the_same_bytes(built, tmp_path):
    folder, manifest = built
    assert build(tmp_path / "again") == manifest
    assert contents(tmp_path / "again") == contents(folder)


def test_every_record_is_in_one_shard_of_its_split_with_its_arrays(built):
    folder, manifest = built
    wanted = {record.id: record for record in read_records(folder / "set.jsonl")}
    seen = {}
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
            assert all(member.mtime == 0 and member.uid == 0 for member in tar.getmembers())
        for name in [name for name in members if name.endswith(".json")]:
            record = tar_shards.Record.from_json(members[name].decode())
            assert record == wanted[record.id] and path.stem.startswith(record.facts["split.name"])
            assert f"{record.id}.sound_print.npy" not in members
            seen[record.id] = np.load(io.BytesIO(members[f"{record.id}.codes.npy"]))
    assert set(seen) == set(wanted) and len(wanted) == 50
    for record in wanted.values():
        number = int(record.origin.uri[7:13])
        assert np.array_equal(seen[record.id], codes_of(number)) and seen[record.id].dtype == np.uint16
    assert manifest["records"] == 50 and manifest["seconds"] == 1500
    assert manifest["arrays"] == {"codes": {"dtype": "uint16", "records": 50}}
    for split in manifest["splits"].values():
        assert all(shard["records"] == 10 for shard in split["shards"][:-1])
    assert max(len(split["shards"]) for split in manifest["splits"].values()) > 1


def test_the_index_says_where_each_record_lies(built):
    folder, _ = built
    rows = pq.read_table(folder / "index.parquet").to_pylist()
    assert len(rows) == 50
    for row in rows:
        with (folder / "shards" / f"{row['shard']}.tar").open("rb") as file:
            file.seek(row["offset"])
            found = read_run(file.read(row["size"]))
        assert found["__key__"] == row["id"] == found["record"].id and found["record"].origin.uri == row["uri"]
        assert row["licence"] == "CC0-1.0" and row["seconds"] == 30 and "tags.mood" in json.loads(row["facts"])


@pytest.mark.filterwarnings("ignore")  # the package leaves files open
def test_the_webdataset_package_reads_them(built):
    webdataset = pytest.importorskip("webdataset")
    folder, _ = built
    paths = sorted(str(path) for path in (folder / "shards").glob("*.tar"))
    samples = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode())
    assert len(samples) == 50
    for sample in samples:
        assert sample["json"]["id"] == sample["__key__"]
        assert np.array_equal(sample["codes.npy"], codes_of(int(sample["json"]["origin"]["uri"][7:13])))


def test_a_cut_off_pack_goes_on_and_ends_the_same(built, tmp_path, monkeypatch):
    folder, _ = built
    real, calls = tar_shards.pack_record, []

    def fails(*arguments):
        calls.append(1)
        if len(calls) == 33:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(tar_shards, "pack_record", fails)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path)
    assert list((tmp_path / "shards").glob("*.part")) and not (tmp_path / "manifest.json").exists()
    whole = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tar")}
    assert whole
    write_shards(tmp_path, tmp_path / "work", MAX_RECORDS)
    assert all(path.stat().st_mtime_ns == time for path, time in whole.items())
    assert contents(tmp_path) == contents(folder)


def test_what_changed_is_packed_again_and_what_is_gone_goes(built, tmp_path):
    folder, _ = built
    build(tmp_path)
    first = sorted((tmp_path / "shards").glob("*.tar"))[0]
    first.write_bytes(first.read_bytes()[:-512])  # cut off by a full disk, say
    write_shards(tmp_path, tmp_path / "work", MAX_RECORDS)
    assert contents(tmp_path) == contents(folder)
    work = tmp_path / "work"
    for path in work.glob("*-0000[4-6].*"):
        path.unlink()
    make_set(work, tmp_path, (Split(valid=0.2, test=0.2),))
    manifest = write_shards(tmp_path, work, MAX_RECORDS)
    named = {shard["name"] for split in manifest["splits"].values() for shard in split["shards"]}
    assert manifest["records"] == 32 and {path.name for path in (tmp_path / "shards").iterdir()} == named


def test_damage_and_missing_parts_are_named(built, tmp_path):
    folder, _ = built
    with pytest.raises(InputError, match="run the set stages first"):
        write_shards(tmp_path, tmp_path)
    with pytest.raises(InputError, match="build it again"):
        read_run(b"no tar at all" * 100)
    work = write_work(tmp_path / "work", made(8))
    (tmp_path / "set.jsonl").write_bytes((folder / "set.jsonl").read_bytes())
    with pytest.raises(InputError, match="is not in"):
        write_shards(tmp_path, work, MAX_RECORDS)
    (tmp_path / "set.jsonl").write_text(next(made())[0].to_json() + "\n")
    with pytest.raises(InputError, match="no split"):
        write_shards(tmp_path, work, MAX_RECORDS)


FUNNEL = {
    "n_listed": 53, "n_kept": 50, "n_addresses": 0,
    "steps": [{"name": "moving", "came": 53, "reasons": {"still": 3}, "examples": {"still": [["a<b>.mp4", "0.01"]]}}],
}  # fmt: skip


def test_weighted_labels_are_counted_by_the_strongest():
    moods = [{"calm": 0.9, "dark": 0.5, "sad": 0.4, "slow": 0.3, "happy": -2.0}, {"dark": 0.1}]
    records = [make_record(i, **{"tags.mood": mood}) for i, mood in enumerate(moods)]
    rows = {row[0]: row[1] for row in describe(records)["tables"]["tags.mood"]}
    assert rows == {"dark": 2, "calm": 1, "sad": 1}


def test_the_datasheet_counts_what_is_there(built, tmp_path):
    folder, _ = built
    (folder / "funnel.json").write_text(json.dumps(FUNNEL))
    table = tmp_path / "published.csv"
    table.write_text("url\n" + "".join(f"folder/{i:06d}.mp4\n" for i in range(40, 60)))
    sheet = write_datasheet(folder, title="Made & tested", published=table)
    assert sheet["records"] == 50 and sheet["hours"] == pytest.approx(50 * 30 / 3600, abs=1e-4)
    assert sheet["coverage"] == {"list": "published.csv", "listed": 20, "held": 10, "share": 0.5}
    assert sheet["tables"]["licence"] == [["CC0-1.0", 50, 0.4167]]
    assert {row[0]: row[1] for row in sheet["tables"]["tags.mood"]} == {"calm": 25, "dark": 25}
    assert sum(row[1] for row in sheet["tables"]["split"]) == 50 == sum(sheet["lengths"])
    assert sheet["measures"]["probe.width"] == [50, 640, 640, 640, 640, 640]
    page = (folder / "datasheet.html").read_text()
    assert page == draw_page(json.loads((folder / "datasheet.json").read_text()))
    assert "a&lt;b&gt;.mp4" in page and "a<b>" not in page and "Made &amp; tested" in page and "50.0%" in page
    with pytest.raises(InputError, match="no column with addresses"):
        (tmp_path / "other.csv").write_text("colour\nred\n")
        coverage(folder / "set.jsonl", tmp_path / "other.csv")
