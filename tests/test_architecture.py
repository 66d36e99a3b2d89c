"""The house keeps its shape: who may import whom, how much one run loads, how long things may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import write_clip

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "openvmas"
FILES = sorted(PACKAGE.rglob("*.py"))

# Left to right: a room may import itself and the rooms before it. Rooms in one bracket do not see each other.
ORDER: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("settings",),
    ("timeline", "files", "processes", "pages"),
    ("devices",),
    ("pretrained", "condition"),
    ("media",),
    ("vision", "music"),
    ("planning",),
    ("sweetening",),
    ("codec",),
    ("model",),
    ("generate", "hub"),
    ("symbolic",),
    ("fitting",),
    ("data",),
    ("batch",),
    ("train",),
    ("eval",),
    ("study",),
    ("studio",),
    ("mcp",),
    ("cli",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
NEVER_TO_SCORE = {"jinja2", "torch", "scipy", "cv2", "soundfile", "pydantic", "librosa"}
CORE_DEPENDENCIES = {"numpy", "onnxruntime", "av", "soxr", "click", "yaml", "jinja2"}
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 80
MAX_FILES_IN_FOLDER = 14
MAX_FILES_AT_TOP = 10
MAX_FILES_TO_SCORE, MAX_LINES_TO_SCORE = 43, 11_150  # empty doors of rooms do not count


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported(path: Path) -> set[str]:
    """Full dotted names that a file imports anywhere, in functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide which room is meant"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_to_the_left_only(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the package's own door: its imports are lazy
    assert room in RANK, f"{room} is a new room; give it a place in ORDER"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "openvmas" or len(parts) < 2 or parts[1] not in RANK:
            continue
        other = parts[1]
        assert other == room or RANK[other] < RANK[room], f"{room} may not import {other} ({name})"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_training_and_evaluation_import_beyond_the_core(path: Path) -> None:
    if room_of(path) in {"codec", "model", "hub", "data", "batch", "train", "eval", "study", "studio", "mcp"}:
        return
    outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names) - {"openvmas"}
    assert outside <= CORE_DEPENDENCIES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_have_a_limit(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= MAX_FUNCTION_LINES, node.name


def test_folders_have_a_limit() -> None:
    """Doors of rooms (__init__) are no files of their own, except the package's."""
    for folder in {path.parent for path in FILES} - {PACKAGE}:
        files = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MAX_FILES_IN_FOLDER, f"{folder.relative_to(PACKAGE)} has {len(files)} files: {files}"
    assert len(list(PACKAGE.glob("*.py"))) <= MAX_FILES_AT_TOP


def test_one_score_loads_few_project_files(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0, sound="noise")
    code = (
        "import sys\nfrom tests import run_cli\nfrom openvmas.generate import scorer\n"
        "scorer.load = run_cli.load\nimport openvmas.generate.composer\n"
        f"assert run_cli.main(['score', {str(tmp_path / 'clip.mp4')!r}, '--quiet']) == 0\n"
        "print(*sorted(m.__file__ for n, m in sys.modules.items() if n.startswith('openvmas')))\n"
        "print(*sorted({n.split('.')[0] for n in sys.modules}))"
    )
    files, modules = run_python(code).stdout.splitlines()[-2:]
    assert not NEVER_TO_SCORE & set(modules.split())
    own = [Path(name) for name in files.split() if not name.endswith("__init__.py")]
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)
    assert len(own) <= MAX_FILES_TO_SCORE and lines <= MAX_LINES_TO_SCORE, f"{len(own)} files, {lines} lines: {own}"


def test_inner_rooms_have_empty_doors() -> None:
    for path in PACKAGE.glob("*/__init__.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in body), f"{path} does more than say what the room is"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)


def test_importing_the_package_is_silent_and_light() -> None:
    done = run_python("import sys, openvmas; sys.stderr.write(' '.join(sys.modules))")
    assert done.stdout == ""
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "openvmas" in loaded
    assert not loaded & {"numpy", "onnxruntime", "av", "click", *NEVER_TO_SCORE}


def test_the_public_names_are_all_there() -> None:
    done = run_python("import openvmas; print(*[type(getattr(openvmas, name)).__name__ for name in openvmas.__all__])")
    assert set(done.stdout.split()) == {"type", "function"}


def test_plan_stays_a_function_when_the_rooms_are_imported() -> None:
    done = run_python(
        "import openvmas, openvmas.planning.planner; from openvmas import plan\n"
        "print(callable(openvmas.plan), openvmas.plan is plan)"
    )
    assert done.stdout.split() == ["True", "True"]


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    import openvmas

    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = openvmas.scores  # type: ignore[attr-defined]


def test_help_starts_without_anything_heavy() -> None:
    done = run_python(
        "import sys\nfrom openvmas.cli.main import main\n"
        "main(['score', '--help'])\nsys.stderr.write(' '.join(sys.modules))"
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert not loaded & {"numpy", "onnxruntime", "av", *NEVER_TO_SCORE}


def tracked_text_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listing.returncode:
        pytest.skip("not a git checkout")
    suffixes = {".py", ".md", ".toml", ".txt", ".json", ".yaml", ".html", ".run", ""}
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).suffix in suffixes]


def test_no_path_of_one_machine_is_written_down() -> None:
    needles = ["/" + folder + "/" for folder in ("work", "farm", "root")] + ["/home" + "/"]
    for path in tracked_text_files():
        if path.is_file() and path != Path(__file__):
            text = path.read_text(encoding="utf-8", errors="replace")
            found = [needle for needle in needles if f'"{needle}' in text or f" {needle}" in text]
            assert not found, f"{path.relative_to(ROOT)} names {found}"
