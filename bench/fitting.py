"""How well are recordings fitted? The figures that docs/fitting.md states, on albums that nothing was tuned on.

    python bench/fitting.py PACKAGES [--tracks 24] [--sung 10] [--videos FOLDER] [--folder MUSIC] [--only sync]

PACKAGES: folder of unpacked Debian packages (`data.sources.free_music`). hits: recordings of the held-out albums fitted
to random lengths with random hits. joins: changes of spectrum, level and pitch classes at joins, against those at all
other bar lines of the same pieces and at random jumps between bar lines of the same recordings. sync: z of `music.sync`
on videos, for one recording drawn by lot, the best of a folder, and with --sweeten. times: seconds of processor time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from openvmas.fitting.anchoring import anchor
from openvmas.fitting.arrangement import Arrangement, Limits, Run, arrange
from openvmas.fitting.composer import Recording
from openvmas.fitting.library import Library, choose
from openvmas.fitting.rendering import Join, Renderer
from openvmas.fitting.sound import Sound
from openvmas.fitting.track import Track
from openvmas.fitting.wishes import Wishes
from openvmas.media.audio import map_wav, write_wav
from openvmas.music.beats import CHROMA_RATE, take_chroma
from openvmas.music.onsets import ONSET_RATE, onset_strength, pick_onsets, take_spectrogram
from openvmas.music.sync import sync_z
from openvmas.planning.planner import make_plan
from openvmas.planning.schema import ScorePlan
from openvmas.settings import SAMPLE_RATE_OUT, PlanOptions
from openvmas.sweetening.stem import sweeten
from openvmas.vision.analysis import VideoAnalysis, analyze

# Weights and limits were chosen on the first list; every figure is of the second.
TUNED_ON = (
    "flare-game", "freedroidrpg-data", "hedgewars-data", "megaglest-data", "nexuiz-music", "redeclipse-data",
    "supertux-data", "unknown-horizons",
)  # fmt: skip
HELD_OUT = (
    "0ad-data", "lincity-ng-data", "marsshooter-data", "naev-data", "openclonk-data", "pushover-data",
    "singularity-music", "starfighter-data", "supertuxkart-data", "ufoai-music", "warzone2100-music",
    "wesnoth-1.16-music", "widelands-data",
)  # fmt: skip
SHORTEST, LONGEST = 40.0, 420.0  # s of the recordings that are used
NEAR = 0.04  # s
DRIFT_REACH, LIKE, PLANTED = 0.06, 0.5, 0.02  # s; correlation from which two bars have the same rhythm; s
TARGETS = (30.0, 75.0)  # s


def draw(packages: Path, albums: tuple[str, ...], n: int, seed: int) -> list[Recording]:
    """n recordings drawn by lot, albums in turn."""
    rng = np.random.default_rng(seed)
    found: list[Recording] = []
    files = {album: sorted((packages / album).rglob("*.ogg")) for album in albums}
    order = {album: list(rng.permutation(len(paths))) for album, paths in files.items()}
    while len(found) < n and any(order.values()):
        for album in albums:
            while order[album] and len(found) < n:
                path = files[album][order[album].pop()]
                if path.stat().st_size < 300_000:
                    continue
                recording = Recording.open(path)
                if SHORTEST <= recording.track.duration <= LONGEST:
                    found.append(recording)
                    break
    return found


def play(
    recording: Recording, arrangement: Arrangement, seconds: float, wishes: Wishes | None = None
) -> tuple[np.ndarray, Renderer]:
    """The whole sound [2, L] and what played it. wishes: the first of their hits ends the fade with which it begins."""
    first = float(wishes.hits.min(initial=np.inf)) if wishes else np.inf
    renderer = Renderer(recording.sound, recording.track, arrangement, round(seconds * SAMPLE_RATE_OUT), first)
    return np.concatenate(list(renderer.blocks()), axis=1), renderer


def interval(values: np.ndarray, seed: int = 0) -> str:
    """Mean and its 95 % interval by the bootstrap."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (2000, len(values))).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{values.mean():+.2f} [{low:+.2f}, {high:+.2f}]"


