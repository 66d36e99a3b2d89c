"""A finished set as batches for training: shuffled, split over ranks and workers, and resumed at the exact record.

The order is a pure function of seed and epoch, and a place in it is one number. So nothing but that number is kept to
resume; ranks and workers take turns in one order and can neither overlap nor lose anything; and the batches do not
depend on how many workers read them. Shuffling keeps reads near each other: shards are shuffled, and records among a
few neighbouring shards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openvmas.data.shards.tar_shards import read_run
from openvmas.errors import InputError, OptionError


class Clips:
    """Records of one split, read where they lie: `clips[i]` is a dict of `__key__`, `record` and arrays.

    It can be pickled and is opened by each worker for itself. Any PyTorch DataLoader takes it as a map-style dataset.
    """

    def __init__(self, folder: str | Path, split: str = "train", arrays: Sequence[str] | None = None) -> None:
        """folder: of a finished set. arrays: names that are wanted; all if None. Raises InputError."""
        self.folder, self.split, self._wanted = Path(folder), split, None if arrays is None else set(arrays)
        table = _read_index(self.folder / "index.parquet", split)
        shards, self.shard = np.unique(np.array(table["shard"], object), return_inverse=True)
        self.shards = [str(name) for name in shards]
        self.offset, self.size = (np.array(table[name], np.int64) for name in ("offset", "size"))
        if not len(self.offset):
            raise InputError(
                f"{folder} has no records in {split}; choose another split, or build the set with a larger share for "
                "it ([sets.split])."
            )

    def __len__(self) -> int:
        return len(self.offset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = self.folder / "shards" / f"{self.shards[self.shard[index]]}.tar"
        try:
            with path.open("rb") as file:
                file.seek(int(self.offset[index]))
                found = read_run(file.read(int(self.size[index])))
        except FileNotFoundError as error:
            raise InputError(f"{path} is missing; build the set again.") from error
        if self._wanted is None:
            return found
        return {name: found[name] for name in found if name in self._wanted or name in ("__key__", "record")}


def shuffled(shard: np.ndarray, seed: int, epoch: int, near: int) -> np.ndarray:
    """An order of records [N] whose shard numbers are given: a permutation of 0 to N - 1.

    Shards are shuffled, and records among `near` shards that follow each other in that order.
    """
    rng = np.random.default_rng([seed, epoch])
    starts = np.flatnonzero(np.concatenate([[True], shard[1:] != shard[:-1]]))
    ends = np.append(starts[1:], len(shard))
    turn = rng.permutation(len(starts))
    parts = []
    for first in range(0, len(turn), near):
        group = np.concatenate([np.arange(int(starts[i]), int(ends[i])) for i in turn[first : first + near]])
        parts.append(rng.permutation(group))
    return np.concatenate(parts)


def batches_of(order: np.ndarray, batch_size: int, rank: int, n_ranks: int, position: int = 0) -> list[np.ndarray]:
    """The batches of one rank from a position on; the ranks take turns record by record.

    All ranks get the same number of batches, and nothing is left out: at the end some batches are a record shorter, and
    one may be empty where there are fewer records left than ranks.
    """
    rest = order[position:]
    step = batch_size * n_ranks
    return [rest[first : first + step][rank::n_ranks] for first in range(0, len(rest), step)]


class Loader:
    """Batches of one rank, epoch after epoch. `for batch in loader` runs to the end of the epoch; the next goes on.

    epoch, position: so many records of the epoch have been given to all ranks together.
    """

    def __init__(
        self,
        clips: Clips,
        batch_size: int = 8,
        *,
        seed: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
        n_workers: int = 0,
        near: int = 8,
        is_shuffled: bool = True,
        collate: Callable[[list[dict[str, Any]]], Any] = list,
    ) -> None:
        """near: shards among which records are shuffled. n_workers: processes that read ahead (needs PyTorch).

        collate makes a batch of a list of records; with several workers it must be picklable. Raises OptionError.
        """
        if not 0 <= rank < n_ranks or batch_size < 1 or near < 1 or n_workers < 0:
            raise OptionError("rank must be below n_ranks, batch_size and near at least 1, n_workers at least 0.")
        self.clips, self.batch_size, self.seed, self.rank, self.n_ranks = clips, batch_size, seed, rank, n_ranks
        self.n_workers, self.near, self.is_shuffled, self.collate = n_workers, near, is_shuffled, collate
        self.epoch = self.position = 0

    def order(self, epoch: int) -> np.ndarray:
        """Order of the records in an epoch, equal on all ranks: [N]."""
        if not self.is_shuffled:
            return np.arange(len(self.clips))
        return shuffled(self.clips.shard, self.seed, epoch, self.near)

    def __iter__(self) -> Iterator[Any]:
        epoch, begin = self.epoch, self.position
        batches = batches_of(self.order(epoch), self.batch_size, self.rank, self.n_ranks, begin)
        step = self.batch_size * self.n_ranks
        for number, batch in enumerate(self._read(batches), 1):
            # The place is that after this batch: whoever saves it while working on the batch goes on with the next.
            self.epoch, self.position = epoch, min(begin + number * step, len(self.clips))
            yield batch
        self.epoch, self.position = epoch + 1, 0

    def __len__(self) -> int:
        """Batches until the end of this epoch."""
        return -(-(len(self.clips) - self.position) // (self.batch_size * self.n_ranks))

    def state_dict(self) -> dict[str, Any]:
        """State for `load_state_dict`. It fits any number of ranks and workers and any batch size."""
        place = {"epoch": self.epoch, "position": self.position}
        return {**place, "seed": self.seed, "near": self.near, "records": len(self.clips)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another loader of the same set stopped. Raises InputError if it was another set or order."""
        mine = self.state_dict()
        for name in ("seed", "near", "records"):
            if state.get(name) != mine[name]:
                raise InputError(f"the saved loader had {name} {state.get(name)}, not {mine[name]}; start a new epoch.")
        self.epoch, self.position = int(state["epoch"]), int(state["position"])

    def _read(self, batches: list[np.ndarray]) -> Iterator[Any]:
        if not self.n_workers:
            for batch in batches:
                yield self.collate([self.clips[int(index)] for index in batch])
            return
        from torch.utils.data import DataLoader

        yield from DataLoader(
            self.clips,  # type: ignore[arg-type]
            batch_sampler=[batch.tolist() for batch in batches],  # PyTorch keeps their order
            num_workers=self.n_workers,
            collate_fn=self.collate,
        )


def _read_index(path: Path, split: str) -> dict[str, list[Any]]:
    """Columns of the rows of a split. Raises InputError."""
    if not path.is_file():
        raise InputError(f"{path} is not there; give the folder of a finished set.")
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise InputError("reading a set needs pyarrow; install openvmas[data].") from error
    table = parquet.read_table(path, columns=["shard", "offset", "size"], filters=[("split", "=", split)])
    return table.to_pydict()
