"""The commands at the top of docs/study.md, in order, with two tiny systems and listeners of known taste."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from openvmas.cli.main import main
from openvmas.study.session import Study
from openvmas.study.store import Store
from tests.study.made import Taste, answer_all, write_systems

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "study.md").read_text(encoding="utf-8")
BLOCK = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)[0]


def test_from_nothing_to_the_analysis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Serving is what tests/study/test_server.py and test_page.py do; here its listeners answer."""
    monkeypatch.chdir(tmp_path)
    made = write_systems(tmp_path, ("DIR", "DIR2", "DIR3"), n_clips=2, duration=2.2)
    assert sorted(made) == ["DIR", "DIR2", "DIR3"]
    commands = [shlex.split(line, comments=True) for line in BLOCK.splitlines()]
    assert [words[2] for words in commands] == ["power", "create", "serve", "analyze"]
    for words in commands:
        if words[2] == "serve":
            study, key = Study(tmp_path / "my-study"), json.loads((tmp_path / "my-study" / "key.json").read_text())
            store = Store(tmp_path / "my-study")
            for seed in range(13):
                answer_all(study, store, Taste(key, {"ours": 2.0, "theirs": -2.0}, 0.5, seed))
        else:
            assert main(words[1:]) == 0, words
            capsys.readouterr()
    assert "ours" in (tmp_path / "results.md").read_text()
