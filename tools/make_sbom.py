"""Bill of materials of an installed OpenVMAS: `python tools/make_sbom.py [--output FILE | --page docs/licences.md]`.

The bill of materials is CycloneDX 1.6: the packages that the core needs, as they are installed here, and every file of
weights and music that ships, with its SHA-256 and the licence that REUSE.toml gives it. The page lists the same without
versions, so that it only changes when something is added. Run it where only the core is installed, or extras are listed
by their own requirements.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
WEIGHTY = {".onnx", ".npz", ".npy", ".opus"}
# What packages' metadata call licences without being SPDX expressions, where the texts in the packages are plain.
SPELLED = {"Apache Software License": "Apache-2.0", "3-Clause BSD License": "BSD-3-Clause", "MIT License": "MIT"}
NOTES = {
    "av": "its wheels bring FFmpeg with x264 and x265, which are under GPL-2.0-or-later: who passes them on minds that",
    "soxr": "brings libsoxr",
}


def core_packages() -> dict[str, Any]:
    """Name → installed distribution of everything that the core dependencies of pyproject.toml need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    found: dict[str, Any] = {}
    while waiting:
        wanted = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            raise SystemExit(f"error: {wanted.name} is not installed; run: pip install .") from None
        name = package.metadata["Name"]
        if name not in found:
            found[name] = package
            waiting += [Requirement(line) for line in package.requires or ()]
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def licence_of(package: Any) -> str:
    """The licence as the package's metadata state it: an expression, else its classifiers, else its short text."""
    meta = package.metadata
    classified = [line.rpartition(" :: ")[2] for line in meta.get_all("Classifier", []) if line.startswith("License")]
    stated = meta["License-Expression"] or ", ".join(classified) or (meta["License"] or "").partition("\n")[0]
    return SPELLED.get(stated, stated) or "not stated"


def shipped_files() -> dict[str, str]:
    """Path of every file of weights and music in the package → its licence by REUSE.toml."""
    tables = tomllib.loads((ROOT / "REUSE.toml").read_text(encoding="utf-8"))["annotations"]
    found: dict[str, str] = {}
    films = [path for path in (ROOT / "examples").glob("*.mp4") if ".scored" not in path.name]
    for path in sorted([*(ROOT / "openvmas").rglob("*"), *films]):
        if path.suffix in WEIGHTY or path in films:
            name = path.relative_to(ROOT).as_posix()
            for table in tables:  # the last one counts
                globs = [table["path"]] if isinstance(table["path"], str) else table["path"]
                if any(fnmatch.fnmatchcase(name, glob.replace("**", "*")) for glob in globs):
                    found[name] = table["SPDX-License-Identifier"]
    return found


def bill() -> dict[str, Any]:
    """The CycloneDX document."""
    version = re.search(r'^__version__ = "(.+)"', (ROOT / "openvmas/__init__.py").read_text(encoding="utf-8"), re.M)
    assert version is not None
    main = {"type": "application", "name": "openvmas", "version": version[1], "bom-ref": "openvmas"}
    packages = [
        {
            "type": "library", "name": name, "version": package.version,
            "purl": f"pkg:pypi/{name.lower().replace('_', '-')}@{package.version}",
            "licenses": [{"license": {"name": licence_of(package)}}],
        }
        for name, package in core_packages().items()
    ]  # fmt: skip
    files = [
        {
            "type": "file", "name": name, "licenses": [{"expression": licence}],
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}],
        }
        for name, licence in shipped_files().items()
    ]  # fmt: skip
    components = [{**part, "bom-ref": part.get("purl", part["name"])} for part in (*packages, *files)]
    depends = [{"ref": "openvmas", "dependsOn": [part["bom-ref"] for part in components]}]
    return {
        "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": main},
        "components": components, "dependencies": depends,
    }  # fmt: skip


def page() -> str:
    """docs/licences.md."""
    groups: dict[str, list[str]] = {}
    for name, licence in shipped_files().items():
        groups.setdefault(licence, []).append(f"`{name}`")
    lines = [
        "# Licences", "",
        "Made by `python tools/make_sbom.py --page docs/licences.md`. The code is Apache-2.0. `REUSE.toml` says the "
        "licence of every file; `python tools/make_sbom.py --output sbom.cdx.json` writes a bill of materials "
        "(CycloneDX) with versions and hashes.",
        "", "## Weights and recordings in the package", "", "| licence | files |", "|---|---|",
        *(f"| {licence} | {', '.join(names)} |" for licence, names in sorted(groups.items())),
        "", "## Packages that the core needs", "",
        "Installed beside it from their own projects, not shipped with it.", "",
        "| package | licence, as its metadata say | note |", "|---|---|---|",
        *(f"| {name} | {licence_of(p)} | {NOTES.get(name, '')} |" for name, p in core_packages().items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Bill of materials of an installed OpenVMAS.")
    parser.add_argument("--output", type=Path, help="CycloneDX as JSON; printed if left out")
    parser.add_argument("--page", type=Path, help="write the page instead")
    asked = parser.parse_args()
    text = page() if asked.page else json.dumps(bill(), indent=1) + "\n"
    if asked.page or asked.output:
        (asked.page or asked.output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
