"""The one file of licences agrees with what weights and recordings say, and the bill of materials with both."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import make_sbom  # pyright: ignore[reportMissingImports]
import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = make_sbom.shipped_files()
NON_COMMERCIAL = ("-NC", "-ND", "GPL")


def test_every_recording_has_the_licence_that_its_own_file_states() -> None:
    stated = {
        path.name.removesuffix(".license.json"): json.loads(path.read_text(encoding="utf-8"))["licence"]
        for path in (ROOT / "openvmas/fitting/free").glob("*.license.json")
    }
    assert stated == {Path(name).stem: licence for name, licence in SHIPPED.items() if name.endswith(".opus")}


@pytest.mark.parametrize("preset", ["mini", "symbolic", "alignment"])
def test_every_preset_has_the_licence_of_its_manifest(preset: str) -> None:
    folder = f"openvmas/weights/{preset}/"
    manifest = json.loads((ROOT / folder / "model.json").read_text(encoding="utf-8"))
    files = {name: licence for name, licence in SHIPPED.items() if name.startswith(folder)}
    assert {folder + entry["file"] for entry in manifest["files"].values()} == set(files)
    stated = set(re.split(r", | and ", manifest["licence"].replace("CC0", "CC0-1.0").replace("CC0-1.0-1.0", "CC0-1.0")))
    assert {part for licence in files.values() for part in licence.split(" AND ")} == stated


def test_nothing_ships_that_forbids_a_use_and_all_texts_are_there() -> None:
    licences = {part for licence in SHIPPED.values() for part in licence.split(" AND ")} | {"Apache-2.0"}
    assert not [name for name in licences if any(part in name for part in NON_COMMERCIAL)]
    assert licences == {path.stem for path in (ROOT / "LICENSES").glob("*.txt")}
    expression = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license"]
    assert set(expression.split(" AND ")) == licences


def test_the_bill_names_every_core_package_and_every_file() -> None:
    bill = make_sbom.bill()
    parts = {part["name"]: part for part in bill["components"]}
    assert {"numpy", "onnxruntime", "av", "soxr", "click", "PyYAML"} <= set(parts) and set(SHIPPED) <= set(parts)
    assert len({part["bom-ref"] for part in bill["components"]}) == len(bill["components"])
    manifest = json.loads((ROOT / "openvmas/weights/mini/model.json").read_text(encoding="utf-8"))
    hashes = parts["openvmas/weights/mini/decoder.onnx"]["hashes"]
    assert hashes[0]["content"] == manifest["files"]["decoder"]["sha256"]
    assert not [name for name, part in parts.items() if part["licenses"] == [{"license": {"name": "not stated"}}]]


def test_the_page_of_licences_is_up_to_date() -> None:
    """Names only: the metadata of another version may spell a licence otherwise."""
    written = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    for line in make_sbom.page().splitlines():
        if line.startswith("| ") and "`" in line:
            assert line in written
        elif line.startswith("| "):
            assert line.partition(" | ")[0] in written