def bench_hits(recordings: list[Recording], seed: int) -> None:
    """Lengths, endings and hits of pieces with random lengths and hits."""
    rng = np.random.default_rng(seed)
    near_onset, on_bar, by_chance, met = [], [], [], []
    exact, kept, stretches, joins = [], [], [], []
    for recording in recordings:
        track = recording.track
        for _ in range(2):
            seconds = float(rng.uniform(*TARGETS))
            hits = np.sort(rng.uniform(3, seconds - 3, int(rng.integers(1, 4))))
            hits = hits[np.concatenate([[True], np.diff(hits) > 2])]
            wishes = Wishes.of_user(seconds, tuple(hits))
            arrangement, answers = anchor(track, arrange(track, wishes), wishes.user_hits)
            wave, _ = play(recording, arrangement, seconds, wishes)
            onsets = pick_onsets(onset_strength(wave, SAMPLE_RATE_OUT))
            bars = arrangement.target_times(track.marks[1:-1])
            for hit, answer in zip(hits, answers, strict=True):
                near_onset.append(bool(len(onsets)) and np.abs(onsets - hit).min() <= NEAR)
                met.append(answer.kind != "nothing")
                if not track.is_free:
                    on_bar.append(bool(len(bars)) and np.abs(bars - hit).min() <= NEAR)
            by_chance += [np.abs(onsets - t).min() <= NEAR for t in rng.uniform(1, seconds - 1, 10) if len(onsets)]
            exact.append(wave.shape[1] == round(seconds * SAMPLE_RATE_OUT))
            last = arrangement.target_times(np.array([track.last]))
            kept.append(bool(len(last)) and last[-1] < seconds)
            stretches += [abs(run.rate - 1) for run in arrangement.runs]
            joins.append(len(arrangement.joins))
    print(f"hits: {len(recordings)} recordings, {len(exact)} pieces, {len(near_onset)} hits")
    print(f"  length exact to the sample {np.mean(exact):.0%}, last beat kept {np.mean(kept):.0%}")
    of_met = np.array(near_onset)[np.array(met)]
    print(
        f"  hits met {np.mean(met):.0%}; of those within 40 ms of an onset {of_met.mean():.0%} (random times "
        f"{np.mean(by_chance):.0%}); of all hits in music with a beat, on a bar line {np.mean(on_bar):.0%}"
    )
    print(
        f"  joins a piece {np.mean(joins):.2f}; stretch at most {max(stretches):.3f}, above 4 % in "
        f"{np.mean(np.array(stretches) > 0.0405):.1%} of the parts"
    )


def drift_at(strength: np.ndarray, join: Join, rate: float, track: Track) -> float | None:
    """How far the music after a join lies from where the recording would have gone on, s; None where that is unclear.

    strength: [T] onset strength of the finished piece. The bar after the join is compared, attack for attack and those
    off the beat too, with the bar that would have come, or the bar before it with the one that comes before where the
    join leads, whichever is more alike. The distances of onsets to the nearest beat, which served here before, are as
    great at bar lines without a join (median 19 ms, 90 % 33 ms): they measure the rhythm.
    """
    if track.is_free:
        return None
    bar = track.beats_per_bar * 60 / track.tempo
    after = np.arange(-0.03, bar, 1 / float(ONSET_RATE))
    found = [
        lag_of(strength, join.time + after, track, join.source_from + after * rate, rate),
        lag_of(strength, join.time - after, track, join.source_to - after * rate, rate),
    ]
    lag, agreement = max(found, key=lambda one: one[1])
    return lag if agreement > LIKE else None


def lag_of(
    strength: np.ndarray, times: np.ndarray, track: Track, source: np.ndarray, rate: float
) -> tuple[float, float]:
    """(lag in s, correlation) at which a piece at some times is most like the recording at others, s each."""
    per_second = float(ONSET_RATE)
    heard = np.interp(times, np.arange(len(strength)) / per_second, strength)
    own = np.arange(len(track.strength)) / per_second
    lags = np.arange(-DRIFT_REACH, DRIFT_REACH + 1e-9, 0.001)
    wanted = np.stack([np.interp(source - lag * rate, own, track.strength) for lag in lags])
    wanted -= wanted.mean(axis=1, keepdims=True)
    norm = np.sqrt((wanted**2).sum(axis=1)) * heard.std() * np.sqrt(len(heard))
    agreement = wanted @ (heard - heard.mean()) / np.maximum(norm, 1e-9)
    best = int(agreement.argmax())
    return float(lags[best]), float(agreement[best])


@dataclass(frozen=True)
class Changes:
    """Change of the sound from the beat before some moments to the beat after them: [N] each."""

    spectrum: np.ndarray
    level: np.ndarray
    chroma: np.ndarray


