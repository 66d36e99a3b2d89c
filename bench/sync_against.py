"""Sync z by other eyes and ears than ours, as a share of what clicks exactly on our hits reach.

    python -m venv OTHER && OTHER/bin/pip install opencv-python-headless scenedetect librosa
    python bench/sync_against.py VIDEOS [MUSIC ...] --python OTHER/bin/python [--keep DIR] [--markdown OUT.md]

VIDEOS: a folder of videos (searched below). MUSIC: NAME=FOLDER with sound or scored videos of the same names, or
NAME=PRESET:mini, which is composed here. Rows that are always there: clicks on our hits and on all our visual beats,
clicks at random times (chance), and the videos' own sound. Eyes: `flow`: peaks of the visual impact (Davis & Agrawala
2018: deceleration summed over a directogram of OpenCV's dense flow) and the cuts of PySceneDetect; `farneback`: the
same with another flow; `cuts`: cuts alone. Ears: librosa's onset strength. The statistic is `openvmas.music.sync`'s:
strength at visual beats against circular shifts, in standard deviations of chance. What was seen is kept in DIR.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

ENDINGS = (".mp4", ".mkv", ".mov", ".webm", ".ogv", ".mpg", ".avi")
EAR_RATE = 22_050  # Hz
EAR_HOP = 441  # samples: 50 a second
EYES = ("flow", "farneback", "cuts")
LEAST_BEATS = 6  # with fewer nothing can be said
CLICK = 0.01  # s
FLOW_WIDTH = 240  # pixels
N_ANGLES = 12  # bins of the directogram
LEAST_IMPACT = 0.2  # picture widths a second, lost at once: in calmer videos smaller peaks do not grow


# What runs in the other environment ---------------------------------------------------------------------------------


def flow_frames(path: Path, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Directogram of a video's dense flow: times [F] s and magnitudes [F, N_ANGLES], picture widths a second."""
    import cv2  # type: ignore[import-not-found]

    video = cv2.VideoCapture(str(path))
    fps = video.get(cv2.CAP_PROP_FPS) or 25.0
    step = max(round(fps / 25), 1)
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST) if method == "flow" else None
    before, times, rows, index = None, [], [], 0
    while video.grab():
        time = video.get(cv2.CAP_PROP_POS_MSEC) / 1000
        index += 1
        if (index - 1) % step:
            continue
        _, frame = video.retrieve()
        height = max(round(FLOW_WIDTH * frame.shape[0] / frame.shape[1]), 32)
        grey = cv2.cvtColor(cv2.resize(frame, (FLOW_WIDTH, height), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        if before is not None:
            if finder is not None:
                flow = finder.calc(before, grey, None)
            else:
                flow = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 1, 5, 1.1, 0)
            size = np.hypot(flow[..., 0], flow[..., 1])
            angle = np.arctan2(flow[..., 1], flow[..., 0]) % (2 * np.pi)
            bins = np.minimum((angle / (2 * np.pi) * N_ANGLES).astype(int), N_ANGLES - 1)
            rows.append(np.bincount(bins.ravel(), size.ravel(), N_ANGLES) / size.size / FLOW_WIDTH * fps / step)
            times.append(time)
        before = grey
    return np.array(times), np.array(rows).reshape(-1, N_ANGLES)


def impact_beats(times: np.ndarray, directogram: np.ndarray) -> list[float]:
    """Peaks of visual impact, s: deceleration in each direction, summed (Davis & Agrawala 2018, sections 3 and 4)."""
    import librosa  # type: ignore[import-not-found]
    from scipy.ndimage import median_filter  # type: ignore[import-not-found]

    if len(times) < 8:
        return []
    smooth = median_filter(directogram, (3, 1))  # one broken frame, as at a cut, is no movement
    impact = np.maximum(smooth[:-1] - smooth[1:], 0).sum(axis=1)
    impact = np.minimum(impact, np.percentile(impact, 98))  # as in the paper: cuts must not drown the rest
    scale = max(float(impact.max()), LEAST_IMPACT)
    rate = 1 / float(np.median(np.diff(times)))
    spans = [max(round(rate * s), 1) for s in (0.1, 0.3, 0.25)]
    found = librosa.util.peak_pick(
        impact / scale, pre_max=spans[0], post_max=spans[0], pre_avg=spans[1], post_avg=spans[1], delta=0.1,
        wait=spans[2],
    )  # fmt: skip
    return [float(times[i]) for i in found]  # the frame between the fast pair and the slow one: there it stops


def scene_cuts(path: Path) -> list[float]:
    """Cuts of PySceneDetect's adaptive detector with its defaults, s."""
    from scenedetect import AdaptiveDetector, detect  # type: ignore[import-not-found]

    starts = [scene[0] for scene in detect(str(path), AdaptiveDetector())[1:]]
    return [float(time.seconds if hasattr(time, "seconds") else time.get_seconds()) for time in starts]


def look(path: Path) -> dict[str, list[float]]:
    """Visual beats of every one of EYES, s."""
    cuts = scene_cuts(path)
    seen = {"cuts": cuts}
    for method in ("flow", "farneback"):
        moves = impact_beats(*flow_frames(path, method))
        # A cut changes the flow too: it is one beat, not two.
        seen[method] = sorted([*cuts, *(m for m in moves if all(abs(m - c) > 0.2 for c in cuts))])
    return seen


def hear(path: Path, target: Path) -> None:
    """librosa's onset strength of a mono WAV file, at EAR_RATE / EAR_HOP frames a second, into an NPY file."""
    import librosa  # type: ignore[import-not-found]

    wave, _ = librosa.load(str(path), sr=EAR_RATE, mono=True)
    np.save(target, librosa.onset.onset_strength(y=wave, sr=EAR_RATE, hop_length=EAR_HOP))


def serve() -> None:
    """Answer lines of JSON on standard input: {"look": PATH} or {"hear": PATH, "target": PATH}."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "look" in asked:
            print(json.dumps(look(Path(asked["look"]))), flush=True)
        else:
            hear(Path(asked["hear"]), Path(asked["target"]))
            print("{}", flush=True)


# What runs here -----------------------------------------------------------------------------------------------------


class Others:
    """Eyes and ears in an environment of their own, one process for all; what was seen is kept by the file's bytes."""

    def __init__(self, python: str, keep: Path) -> None:
        self._process = subprocess.Popen(
            [python, __file__, "-", "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._keep = keep
        keep.mkdir(parents=True, exist_ok=True)

    def _ask(self, **asked: str) -> dict:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit(f"error: the other environment failed at {asked}")
        return json.loads(answer)

    def see(self, path: Path) -> dict[str, np.ndarray]:
        kept = self._keep / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:24]}.eyes2.json"
        if not kept.exists():
            kept.write_text(json.dumps(self._ask(look=str(path))))
        return {name: np.array(times) for name, times in json.loads(kept.read_text()).items()}

    def hear(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        """Onset strength [T] of a mono wave [L]."""
        from openvmas.media.audio import write_wav

        kept = self._keep / f"{hashlib.sha256(wave.tobytes()).hexdigest()[:24]}.ears.npy"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                write_wav(Path(folder) / "heard.wav", wave[None].astype(np.float32), sample_rate)
                self._ask(hear=str(Path(folder) / "heard.wav"), target=str(kept))
        return np.load(kept)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def clicks_at(times: np.ndarray, strengths: np.ndarray, duration: float) -> np.ndarray:
    """Bursts of noise [L] at EAR_RATE, as loud as the moments are strong."""
    wave = np.zeros(round(duration * EAR_RATE))
    burst = (
        np.random.default_rng(0).normal(0, 1, round(CLICK * EAR_RATE))
        * np.hanning(2 * round(CLICK * EAR_RATE))[round(CLICK * EAR_RATE) :]
    )
    for time, strength in zip(times, strengths, strict=True):
        start = round(time * EAR_RATE)
        part = wave[start : start + len(burst)]
        part += (0.1 + 0.2 * strength) * burst[: len(part)]
    return wave.astype(np.float32)


def own_sound(path: Path, duration: float) -> np.ndarray | None:
    """The video's own sound as long as its picture, mono at EAR_RATE; None where it has none."""
    from openvmas.media.audio import read_audio_blocks
    from openvmas.media.probe import probe

    info = probe(path)
    if not info.has_audio:
        return None
    wave = np.concatenate(list(read_audio_blocks(path, EAR_RATE, 1, info=info)), axis=1)[0]
    return np.resize(np.pad(wave, (0, max(0, round(duration * EAR_RATE) - len(wave)))), round(duration * EAR_RATE))


def find_music(source: str, video: Path, analysis, plan) -> np.ndarray | None:
    """A system's sound for a video: composed here, or read from a folder of finished files of the same names."""
    from openvmas.media.audio import read_audio
    from openvmas.music.onsets import to_mono

    if source.startswith("PRESET:"):
        from openvmas.generate.scorer import load
        from openvmas.planning.conditioning import build_condition
        from openvmas.settings import SAMPLE_RATE_OUT, GenerateOptions

        composer = load(source.removeprefix("PRESET:")).composer
        piece = composer.compose(build_condition(plan, analysis), plan, GenerateOptions(seed=0))
        return to_mono(np.concatenate(list(piece.blocks), axis=1), SAMPLE_RATE_OUT, EAR_RATE)
    found = [p for p in sorted(Path(source).glob(f"{video.stem}*")) if p.suffix.lower() not in (".json", ".yaml")]
    if not found:
        return None
    audio = read_audio(found[0])
    return to_mono(audio.wave, audio.sample_rate, EAR_RATE)


def z_of(strength: np.ndarray, beats: np.ndarray, duration: float) -> float | None:
    from openvmas.music.sync import sync_z

    found = sync_z(strength, beats, Fraction(duration).limit_denominator(1000), 400, 0, Fraction(EAR_RATE, EAR_HOP))
    return found.z if found.n_beats >= LEAST_BEATS else None


def measure(path: Path, music: dict[str, str], others: Others) -> dict[str, dict[str, float]]:
    """z of every row by every eye, where the eye sees enough."""
    from openvmas.planning.conditioning import accent_times
    from openvmas.planning.planner import make_plan
    from openvmas.vision.analysis import analyze

    analysis = analyze(path)
    plan = make_plan(analysis)
    duration = float(analysis.duration)
    hits = np.array([(hit.time, hit.strength) for hit in plan.hits]).reshape(-1, 2)
    played = np.array([(hit.time, hit.strength) for hit in accent_times(plan)]).reshape(-1, 2)
    rng = np.random.default_rng(0)
    sounds: dict[str, np.ndarray | None] = {
        "clicks on our hits": clicks_at(*hits.T, duration),
        "clicks where accents are played": clicks_at(*played.T, duration),
        "clicks at random times": clicks_at(np.sort(rng.uniform(0, duration, len(hits))), hits[:, 1], duration),
        "the video's own sound": own_sound(path, duration),
    }
    sounds |= {name: find_music(source, path, analysis, plan) for name, source in music.items()}
    eyes = {"ours": analysis.visual_beats, **others.see(path)}
    found: dict[str, dict[str, float]] = {}
    for name, wave in sounds.items():
        if wave is not None and np.abs(wave).max(initial=0) > 1e-4:
            strength = others.hear(wave, EAR_RATE)
            values = {eye: z_of(strength, beats, duration) for eye, beats in eyes.items()}
            found[name] = {eye: z for eye, z in values.items() if z is not None}
    seen = ", ".join(f"{eye} {len(beats)}" for eye, beats in eyes.items())
    print(f"{path.name}: {duration:.0f} s, {len(hits)} hits; beats {seen}; {found}", file=sys.stderr, flush=True)
    return found


def table(found: list[dict[str, dict[str, float]]]) -> str:
    """Means with standard errors, n, and each row as a share of the clicks on our hits of the same videos."""
    eyes = ("ours", *EYES)
    lines = [
        "| sound | " + " | ".join(f"z, {eye} (n) | share" for eye in eyes) + " |",
        "|---" * (1 + 2 * len(eyes)) + "|",
    ]
    for name in dict.fromkeys(name for video in found for name in video):
        cells = []
        for eye in eyes:
            both = [
                (video[name][eye], video["clicks on our hits"][eye])
                for video in found
                if eye in video.get(name, {}) and eye in video.get("clicks on our hits", {})
            ]
            z, ceiling = np.array(both).reshape(-1, 2).T
            error = z.std(ddof=1) / len(z) ** 0.5 if len(z) > 1 else 0.0
            cells += (
                [f"{z.mean():.2f} ± {error:.2f} ({len(z)})", f"{z.mean() / ceiling.mean():.2f}"] if len(z) else ["", ""]
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("music", nargs="*", help="NAME=FOLDER or NAME=PRESET:mini")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment with the others")
    parser.add_argument("--keep", type=Path, default=Path("sync_against.kept"))
    parser.add_argument("--limit", type=int, help="number of videos, evenly from all")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        return serve()
    music = dict(item.split("=", 1) for item in given.music)
    videos = sorted(p for p in given.videos.rglob("*") if p.suffix.lower() in ENDINGS)
    if given.limit:
        videos = [videos[i] for i in np.linspace(0, len(videos) - 1, min(given.limit, len(videos))).round().astype(int)]
    others = Others(given.python, given.keep)
    found = [measure(path, music, others) for path in videos]
    others.close()
    text = table(found)
    print(text, end="")
    if given.markdown:
        given.markdown.write_text(text, encoding="utf-8")
    return None


if __name__ == "__main__":
    main()
