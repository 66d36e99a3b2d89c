"""docs/plan.md: its example is a plan, it names every field and axis, and its error is the real one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from openvmas.condition import AXES
from openvmas.errors import PlanError
from openvmas.planning.conditioning import build_condition
from openvmas.planning.plan_yaml import read_plan, write_plan
from openvmas.planning.schema import ScorePlan

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plan.md").read_text(encoding="utf-8")
EXAMPLE = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL).group(1)  # type: ignore[union-attr]


def example() -> ScorePlan:
    return read_plan(EXAMPLE, "docs/plan.md")


def test_the_example_is_a_plan_that_understands_all_its_words() -> None:
    plan = example()
    assert read_plan(write_plan(plan)) == plan
    assert plan.unknown_words == ()
    assert [hit.time for hit in plan.hits if hit.source == "user"] == [12.4]
    assert build_condition(plan).events.accents[620] == 1


def test_its_second_tempo_begins_on_a_downbeat_of_the_first() -> None:
    first, second = example().tempo_map
    assert (second.time - first.time) * first.tempo / 60 / 4 == pytest.approx(7)


def fields_of(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | set().union(*(fields_of(v) for v in value.values()))
    return set().union(*(fields_of(v) for v in value)) if isinstance(value, list) else set()


def test_every_field_and_axis_is_explained() -> None:
    explained = set(re.findall(r"`(\w+)", PAGE))
    assert fields_of(yaml.safe_load(EXAMPLE)) | fields_of(yaml.safe_load(write_plan(example()))) <= explained
    assert set(AXES) <= explained


def test_the_shown_mistake_is_the_real_one() -> None:
    shown = re.search(r"    (clip\.plan\.yaml line .*)", PAGE).group(1)  # type: ignore[union-attr]
    before, after = EXAMPLE.split("energy: 0.8")
    with pytest.raises(PlanError) as caught:
        read_plan(before + "energy: 1.7" + after, "clip.plan.yaml")
    assert str(caught.value) == shown