def changes_at(wave: np.ndarray, times: np.ndarray, period: float) -> Changes:
    """spectrum: mean over bands, dB; level: dB; chroma: 1 less the cosine."""
    seen = take_spectrogram(wave, SAMPLE_RATE_OUT)
    least = max(float(seen.mel.max(initial=0.0)) * 1e-3, 1e-9)
    bands = 20 * np.log10(np.maximum(seen.mel, least))
    level = 10 * np.log10(np.maximum(seen.power, 1e-8))[:, None]
    found = []
    for curve, rate in (
        (bands, float(ONSET_RATE)),
        (level, float(ONSET_RATE)),
        (take_chroma(seen), float(CHROMA_RATE)),
    ):
        rows = []
        for moment in times:
            low, middle, high = (round((moment + k * period) * rate) for k in (-1, 0, 1))
            low, high = max(low, 0), min(max(high, middle + 1), len(curve))
            rows.append(
                (curve[low : max(middle, low + 1)].mean(axis=0), curve[min(middle, high - 1) : high].mean(axis=0))
            )
        found.append(rows)
    cosine = [1 - float(a @ b) / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-9) for a, b in found[2]]
    return Changes(
        np.array([float(np.abs(a - b).mean()) for a, b in found[0]]),
        np.array([float(np.abs(a - b).mean()) for a, b in found[1]]),
        np.array(cosine),
    )


def random_jumps(track: Track, arrangement: Arrangement, rng: np.random.Generator) -> Arrangement:
    """The arrangement with every join led to a bar line drawn by lot."""
    runs: list[Run] = []
    for run in arrangement.runs:
        if run.is_joined:
            length = run.source_end - run.source_start
            allowed = track.marks[1:-1][track.marks[1:-1] + length < track.end]
            start = float(rng.choice(allowed)) if len(allowed) else run.source_start
            run = replace(run, source_start=start, source_end=start + length)
        runs.append(run)
    return Arrangement(tuple(runs), arrangement.value)


def bench_joins(recordings: list[Recording], seed: int) -> None:
    """Changes at joins, at other bar lines and at random jumps."""
    rng = np.random.default_rng(seed)
    rows: dict[str, list[list[float]]] = {"joins": [], "random jumps": []}
    n_sung = n_joins = 0
    drifts: list[float | None] = []
    planted: list[float | None] = []
    for recording in recordings:
        track = recording.track
        period = 0.5 if track.is_free else 60 / track.tempo
        for seconds in (0.45 * track.duration, 1.3 * track.duration):
            seconds = float(np.clip(seconds, 20, 150))
            wishes = replace(Wishes.of_user(seconds, ()), keeps_beginning=True)
            arrangement = arrange(track, wishes, Limits(seed=int(rng.integers(1, 99))))
            if not arrangement.joins:
                continue
            n_joins += len(arrangement.joins)
            pairs = zip(arrangement.runs, arrangement.runs[1:], strict=False)
            sides = [np.array([before.source_end, run.source_start]) for before, run in pairs if run.is_joined]
            n_sung += sum(bool(track.is_sung(places).any()) for places in sides)
            joined = {"joins": arrangement, "random jumps": random_jumps(track, arrangement, rng)}
            for name, one in joined.items():
                wave, renderer = play(recording, one, seconds)
                if name == "joins":
                    strength = onset_strength(wave, SAMPLE_RATE_OUT)
                    rates = [run.rate for run in one.runs if run.is_joined]
                    for join, rate in zip(renderer.joins, rates, strict=True):
                        drifts.append(drift_at(strength, join, rate, track))
                        moved = replace(join, time=join.time - PLANTED)
                        planted.append(drift_at(strength, moved, rate, track))
                times = np.array([t for t in one.joins if period < t < seconds - 2 * period])
                bars = one.target_times(track.marks[1:-1])
                bars = bars[(bars > period) & (bars < seconds - 3)]
                bars = bars[[np.abs(times - bar).min() > 2 * period if len(times) else True for bar in bars]]
                if not len(times) or len(bars) < 4:
                    continue
                at, usual = changes_at(wave, times, period), changes_at(wave, bars, period)
                rows[name].append([
                    float(((a - b.mean()) / max(b.std(), 1e-6)).mean())
                    for a, b in ((at.spectrum, usual.spectrum), (at.level, usual.level), (at.chroma, usual.chroma))
                ])  # fmt: skip
    print(
        f"joins: {n_joins} joins, {n_sung} of them in a sung phrase; change at them less that at other bar lines of the"
    )
    print("  same piece, in standard deviations of these (0: not distinguishable), mean of pieces and 95 % interval")
    for name, values in rows.items():
        table = np.array(values)
        cells = [f"{kind} {interval(table[:, k])}" for k, kind in enumerate(("spectrum", "level", "chroma"))]
        print(f"  {name} ({len(table)} pieces): {'; '.join(cells)}")
    clear, found = (1000 * np.array([d for d in values if d is not None]) for values in (drifts, planted))
    if len(clear):
        print(
            f"  drift at {len(clear)} of {len(drifts)} joins (the others lead to another rhythm), ms: median "
            f"{np.median(np.abs(clear)):.1f}, 90 % {np.quantile(np.abs(clear), 0.9):.1f}; {1000 * PLANTED:.0f} ms that "
            f"were planted are found as {np.median(found):.0f}"
        )


