"""How fast the decoder steps against what reading its weights and cache once would take, and how fast it composes.

    python bench/decoder_step.py [--model mini] [--seconds 12]

Memory bandwidth is measured in the same run, from reading an array far larger than the caches with one thread.
The step's time is the median over many, in the wall's and in the process's own time; on a shared machine only the
second means something, and with several threads it adds them up. Bars of issue 5: ratio 2.5, 4 times faster than real
time.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from openvmas.condition import AXES, Condition
from openvmas.generate.batch_decoder import Engine, plan_branches
from openvmas.generate.composer import ModelComposer
from openvmas.pretrained import Weights, find_weights
from openvmas.settings import GenerateOptions
from openvmas.timeline import Events

MAX_RATIO, MIN_SPEED = 2.5, 4.0
BIG = 256  # MB


@dataclass(frozen=True)
class Spent:
    """s by the clock on the wall, and of this process on all its threads."""

    wall: float
    own: float


def spend(work: Callable[[], object]) -> Spent:
    wall, own = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - own)


def bandwidth() -> float:
    """Bytes per second that one thread reads: the best of a sum, a greatest value and a scalar product."""
    source = np.ones(BIG * 2**20 // 4, np.float32)
    ways = (source.sum, source.max, lambda: source @ source)
    return source.nbytes / min(spend(way).own for way in ways for _ in range(5))


def step_bytes(weights: Weights, batch: int) -> int:
    """Of the weights (without embeddings, of which a step reads a few rows) and of a full cache."""
    sizes = weights.sizes
    table = sizes["n_codebooks"] * (sizes["codebook_size"] + 1) * sizes["width"] * 2
    n_wide = len(sizes["wide_layers"])
    slots = n_wide * (sizes["wide"] - 1) + (sizes["n_layers"] - n_wide) * (sizes["narrow"] - 1)
    cache = 2 * slots * sizes["n_groups"] * sizes["head_width"] * 4
    return weights.file("decoder").stat().st_size - table + batch * cache


def step_times(engine: Engine, batch: int, n: int = 60) -> Spent:
    """Median over n steps with a full cache."""
    state = engine.start(batch)
    for ring in (state.narrow, state.wide):
        ring.mask[:] = 0
    rng, sizes = np.random.default_rng(0), engine.sizes
    tokens = rng.integers(0, sizes["codebook_size"], (batch, sizes["n_codebooks"]))
    condition = rng.standard_normal((batch, sizes["width"])).astype(np.float32)
    found = [spend(lambda: engine.step(state, tokens, condition)) for _ in range(n)]
    return Spent(statistics.median(x.wall for x in found), statistics.median(x.own for x in found))


def make_condition(n_steps: int, rate: Fraction) -> Condition:
    """Accents every 0.8 s, a beat of 120 per minute, nothing said."""
    accents, steady = np.zeros(n_steps, np.float32), np.full(n_steps, 0.7, np.float32)
    accents[::40] = 0.8
    times = np.arange(n_steps) / float(rate)
    nothing = np.full((n_steps, len(AXES)), np.nan, np.float32)
    events = Events(rate, accents, steady, 0 * steady)
    end = times[-1] if n_steps else 0.0
    return Condition(events, np.arange(0, end, 0.5), np.arange(0, end, 2.0), nothing, times[::-1].copy(), times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--seconds", type=float, default=12.0, help="of music in each composition")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    weights, speed = find_weights(arguments.model), bandwidth()
    print(f"{weights.name} {weights.version}; one thread reads {speed / 1e9:.1f} GB/s\n")
    print("| pieces x branches | bytes a step, MB | read once, ms | step: wall, ms | own, ms | ratio (own) |")
    print("|---|---|---|---|---|---|")
    for batch in (1, 2, 3, 6):
        found, size = step_times(Engine(weights), batch), step_bytes(weights, batch)
        once = size / speed
        row = batch, f"{size / 1e6:.1f}", *(f"{1e3 * x:.2f}" for x in (once, found.wall, found.own))
        print("|", *(f"{cell} |" for cell in (*row, f"{found.own / once:.2f}")), flush=True)
    print("\nA step is one thread's; several candidates are heard, and their branches stepped, side by side.")
    print("\n| threads | candidates | guidance | times real time: wall | own time |\n|---|---|---|---|---|")
    for threads, candidates, guidance in itertools.product(arguments.threads, (1, 2, 3), (1.0, 3.0)):
        composer = ModelComposer(weights, threads)
        condition = make_condition(round(arguments.seconds * composer.engine.frame_rate), composer.engine.frame_rate)
        options = GenerateOptions(candidates=candidates, guidance=guidance, event_guidance=guidance)
        assert len(plan_branches(options)) == (1 if guidance == 1 else 2)
        next(composer.compose(condition, None, options))  # what happens once is not counted
        found = spend(lambda: [len(block) for block in composer.compose(condition, None, options)])  # noqa: B023
        row = threads, candidates, guidance, *(f"{arguments.seconds / x:.1f}" for x in (found.wall, found.own))
        print("|", *(f"{cell} |" for cell in row), flush=True)
    print(f"\nbars: ratio at most {MAX_RATIO}, at least {MIN_SPEED} times real time on 2 cores")


if __name__ == "__main__":
    main()
