"""What a large set costs follows from a small build by arithmetic; the page shows what the set's files say."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from openvmas.cli.main import main
from openvmas.data.curation.pipeline import build
from openvmas.data.curation.recipe import read_recipe
from openvmas.data.report.costs import Costs, make_plan, read_costs
from openvmas.data.report.datasheet import draw_funnel
from openvmas.data.report.funnel import Funnel, Step
from openvmas.errors import InputError
from tests.data.test_pipeline import lay_out


def test_the_plan_carries_measured_costs_over_along_the_funnel() -> None:
    costs = Costs(100, 50, {"probe": (100, 10.0), "features": (50, 3600.0)}, 5000.0, 50_000_000, 10**9, "a test")
    text = make_plan(costs, 1000, 2, 10)
    assert re.search(r"^probe +2,000 +0\.100 +36,000 +0$", text, re.M)
    assert re.search(r"^features +1,000 +72\.000 +50 +20$", text, re.M)
    assert "1,000 clips of 100 s (28 h) from 2,000 files" in text
    assert "20 core-hours; 0.04 days on 2 machines with 10 cores" in text
    assert "storage of the set: 1 GB (1 MB a clip)" in text and "if they are kept: 20 GB" in text
    assert Costs.from_json(costs.to_json()) == costs


def test_a_build_that_kept_nothing_foretells_nothing() -> None:
    with pytest.raises(InputError, match="kept nothing"):
        make_plan(Costs(3, 0, {}, 0.0, 0, 0), 10, 1, 1)


def test_the_usual_costs_are_there_for_who_has_built_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "plan", "--nodes", "50"]) == 0
    out = capsys.readouterr().out
    assert "2,200,000 clips" in out and "on 50 machines with 16 cores" in out and "features" in out
    assert main(["data", "plan", "--clips", "0"]) == 2
    assert main(["data", "plan", "nowhere"]) == 2


class Checker(HTMLParser):
    """Every tag is closed in its turn; nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img") and not any(name in ("src", "href") for name, _ in attrs)
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = lay_out(tmp_path)
    (tmp_path / "media" / "000.mp4").rename(tmp_path / "media" / "<b>&.mp4")
    made = build(read_recipe(recipe), tmp_path / "set", 1)
    assert main(["data", "report", str(tmp_path / "set")]) == 0
    page = (tmp_path / "set" / "report.html").read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert "&lt;b&gt;&amp;.mp4" in page and "<b>&.mp4" not in page
    assert f">{made.funnel.n_kept:,}<" in page and "CC0-1.0" in page and "says so" in page
    assert "prefers-color-scheme: dark" in page and "$" not in page
    assert main(["data", "report", str(tmp_path / "set")]) == 2
    assert "give --overwrite" in capsys.readouterr().err
    costs = read_costs(tmp_path / "set")
    assert costs.stages["bytes"][0] == 10 and costs.n_kept == 16 and costs.seconds_kept == 16.0


def test_the_bars_of_the_funnel_are_in_proportion() -> None:
    funnel = Funnel(200, 50, 0, (Step("a", 200, {"x": 100, "y": 50}, {}),))
    widths = [float(w) for w in re.findall(r'class="came"[^>]* width="([\d.]+)"', draw_funnel(funnel))]
    lost = [float(w) for w in re.findall(r'class="lost"[^>]* width="([\d.]+)"', draw_funnel(funnel))]
    assert widths == [560.0, 560.0, 140.0] and lost == [0.0, 420.0, 0.0]