def watch(folder: Path) -> list[VideoAnalysis]:
    """Analyses of the videos of a folder, kept beside the user's other measurements."""
    from openvmas.eval.suites.cache import Cache

    cache = Cache()
    return [cache.picture(cache.key(path), path) for path in sorted(folder.glob("*.mp4"))] or [
        analyze(path) for path in sorted(folder.glob("*.mkv"))
    ]


def bench_sync(
    recordings: list[Recording], videos: list[VideoAnalysis], folder: Path | None, seed: int, write: Path | None
) -> None:
    """z of one recording drawn for each video and seed, of the best of a folder, and of both with --sweeten.

    write: folder for the best ones, fitted and cut from their beginning, which bench/fad.py compares.
    """
    found: dict[str, list[float]] = {"drawn by lot, trimmed": [], "drawn by lot, fitted": [], "fitted, sweetened": []}
    library = Library.open(folder) if folder else None
    if library is not None:
        library.used = []
        found |= {"best of the folder, fitted": [], "best, fitted, sweetened": []}
    chosen = set()
    for draw_seed in range(3):
        rng = np.random.default_rng((seed, draw_seed))
        for picture in videos:
            plan = make_plan(picture, PlanOptions(), draw_seed)
            wishes, seconds = Wishes.of_plan(plan), float(plan.duration)
            recording = recordings[int(rng.integers(len(recordings)))]
            first = int(rng.uniform(0, max(recording.track.duration - seconds, 0)) * float(ONSET_RATE))
            cut = recording.track.strength[first:]
            found["drawn by lot, trimmed"].append(sync_z(cut, picture.visual_beats, plan.duration).z)
            wave, _ = play(recording, arrange(recording.track, wishes), seconds, wishes)
            measure_both(found, "drawn by lot, fitted", "fitted, sweetened", wave, picture, plan, draw_seed)
            if library is not None and draw_seed == 0:
                entry = choose(library, wishes, plan)[0].entry
                chosen.add(entry.name)
                best = Recording.open(library.path(entry), library.cache)
                wave, _ = play(best, arrange(best.track, wishes), seconds, wishes)
                names = ("best of the folder, fitted", "best, fitted, sweetened")
                measure_both(found, *names, wave, picture, plan, draw_seed)
                if write:
                    start = Arrangement((Run(0.0, best.track.start, best.track.start + seconds, 1.0),), 0.0)
                    for name, sound in (("best", wave), ("best, trimmed", play(best, start, seconds)[0])):
                        (write / name).mkdir(parents=True, exist_ok=True)
                        write_wav(write / name / f"{len(found[names[0]])}.wav", sound, SAMPLE_RATE_OUT)
    print(f"sync: {len(videos)} videos, z and its standard error")
    for name, values in found.items():
        print(f"  {name}: {np.mean(values):.2f} ± {np.std(values) / np.sqrt(len(values)):.2f} ({len(values)})")
    if library is not None:
        print(f"  the folder has {len(library.entries)} recordings, of which {len(chosen)} were chosen")


