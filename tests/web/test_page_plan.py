"""The page's changes of a plan, by their definition: its modules are called in the browser, without the page."""

from __future__ import annotations

from pathlib import Path

from tests.web import browser as look
from tests.web.kit import running


def test_changes_of_a_plan_by_their_definition(tmp_path: Path) -> None:
    """Splitting and merging is nothing; times are written and read alike; locks hold; hits lie on frames."""
    with look.chromium() as browser, running(tmp_path) as studio, look.opened(browser, studio.url) as page:
        found = page.evaluate("""async () => {
          const plans = await import('/static/studio/plan.js');
          const units = await import('/static/studio/units.js');
          const section = {start: 0, end: 20, energy: 0.6, text: null, tempo: null, locked: false};
          const plan = {duration: 20, sections: [section], hits: [{time: 4, strength: 0.5, source: 'picture'}]};
          const refuse = (act) => { try { act(); return null } catch (error) { return error.message } };
          const halves = plans.split(plan, 7.013, 25);
          const locked = plans.setSection(halves, 1, {locked: true});
          const times = [0, 0.04, 59.996, 75.25, 3599.999, 7384.5];
          return {
            border: halves.sections.map((part) => [part.start, part.end]),
            whole: plans.merge(halves, 0).sections,
            same: [section],
            far: plans.moveBorder(halves, 0, 99, 25).sections[0].end,
            taken: plans.addHit(plan, 4.01, 25).hits,
            locked: [
              () => plans.moveBorder(locked, 0, 5, 25),
              () => plans.merge(locked, 0),
              () => plans.split(locked, 12, 25),
            ].map(refuse),
            short: refuse(() => plans.split(plan, 0.2, 25)),
            words: plans.toggleWord(plans.toggleWord('piano', 'calm'), 'piano'),
            clock: times.map((time) => units.readClock(units.clockText(time)) - time),
            odd: ['', '1:x', '-3', '1:2:3:4'].map(units.readClock).every(Number.isNaN),
          };
        }""")
    assert found["border"] == [[0, 7.0], [7.0, 20]]
    assert found["whole"] == found["same"]
    assert found["far"] == 19.5
    assert found["taken"] == [{"time": 4, "strength": 1, "source": "user"}]
    assert found["locked"] == ["Section 2 is locked; unlock it first."] * 3
    assert found["short"].startswith("A section lasts at least 0.5 s")
    assert found["words"] == "calm"
    assert all(abs(error) <= 0.0051 for error in found["clock"])
    assert found["odd"]
