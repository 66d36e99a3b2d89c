"""Many videos scored in the processes of this machine or of a Ray cluster, with a row of a table for each."""

from __future__ import annotations

import contextlib
import csv
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from openvmas.batch.clip import FAILED, BatchSettings, ClipResult, start
from openvmas.batch.manifest import Clip
from openvmas.errors import OptionError, OutputError
from openvmas.files import atomic_path, explain_write_errors
from openvmas.processes.cluster import open_pool
from openvmas.processes.limited import FAULT, Failure, LimitedProcess, Limits
from openvmas.processes.threads import share_of_cores

TIMEOUT = 21_600.0  # s, for one clip; a film of two hours takes one or two
COLUMNS = tuple(item.name for item in fields(ClipResult))
RETRIES = 2  # of a clip on which a process died
CARD = 0.25  # of a graphics card, for a process: the pictures are watched by the processor
PARQUET_ROWS = 10_000  # that are held in memory


def make_process(begin: Any, settings: BatchSettings, n: int, timeout: float) -> LimitedProcess:
    """A process that scores clip after clip, one of n that share the cores of a machine. begin: `clip.start`."""
    return LimitedProcess(
        begin, settings, Limits(timeout), is_trusted=True, remedy="raise --timeout", environment=share_of_cores(n)
    )


def score_clips(
    clips: Iterable[Clip], settings: BatchSettings, *, workers: int = 1, ray: str | None = None,
    timeout: float = TIMEOUT, tell: Callable[[Clip, tuple[str, float]], None] = lambda clip, done: None,
) -> Iterator[ClipResult]:  # fmt: skip
    """The result of each clip as it comes, in any order; the clips are read while others are being scored.

    A clip whose process dies is tried again, RETRIES times; when a worker or node of the cluster dies, what it was
    doing is done by others. workers: processes of this machine. ray: address of a cluster. tell: is called in other
    threads with a clip, the stage that it is at and the share of it; not on a cluster. Raises OptionError.
    """
    n = workers if ray is None else 1_000  # a job of the cluster has one core
    make = functools.partial(make_process, start, settings, n, timeout)
    cards = CARD if settings.options.get("device") == "cuda" else 0.0
    with open_pool(workers, make, ray, retries=RETRIES, cards=cards) as pool:
        for clip, answer in pool.run(clips, tell):
            yield failed(clip, answer) if isinstance(answer, Failure) else answer


def failed(clip: Clip, failure: Failure) -> ClipResult:
    """The row of a clip that was not scored."""
    sentence = failure.sentence
    if failure.cause == FAULT:
        sentence = (
            f"{sentence.rstrip('.')}; this is a fault of openvmas: score the video alone with --debug, report it."
        )
    return ClipResult(clip.index, clip.video, FAILED, error=sentence, is_fault=failure.cause == FAULT)


@dataclass(frozen=True)
class Summary:
    """Number of clips by status, and what they cost: s of processor time, and of video scored now."""

    counts: Counter[str]
    processor_seconds: float
    duration: float
    n_faults: int


def score_to_table(
    results: Iterable[ClipResult], table: Path | None, say: Callable[[int, ClipResult], None]
) -> Summary:
    """Write results into a table as they come, and sum them up. say: is told how many there are, and the latest.

    Of two results of one clip the first counts.
    """
    counts, cost, duration, n_faults = Counter[str](), 0.0, 0.0, 0
    with open_table(table) as write:
        for result in results:
            counts[result.status] += 1
            cost, n_faults = cost + result.processor_seconds, n_faults + result.is_fault
            duration += (result.duration or 0.0) if result.status != FAILED else 0.0
            write(result)
            say(counts.total(), result)
    return Summary(counts, cost, duration, n_faults)


def check_table(table: Path) -> None:
    """Raises OptionError for another ending, OutputError where something else than such a table lies there."""
    if table.suffix not in (".csv", ".parquet"):
        raise OptionError(f"the table is written as CSV or Parquet; end {table} in .csv or .parquet.")
    if table.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise OptionError("Parquet needs pyarrow; run: pip install 'openvmas[data]'.") from error
    if table.exists() and _columns_of(table) != COLUMNS:
        raise OutputError(f"{table} exists already and is no table of results; give another name with --table.")


def _columns_of(table: Path) -> tuple[str, ...]:
    try:
        if table.suffix == ".parquet":
            from pyarrow import parquet

            return tuple(parquet.read_schema(table).names)
        with table.open(encoding="utf-8", newline="") as file:
            return tuple(next(csv.reader(file), ()))
    except (OSError, ValueError):
        return ()


@contextlib.contextmanager
def open_table(table: Path | None) -> Iterator[Callable[[ClipResult], None]]:
    """A function that adds a row; the table gets its name when all rows are there."""
    if table is None:
        yield lambda result: None
        return
    with explain_write_errors(table.parent), atomic_path(table) as hidden:
        opened = _parquet(hidden) if table.suffix == ".parquet" else _csv(hidden)
        with opened as write:
            yield write


@contextlib.contextmanager
def _csv(path: Path) -> Iterator[Callable[[ClipResult], None]]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        yield lambda result: writer.writerow(asdict(result))


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Callable[[ClipResult], None]]:
    import pyarrow as pa
    from pyarrow import parquet

    kinds: dict[str, Any] = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema(
        [(item.name, kinds.get(str(item.type).split(" ")[0], pa.string())) for item in fields(ClipResult)]
    )
    rows: list[dict[str, Any]] = []
    with parquet.ParquetWriter(path, schema) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            rows.clear()

        def write(result: ClipResult) -> None:
            rows.append(asdict(result))
            if len(rows) >= PARQUET_ROWS:
                flush()

        yield write
        flush()