def measure_both(
    found: dict[str, list[float]], plain: str, added: str, wave: np.ndarray, picture: VideoAnalysis, plan: ScorePlan,
    seed: int,
) -> None:  # fmt: skip
    """Add z of a wave, and of the same with --sweeten."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "music.wav"
        write_wav(path, wave, SAMPLE_RATE_OUT)
        sweeten(path, plan, 0.0, seed)
        sweetened = np.array(map_wav(path)[0])
    for name, sound in ((plain, wave), (added, sweetened)):
        strength = onset_strength(sound, SAMPLE_RATE_OUT)
        found[name].append(sync_z(strength, picture.visual_beats, plan.duration).z)


def write_pieces(recordings: list[Recording], videos: list[VideoAnalysis], folder: Path, seed: int) -> None:
    """The same recordings fitted, sweetened and trimmed, as WAV files for bench/fad.py.

    Each recording once: of several pieces the fitted ones share its ending, and the trimmed ones share nothing.
    """
    for name in ("fitted", "sweetened", "trimmed"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number, recording in enumerate(recordings):
        picture = videos[number % len(videos)]
        plan = make_plan(picture, PlanOptions(), seed)
        seconds = float(plan.duration)
        wishes = Wishes.of_plan(plan)
        wave, _ = play(recording, arrange(recording.track, wishes), seconds, wishes)
        for name in ("fitted", "sweetened"):
            write_wav(folder / name / f"{number}.wav", wave, SAMPLE_RATE_OUT)
        sweeten(folder / "sweetened" / f"{number}.wav", plan, 0.0, seed)
        start = float(rng.uniform(0, max(recording.track.duration - seconds, 0)))
        whole = Arrangement((Run(0.0, start, start + seconds, 1.0),), 0.0)
        write_wav(folder / "trimmed" / f"{number}.wav", play(recording, whole, seconds)[0], SAMPLE_RATE_OUT)


def bench_times(recordings: list[Recording], folder: Path | None) -> None:
    """Processor time for one minute."""
    from openvmas.fitting.track import hear

    if folder:
        library, moments = Library.open(folder), np.sort(np.random.default_rng(0).uniform(1, 59, 25))
        wishes = Wishes(Fraction(60), moments, np.linspace(0.5, 1, 25), np.zeros(25, bool))
        began = time.process_time()
        choose(library, wishes, None)
        print(f"times: choosing from {len(library.entries)} recordings {time.process_time() - began:.2f} s")

    found = []
    for recording in recordings[:8]:
        marks = [time.process_time()]
        fresh = replace(recording, sound=Sound(recording.path))
        track = hear(recording.path, fresh.sound)
        marks.append(time.process_time())
        wishes = Wishes.of_user(60.0, (20.0,))
        arrangement = arrange(track, wishes)
        marks.append(time.process_time())
        play(fresh, arrangement, 60.0)
        marks.append(time.process_time())
        found.append([*np.diff(marks), recording.track.duration])
    listening, planning, rendering, length = np.mean(found, axis=0)
    print(f"times: 60 s from recordings of {length:.0f} s: listening {listening:.2f} s, planning {planning:.2f} s, "
          f"reading and rendering {rendering:.2f} s of processor time")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--tracks", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=Path)
    parser.add_argument("--folder", type=Path, help="recordings of which the best is taken")
    parser.add_argument("--write", type=Path, help="folder for pieces that bench/fad.py compares")
    parser.add_argument("--sung", type=int, help="so many of the recordings, those in which most is sung")
    parser.add_argument("--only", default="hits,joins,sync,times")
    parser.add_argument("--tuned-on", action="store_true", help="use the albums that were tuned on instead")
    arguments = parser.parse_args()
    albums = TUNED_ON if arguments.tuned_on else HELD_OUT
    recordings = draw(arguments.packages, albums, arguments.tracks, arguments.seed)
    if arguments.sung:
        share = {r.sha256: float(np.diff(r.track.sung, axis=1).sum()) / r.track.duration for r in recordings}
        recordings = sorted(recordings, key=lambda r: -share[r.sha256])[: arguments.sung]
        print("sung, share of each:", ", ".join(f"{share[r.sha256]:.2f}" for r in recordings))
    wanted = arguments.only.split(",")
    if "hits" in wanted:
        bench_hits(recordings, arguments.seed)
    if "joins" in wanted:
        bench_joins(recordings, arguments.seed)
    if "sync" in wanted and arguments.videos:
        bench_sync(recordings, watch(arguments.videos), arguments.folder, arguments.seed, arguments.write)
    if arguments.write and arguments.videos:
        write_pieces(recordings, watch(arguments.videos), arguments.write, arguments.seed)
    if "times" in wanted:
        bench_times(recordings, arguments.folder)


if __name__ == "__main__":
    main()
