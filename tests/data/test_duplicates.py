"""Copies are found whatever was done to them, other music and other pictures are left alone."""

import io
import itertools
import json

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.data.curation.record import read_catalogue, read_records
from openvmas.data.curation.set_splits import Split, describe_splits, make_set
from openvmas.data.duplicates import picture_print, sound_print
from openvmas.data.duplicates.groups import ArrayFile, Duplicates, Groups, KeyTable
from openvmas.errors import InputError, OptionError

from .made_sets import copy_peaks, copy_words, make_peaks, make_record, make_words, with_prints, write_work

SAMPLE_RATE = 16_000


def tune(seed, seconds=14.0):
    """Notes of a scale with overtones and a noisy attack, four a second in two voices: [L] float32."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    times = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 14, 16]) + rng.integers(0, 12)
    for start in range(0, len(wave) - len(times), SAMPLE_RATE // 4):
        for octave in (0, 12):
            pitch = 196 * 2 ** ((scale[rng.integers(len(scale))] + octave) / 12)
            tone = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 6))
            wave[start : start + len(times)] += (0.1 * tone * np.exp(-times * rng.uniform(4, 12))).astype(np.float32)
    return wave + (0.001 * rng.standard_normal(len(wave))).astype(np.float32)


def through_codec(wave, kind, subtype, level):
    data = io.BytesIO()
    soundfile.write(data, wave, SAMPLE_RATE, format=kind, subtype=subtype, compression_level=level)
    data.seek(0)
    return soundfile.read(data, dtype="float32")[0]


def faster(wave, ratio):
    return soxr.resample(wave, SAMPLE_RATE * ratio, SAMPLE_RATE)


CHANGES = {
    "MP3": lambda wave: through_codec(wave, "MP3", "MPEG_LAYER_III", 0.9),
    "Opus": lambda wave: through_codec(wave, "OGG", "OPUS", 0.95),
    "quieter and trimmed": lambda wave: 0.08 * wave[3 * SAMPLE_RATE : 11 * SAMPLE_RATE],
    "3 % faster": lambda wave: faster(wave, 1.03),
    "a semitone slower, MP3": lambda wave: through_codec(faster(wave, 2 ** (-1 / 12)), "MP3", "MPEG_LAYER_III", 0.9),
    "noise": lambda wave: wave + np.random.default_rng(0).normal(0, 0.1 * wave.std(), len(wave)).astype(np.float32),
}


@pytest.fixture(scope="module")
def heard():
    return [sound_print.find_peaks(tune(seed), SAMPLE_RATE) for seed in range(6)]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_sound_is_found_and_verified(heard, change):
    copy = sound_print.find_peaks(CHANGES[change](tune(2)), SAMPLE_RATE)
    keys = sound_print.sampled_keys(copy, 4)
    shared = [len(np.intersect1d(keys, sound_print.sampled_keys(peaks, 4))) for peaks in heard]
    assert shared[2] >= Duplicates().min_shared
    same = [Duplicates().is_same_sound(peaks, copy) for peaks in heard]
    assert same == [False, False, True, False, False, False]


def test_the_alignment_names_speed_and_pitch(heard):
    copy = sound_print.find_peaks(faster(tune(1), 1.04), SAMPLE_RATE)
    found = sound_print.align(heard[1], copy)
    assert found.speed == pytest.approx(1.04, abs=0.004)
    assert found.shift == pytest.approx(12 * np.log2(1.04), abs=0.15)
    assert found.share > 0.95 and found.agreement > 0.6 and found.chance < 0.3


def test_silence_and_short_sounds_have_no_peaks():
    assert len(sound_print.find_peaks(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)) == 0
    assert len(sound_print.find_peaks(np.ones(10, np.float32), SAMPLE_RATE)) == 0
    assert sound_print.align(np.zeros(0, np.uint32), make_peaks(0)) == sound_print.NO_ALIGNMENT
    with pytest.raises(ValueError, match="mono"):
        sound_print.find_peaks(np.zeros((2, 100), np.float32), SAMPLE_RATE)


def test_running_max_against_looking_everywhere():
    values = np.random.default_rng(0).normal(size=(40, 7))
    for radius in (1, 3, 6):
        expected = [values[max(0, i - radius) : i + radius + 1].max(axis=0) for i in range(len(values))]
        assert np.array_equal(sound_print.running_max(values, radius, 0), expected)
    assert np.array_equal(sound_print.running_max(values, 2, 1), sound_print.running_max(values.T, 2, 0).T)


def film(seed, n_shots=6, hold=5):
    """Smooth pictures, one a shot, that drift: [F, 192, 192] float."""
    rng = np.random.default_rng([3, seed])
    waves = np.cos(np.pi * np.arange(7)[:, None] * np.linspace(0, 1, 192))
    frames = []
    for _ in range(n_shots):
        weights = rng.normal(size=(7, 7)) / (1 + np.add.outer(np.arange(7), np.arange(7)))
        weights[0, 0] = 0
        picture = waves.T @ weights @ waves
        picture = 120 + 45 * (picture - picture.mean()) / picture.std()
        frames += [np.roll(picture, step, axis=1) for step in range(hold)]
    return np.array(frames)


def shrink(frames, top=0.0, bottom=1.0, left=0.0, right=1.0):
    """The part of a film between these shares of its height and width, as the stage sees it: [F, 64, 64] uint8."""
    rows = np.linspace(top * 192, bottom * 192 - 1, 192).astype(int)
    columns = np.linspace(left * 192, right * 192 - 1, 192).astype(int)
    part = frames[:, rows][:, :, columns].reshape(len(frames), 64, 3, 64, 3).mean(axis=(2, 4))
    return np.clip(part, 0, 255).astype(np.uint8)


def flat(frames):
    """A film squeezed to 40 of 64 rows: [F, 40, 64] uint8."""
    rows = np.linspace(0, 191, 200).astype(int)
    part = frames[:, rows].reshape(len(frames), 40, 5, 64, 3).mean(axis=(2, 4))
    return np.clip(part, 0, 255).astype(np.uint8)


VIEWS = {
    "noise": lambda f: shrink(f + np.random.default_rng(0).normal(0, 12, f.shape)),
    "mirrored": lambda f: shrink(f[:, :, ::-1]),
    "cropped": lambda f: shrink(f, 0.08, 0.92, 0.08, 0.92),
    "cropped at a corner and mirrored": lambda f: shrink(f[:, :, ::-1], 0.0, 0.88, 0.12, 1.0),
    "4:3": lambda f: shrink(f, 0, 1, 0.125, 0.875),
    "darker": lambda f: shrink(0.6 * f + 20),
    "trimmed": lambda f: shrink(f[7:24]),
    "letterbox": lambda f: np.pad(flat(f), ((0, 0), (12, 12), (0, 0))),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_changed_copy_of_a_picture_is_found_and_verified(view):
    copy = picture_print.hash_frames(VIEWS[view](film(1)))
    keys = picture_print.picture_keys(copy)
    for seed in range(4):
        words = picture_print.hash_frames(shrink(film(seed)))
        shared = len(np.intersect1d(keys, picture_print.picture_keys(words)))
        assert (shared >= Duplicates().min_shared) == (seed == 1)
        assert Duplicates().is_same_picture(words, copy) == Duplicates().is_same_picture(copy, words) == (seed == 1)


def test_the_same_pictures_in_another_order_are_another_film():
    frames = shrink(film(1, n_shots=8))
    other = np.concatenate([frames[first : first + 5] for first in (20, 5, 30, 0, 25, 15, 35, 10)])
    assert not Duplicates().is_same_picture(picture_print.hash_frames(frames), picture_print.hash_frames(other))


def test_black_frames_say_nothing():
    words = picture_print.hash_frames(np.zeros((5, 64, 64), np.uint8))
    assert not words.any() and not len(picture_print.picture_keys(words))
    assert picture_print.match(words, words) == picture_print.NO_MATCH
    with pytest.raises(ValueError, match="grey frames"):
        picture_print.hash_frames(np.zeros((5, 32, 64), np.uint8))


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 29), st.integers(0, 29)), max_size=40))
def test_groups_are_connected_components(n, pairs):
    pairs = [(a % n, b % n) for a, b in pairs]
    groups = Groups(n)
    expected = {i: {i} for i in range(n)}
    for a, b in pairs:
        groups.join(a, b)
        merged = expected[a] | expected[b]
        for member in merged:
            expected[member] = merged
    assert groups.roots().tolist() == [min(expected[i]) for i in range(n)] == [groups.find(i) for i in range(n)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sets(st.integers(0, 25), max_size=8), min_size=1, max_size=12), st.integers(1, 3))
def test_pairs_against_counting_all(tmp_path_factory, key_sets, min_shared):
    table = KeyTable(tmp_path_factory.mktemp("keys"))
    for record, keys in enumerate(key_sets):
        table.add(record, sound_print.mix(np.array(sorted(keys), np.uint64)))
    found = [tuple(pair) for pair in table.pairs(min_shared, reach=len(key_sets)).tolist()]
    numbers = range(len(key_sets))
    assert found == [
        (a, b) for a, b in itertools.combinations(numbers, 2) if len(key_sets[a] & key_sets[b]) >= min_shared
    ]


def test_a_key_that_all_share_costs_little_and_loses_no_group(tmp_path):
    table = KeyTable(tmp_path / "t")
    common = sound_print.mix(np.arange(20, dtype=np.uint64))
    for record in range(300):
        table.add(record, common)
    pairs = table.pairs(3, reach=4)
    assert len(pairs) < 300 * 4
    groups = Groups(300)
    for a, b in pairs.tolist():
        groups.join(a, b)
    assert (groups.roots() == 0).all()


def test_arrays_come_back_by_number(tmp_path):
    file = ArrayFile(tmp_path / "a", np.dtype("<u8"), 2)
    file.add(3, np.arange(6).reshape(3, 2))
    file.add(5, np.zeros((0, 2)))
    file.finish()
    assert file.get(3).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert file.get(4).shape == file.get(5).shape == file.get(9).shape == (0, 2)


def planted():
    """Twenty videos; 20 copies picture and sound of 3, 21 only its sound, 22 only its picture; 23, 24 are one file."""
    made = [with_prints(make_record(i), make_peaks(i), make_words(i)) for i in range(20)]
    sound, words = copy_peaks(make_peaks(3), 0, speed=1.04, shift=0.68), copy_words(make_words(3), 0, crop=2)
    made.append(with_prints(make_record(20), sound, words))
    made.append(with_prints(make_record(21), sound, make_words(21)))
    made.append(with_prints(make_record(22), make_peaks(22), words))
    parts = [make_record(23, uri="folder/long.mp4", start=start) for start in (0.0, 30.0)]
    made += [with_prints(part, make_peaks(23), make_words(23)) for part in parts]
    return made


def test_copies_of_both_are_dropped_and_of_one_kept_together(tmp_path):
    work = write_work(tmp_path / "work", planted(), shard=7)
    found = Duplicates()(read_catalogue(work), work, work / "scratch")
    assert np.flatnonzero(found.copy_of >= 0).tolist() == [20] and found.copy_of[20] == 3
    assert found.cluster[[3, 20, 21, 22]].tolist() == [3] * 4
    assert len(set(found.cluster.tolist())) == 25 - 3
    split = Split()(found, work, work / "scratch")
    assert len(set(split.group.tolist())) == 25 - 3 - 1 and split.group[23] == split.group[24]
    assert split.cluster.tolist() == found.cluster.tolist()  # parts of a file are no duplicates of each other
    any_of = Duplicates(alike="any")(read_catalogue(work), work, work / "scratch")
    copies = np.flatnonzero(any_of.copy_of >= 0).tolist()
    assert len(copies) == 3 and set(copies) < {3, 20, 21, 22}  # among equals the smallest hash stays


def test_the_best_copy_stays(tmp_path):
    made = planted()
    large = made[20][0].with_facts("probe", width=1920, height=1080)
    made[20] = (large, made[20][1])
    work = write_work(tmp_path / "work", made)
    found = Duplicates()(read_catalogue(work), work, work / "scratch")
    assert np.flatnonzero(found.copy_of >= 0).tolist() == [3] and found.copy_of[3] == 20


def test_what_is_listed_twice_is_in_the_set_once(tmp_path):
    made = planted()
    work = write_work(tmp_path / "work", [*made, made[20], made[5]])
    for stages in ((Duplicates(), Split()), (Split(),)):
        counts = make_set(work, tmp_path / "out", stages)
        names = [record.id for record in read_records(tmp_path / "out" / "set.jsonl")]
        assert len(set(names)) == len(names) == len(made) - (len(stages) == 2)
        assert counts["copies"] == len(made) + 2 - len(names)


def test_a_set_is_written_whole_with_its_drops(tmp_path):
    work = write_work(tmp_path / "work", planted())
    counts = make_set(work, tmp_path / "out", (Duplicates(), Split(valid=0.3, test=0.3)))
    records = list(read_records(tmp_path / "out" / "set.jsonl"))
    drops = [json.loads(line) for line in (work / "drops-set.jsonl").read_text().splitlines()]
    assert len(records) == 24 == sum(counts[name] for name in ("train", "valid", "test")) and counts["copies"] == 1
    assert [(drop["stage"], drop["reason"], drop["detail"]) for drop in drops] == [
        ("duplicates", "copy", planted()[3][0].id)
    ]
    by_cluster: dict = {}
    for record in records:
        by_cluster.setdefault(record.facts["duplicates.cluster"], set()).add(record.facts["split.name"])
    assert all(len(splits) == 1 for splits in by_cluster.values())
    assert len(by_cluster) < len(records), "no cluster has two records, so nothing was held together"
    first = (tmp_path / "out" / "set.jsonl").read_bytes()
    make_set(work, tmp_path / "out", (Duplicates(), Split(valid=0.3, test=0.3)))
    assert (tmp_path / "out" / "set.jsonl").read_bytes() == first
    assert not list(tmp_path.rglob("*.part")) and not list(work.glob("scratch-*"))


def test_a_split_that_chains_is_said_and_collections_are_optional(tmp_path):
    """Subfolders that near-duplicates tie together are one group, whatever shares were asked for."""
    made = [with_prints(make_record(i, collection=f"folder {i % 3}"), make_peaks(i), make_words(i)) for i in range(20)]
    for number, (original, folder) in enumerate(((0, 1), (3, 2)), 20):  # a copy of folder 0's in each of the others
        copy = with_prints(make_record(number, collection=f"folder {folder}"), make_peaks(original), make_words(number))
        made.append(copy)
    work = write_work(tmp_path / "work", made)
    stages = (Duplicates(), Split(valid=0.2, test=0.2))
    counts = make_set(work, tmp_path / "out", stages)
    assert counts["largest"] == len(made) and sum(counts[name] > 0 for name in ("train", "valid", "test")) == 1
    said = describe_splits(counts, stages)
    assert "22 of 22 records are held together" in said[-1] and "by_collection = false" in said[-1]
    assert sum("is empty, though" in line for line in said) == 2
    stages = (Duplicates(), Split(valid=0.2, test=0.2, by_collection=False))
    counts = make_set(work, tmp_path / "out", stages)
    assert counts["largest"] == 2 and describe_splits(counts, stages) == [] and counts["valid"] and counts["test"]
    records = list(read_records(tmp_path / "out" / "set.jsonl"))
    assert len({r.facts["split.group"] for r in records}) == len({r.facts["duplicates.cluster"] for r in records}) == 20


def splits_of(work, split):
    catalogue = split(read_catalogue(work), work, work / "s")
    return dict(zip(catalogue.ids.tolist(), catalogue.split.tolist(), strict=True))


def test_splits_hold_collections_together_and_stay_when_the_set_grows(tmp_path):
    made = [(make_record(i, collection=f"album {i % 40}"), {}) for i in range(200)]
    split = Split(valid=0.2, test=0.2)
    small = splits_of(write_work(tmp_path / "small", made[:100]), split)
    large = splits_of(write_work(tmp_path / "large", made), split)
    assert all(large[name] == place for name, place in small.items())
    albums: dict = {}
    catalogue = read_catalogue(tmp_path / "large")
    for collection, name in zip(catalogue.collection.tolist(), catalogue.ids.tolist(), strict=True):
        albums.setdefault(collection, set()).add(large[name])
    assert len(albums) == 40 and all(len(places) == 1 for places in albums.values())
    assert set(large.values()) == {0, 1, 2}
    assert splits_of(tmp_path / "large", Split(valid=0.2, test=0.2, seed="other")) != large


def test_shares_are_kept_for_many_clusters(tmp_path):
    made = [(make_record(i), {}) for i in range(2000)]
    places = np.array(list(splits_of(write_work(tmp_path / "work", made, 500), Split(valid=0.1, test=0.2)).values()))
    assert np.bincount(places, minlength=3) / 2000 == pytest.approx([0.7, 0.1, 0.2], abs=0.03)


def test_a_new_copy_of_a_training_record_never_gets_into_the_test_set(tmp_path):
    made = [with_prints(make_record(i), make_peaks(i), make_words(i)) for i in range(30)]
    split = Split(valid=0.3, test=0.3)
    make_set(write_work(tmp_path / "old", made), tmp_path / "out", (Duplicates(), split))
    before = {r.id: r.facts["split.name"] for r in read_records(tmp_path / "out" / "set.jsonl")}
    ties = [  # each new record sounds like one old one and looks like the next: all become one cluster
        with_prints(make_record(100 + i), copy_peaks(make_peaks(i), i), copy_words(make_words(i + 1), i))
        for i in range(29)
    ]
    work = write_work(tmp_path / "new", made + ties)
    kept = Split(valid=0.3, test=0.3, previous=str(tmp_path / "out" / "set.jsonl"))
    make_set(work, tmp_path / "grown", (Duplicates(), kept))
    after = {r.id: r.facts["split.name"] for r in read_records(tmp_path / "grown" / "set.jsonl")}
    assert "train" in before.values() and set(after.values()) == {"train"}


def test_bad_settings_and_files_are_named(tmp_path):
    with pytest.raises(OptionError, match="both or any"):
        Duplicates(alike="none")
    with pytest.raises(OptionError, match="smaller shares"):
        Split(valid=0.6, test=0.6)
    with pytest.raises(InputError, match="run the build's stages"):
        read_catalogue(tmp_path)
    work = write_work(tmp_path / "work", [(make_record(0), {})])
    with pytest.raises(InputError, match=r"older build"):
        splits_of(work, Split(previous=str(tmp_path / "none.jsonl")))
    (work / "records-00000.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="line 1 is not a record"):
        read_catalogue(work)
