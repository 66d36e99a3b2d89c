"""The loader gives every record once an epoch, whatever the ranks, workers, batch sizes and interruptions."""

import itertools
import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openvmas.data.curation.set_splits import Split, make_set
from openvmas.data.shards.loader import Clips, Loader, batches_of, shuffled
from openvmas.data.shards.tar_shards import write_shards
from openvmas.errors import InputError, OptionError

from .made_sets import make_record, write_work

pytest.importorskip("pyarrow.parquet")
N = 61


def made():
    for number in range(N):
        record = make_record(number)
        yield (
            type(record)(**{**vars(record), "arrays": ("codes", "curve")}),
            {
                "codes": np.full((2, 3), number, np.uint16),
                "curve": np.zeros(5, np.float32),
            },
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    work = write_work(folder / "work", made(), shard=16)
    make_set(work, folder, (Split(valid=0.0, test=0.0),))
    write_shards(folder, work, 7)
    return folder


@pytest.fixture(scope="module")
def clips(folder):
    return Clips(folder)


def numbers(batches):
    return [[int(clip["codes"][0, 0]) for clip in batch] for batch in batches]


@settings(deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(0, 99), st.integers(0, 3), st.integers(1, 5))
def test_every_order_is_a_permutation_that_stays_near_its_shards(sizes, seed, epoch, near):
    shard = np.repeat(np.arange(len(sizes)), sizes)
    order = shuffled(shard, seed, epoch, near)
    assert sorted(order.tolist()) == list(range(len(shard)))
    assert np.array_equal(order, shuffled(shard, seed, epoch, near))
    left = shard[order].tolist()
    while left:  # `near` shards are read to their ends before another is begun
        group = list(dict.fromkeys(left))[:near]
        n = sum(sizes[number] for number in group)
        assert set(left[:n]) == set(group)
        left = left[n:]


def test_epochs_and_seeds_differ():
    shard = np.repeat(np.arange(10), 10)
    orders = [shuffled(shard, seed, epoch, 4).tolist() for seed in range(3) for epoch in range(3)]
    assert len({tuple(order) for order in orders}) == 9


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(1, 9), st.integers(1, 6), st.integers(0, 80))
def test_ranks_neither_overlap_nor_lose_anything(n, batch_size, n_ranks, position):
    order = np.random.default_rng(n).permutation(n)
    position = min(position, n)
    ranks = [batches_of(order, batch_size, rank, n_ranks, position) for rank in range(n_ranks)]
    assert len({len(batches) for batches in ranks}) == 1
    given_out = [index for batches in ranks for batch in batches for index in batch.tolist()]
    assert sorted(given_out) == sorted(order[position:].tolist())
    assert all(len(batch) <= batch_size for batches in ranks for batch in batches)
    full = (n - position) // (batch_size * n_ranks)
    assert all(len(batch) == batch_size for batches in ranks for batch in batches[:full])


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 9), st.integers(1, 4), st.data())
def test_a_resumed_loader_goes_on_at_the_exact_record(clips, batch, n_ranks, later_batch, later_ranks, data):
    loaders = [Loader(clips, batch, seed=5, rank=rank, n_ranks=n_ranks) for rank in range(n_ranks)]
    n_before = data.draw(st.integers(0, len(loaders[0])))
    before = []
    for loader in loaders:
        for got in itertools.islice(iter(loader), n_before):
            before += numbers([got])[0]
    states = [loader.state_dict() for loader in loaders]
    assert all(state == states[0] for state in states)
    after = []
    for rank in range(later_ranks):
        resumed = Loader(clips, later_batch, seed=5, rank=rank, n_ranks=later_ranks)
        resumed.load_state_dict(states[0])
        for got in numbers(resumed):
            after += got
        assert resumed.state_dict()["epoch"] == 1 and resumed.state_dict()["position"] == 0
    assert sorted(before + after) == list(range(N))


def test_the_batches_after_a_resume_are_those_of_an_undisturbed_run(clips):
    loader = Loader(clips, 4, seed=1, near=2)
    undisturbed = numbers(loader) + numbers(loader)
    other, seen = Loader(clips, 4, seed=1, near=2), []
    while len(seen) < len(undisturbed):
        state = other.state_dict()
        other = Loader(clips, 4, seed=1, near=2)  # as a new process would
        other.load_state_dict(state)
        for batch in itertools.islice(iter(other), 5):
            seen += numbers([batch])
            if other.state_dict()["epoch"] == 1 and len(seen) < len(undisturbed) // 2:
                raise AssertionError("the epoch ended early")
    assert seen == undisturbed
    assert undisturbed[: len(undisturbed) // 2] != undisturbed[len(undisturbed) // 2 :]


@pytest.mark.filterwarnings("ignore")  # PyTorch's own about forks and cores
def test_workers_change_nothing(clips):
    pytest.importorskip("torch")
    plain = Loader(clips, 4, seed=2, rank=1, n_ranks=2)
    expected = numbers(plain)
    with_workers = Loader(clips, 4, seed=2, rank=1, n_ranks=2, n_workers=2)
    got = []
    for batch in with_workers:
        got += numbers([batch])
        if len(got) == 3:
            break
    state = with_workers.state_dict()
    assert state["position"] == 3 * 8
    with_workers.load_state_dict(state)
    assert got + numbers(with_workers) == expected
    assert multiprocessing.active_children() == []


def test_only_the_arrays_that_are_wanted_are_given(folder):
    clip = Clips(folder, arrays=["codes"])[3]
    assert sorted(clip) == ["__key__", "codes", "record"] and clip["record"].id == clip["__key__"]
    assert sorted(Clips(folder)[3]) == ["__key__", "codes", "curve", "record"]
    assert pickle.loads(pickle.dumps(Clips(folder)))[3]["__key__"] == clip["__key__"]


def test_unshuffled_is_the_order_of_the_index(clips):
    assert list(itertools.chain(*numbers(Loader(clips, 10, is_shuffled=False)))) == list(range(N))


def test_collate_makes_the_batch(clips):
    batch = next(iter(Loader(clips, 3, collate=lambda clips: np.stack([clip["codes"] for clip in clips]))))
    assert batch.shape == (3, 2, 3)


def test_wrong_use_is_named(clips, folder, tmp_path):
    with pytest.raises(InputError, match="no records in test"):
        Clips(folder, "test")
    with pytest.raises(InputError, match="finished set"):
        Clips(tmp_path)
    with pytest.raises(OptionError, match="below n_ranks"):
        Loader(clips, rank=2, n_ranks=2)
    with pytest.raises(InputError, match="had seed 3, not 0"):
        Loader(clips).load_state_dict(Loader(clips, seed=3).state_dict())
