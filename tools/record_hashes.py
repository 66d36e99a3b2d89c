"""Record SHA-256 of what scoring writes, so that a change that claims to change nothing can be held to it.

    python tools/record_hashes.py OUT.json                 # score the clips and write the hashes
    python tools/record_hashes.py OUT.json --against OLD.json    # the same, then compare; exit code 1 where they differ

Three clips (both examples and one made here, with speech-like sound and a pixel format of its own), both models and a
few
options. Hashes compare on one machine and one version of its libraries only. Of the report what depends on the moment
or
the folder is left out: when it was made, how long stages took, and paths.
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
from typing import Any

import av
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SECONDS, FPS = 9, 25  # of the clip made here
RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("mini", ()),
    ("mini-words", ("--text", "calm piano, then joyful", "--tempo", "96", "--hit", "3.2", "--seed", "7",
    "--candidates", "3")),
    ("mini-alone", ("--replace-audio", "--separate-track", "--candidates", "1", "--guidance", "1", "--loudness",
    "-18")),
    ("symbolic", ("--model", "symbolic")),
    ("symbolic-notes", ("--model", "symbolic", "--mood", "dark", "--seed", "3", "--midi-out", "{out}.mid",
    "--stems-out", "{out}.stems")),
)  # fmt: skip
PASSING = ("made_at", "seconds", "path", "output", "audio_out", "midi_out", "stems_out", "plan")  # keys left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--against", type=Path, help="JSON file of an earlier recording")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        hashes = record(Path(scratch))
    arguments.out.write_text(json.dumps(hashes, indent=1) + "\n", encoding="utf-8")
    if arguments.against:
        old = json.loads(arguments.against.read_text(encoding="utf-8"))
        different = sorted(name for name in {*old, *hashes} if old.get(name) != hashes.get(name))
        print(f"{len(hashes) - len(different)} of {len(hashes)} hashes as before", *different, sep="\n  ")
        sys.exit(bool(different))
    print(f"{len(hashes)} hashes written to {arguments.out}")


def record(folder: Path) -> dict[str, str]:
    """Name of every file written → SHA-256 of what it holds."""
    clips = [ROOT / "examples" / "city.mp4", ROOT / "examples" / "landscape.mp4", make_clip(folder / "made.mkv")]
    hashes = {}
    for clip in clips:
        openvmas("plan", str(clip), "--output", str(folder / "plan.yaml"), "--overwrite")
        hashes[f"{clip.stem} plan"] = digest((folder / "plan.yaml").read_bytes())
        for name, options in RUNS:
            stem = folder / f"{clip.stem}-{name}"
            video, music = stem.with_suffix(clip.suffix), stem.with_suffix(".wav")
            given = [option.format(out=stem) for option in options]
            openvmas("score", str(clip), "--output", str(video), "--audio-out", str(music), *given)
            for path in sorted(folder.rglob(f"{stem.name}*")):
                if path.is_file() and path.suffix != ".json":
                    hashes[str(path.relative_to(folder))] = digest_file(path)
            for path in sorted(stem.with_suffix(".stems").glob("*")):
                hashes[str(path.relative_to(folder))] = digest(path.read_bytes())
            report = lasting(json.loads(video.with_suffix(".json").read_text(encoding="utf-8")))
            hashes[f"{stem.name} report"] = digest(json.dumps(report, sort_keys=True).encode())
    return hashes


def openvmas(*arguments: str) -> None:
    """Run the command line of this checkout."""
    subprocess.run(
        [sys.executable, "-m", "openvmas", *arguments, "--quiet"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file; of Matroska, which draws random ids, of its packets with their times."""
    if path.suffix != ".mkv":
        return digest(path.read_bytes())
    total = hashlib.sha256()
    with av.open(str(path)) as container:
        for packet in container.demux():
            total.update(f"{packet.stream_index} {packet.pts} {packet.dts} {packet.duration}".encode())
            total.update(bytes(packet))
    return total.hexdigest()


def lasting(value: Any) -> Any:
    """A report without what passes: times of making and paths."""
    if isinstance(value, dict):
        return {key: lasting(item) for key, item in value.items() if key not in PASSING}
    return [lasting(item) for item in value] if isinstance(value, list) else value


def make_clip(path: Path) -> Path:
    """Nine seconds with two cuts, a moving bar and sound that comes and goes, in Matroska with an odd time base."""
    rng = np.random.default_rng(5)
    backs = [rng.integers(0, 255, (120, 160, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1) // 3 for _ in range(3)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        video.options = {"threads": "1", "crf": "30"}
        sound = container.add_stream("flac", rate=44100, layout="mono")
        for index in range(SECONDS * FPS):
            frame = backs[index // (3 * FPS)].copy()
            frame[:, (index * 4) % 300 : (index * 4) % 300 + 20] = 255
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(picture))
        container.mux(video.encode())
        t = np.arange(SECONDS * 44100) / 44100
        tone = 0.2 * np.sin(2 * np.pi * 180 * t) * (np.sin(2 * np.pi * 0.4 * t) > 0) + 0.01 * rng.standard_normal(
            len(t)
        )
        block = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
        block.sample_rate, block.pts = 44100, 0
        container.mux(sound.encode(block))
        container.mux(sound.encode())
    return path


if __name__ == "__main__":
    main()
