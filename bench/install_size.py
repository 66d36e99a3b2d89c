"""How much disk a fresh installation of the core takes: makes a venv, installs, prints MB by package and in total.

    python bench/install_size.py [--limit 350]

The limit is for what the installation adds to an empty environment; pip and setuptools, which Python itself puts there,
are shown beside it. Exit code 1 above the limit, or if something that the core must do without came along.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNWANTED = ("torch", "rich", "scipy", "cv2", "pydantic", "pandas", "transformers")
TOOLS = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
MB = 1_000_000


def size_of(path: Path) -> int:
    """Bytes that a file or folder takes on disk (as `du`: whole blocks, symbolic links not followed)."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum(p.stat().st_blocks * 512 if hasattr(p.stat(), "st_blocks") else p.stat().st_size for p in files)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a fresh installation of the core.")
    parser.add_argument("--limit", type=float, default=350, help="MB")
    limit = parser.parse_args().limit
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "venv"
        venv.create(home, with_pip=True)
        python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", str(ROOT)], check=True)
        found = next(home.rglob("site-packages"))
        sizes = {path.name: size_of(path) for path in found.iterdir() if path.name != "__pycache__"}
        for name, n_bytes in sorted(sizes.items(), key=lambda item: -item[1]):
            if n_bytes > 0.5 * MB:
                print(f"{n_bytes / MB:8.1f} MB  {name}")
        total = size_of(home) / MB
        added = total - sum(size for name, size in sizes.items() if name.startswith(TOOLS)) / MB
        unwanted = [name for name in UNWANTED if name in sizes]
    print(f"{added:8.1f} MB  added by the installation (limit {limit:g})")
    print(f"{total:8.1f} MB  the whole environment with pip ({total * MB / 2**20:.0f} MiB, as `du -sm` says)")
    if unwanted:
        print(f"came along but must not: {', '.join(unwanted)}")
    return 1 if unwanted or added > limit else 0


if __name__ == "__main__":
    sys.exit(main())
