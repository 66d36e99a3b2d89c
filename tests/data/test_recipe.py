"""A recipe is checked at the door, in sentences that say what to change."""

from __future__ import annotations

from pathlib import Path

import pytest

from openvmas.data.curation.recipe import LicenceOptions, Recipe, read_recipe
from openvmas.data.curation.record import Origin
from openvmas.data.sources.licences import is_free, normalise_licence, refusal
from openvmas.errors import InputError, OptionError

SOURCE = '[[sources]]\nname = "a"\nkind = "folder"\npath = "media"\n'
BYTES = '[stages]\nuse = ["tests.data.stage_kit:Bytes"]\n[sets]\nuse = []\n'


def read(folder: Path, text: str) -> Recipe:
    path = folder / "mine.toml"
    path.write_text(text)
    return read_recipe(path)


def test_a_small_recipe_gets_every_default(tmp_path: Path) -> None:
    recipe = read(tmp_path, SOURCE)
    assert recipe.build.name == "mine" and recipe.output == tmp_path / "mine"
    assert recipe.sources[0].media == "video" and recipe.fetch.pause == 2.0
    assert recipe.stages[0].name == "probe"
    assert [chosen.name for chosen in recipe.sets] == ["duplicates", "split"]


def test_a_threshold_changes_the_key_and_a_worker_count_does_not(tmp_path: Path) -> None:
    plain = read(tmp_path, SOURCE + BYTES).key()
    setting = '[stages."tests.data.stage_kit:Bytes"]\nrefuse = "X"\n'
    assert read(tmp_path, SOURCE + BYTES + setting).key() != plain
    assert read(tmp_path, SOURCE + "[build]\nworkers = 3\n" + BYTES).key() == plain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no source; add a table"),
        ("sources = 3", "names no source"),
        ('[[source]]\nname = "a"', r"table \[source\] that does not exist; did you mean sources"),
        ('[[sources]]\nname = "a"\nkind = "folder"', 'source a has no path; add path = "..."'),
        ('[[sources]]\nname = "a"\nkind = "foldr"\npath = "."', "kind cannot be 'foldr'; did you mean folder"),
        (SOURCE + "licnce = 'x'", "source a has no key licnce; did you mean licence"),
        (SOURCE + SOURCE, "two sources are called a; rename one"),
        (SOURCE + "[fetch]\npause = -1", r"\[fetch\]: pause cannot be -1.0; give a number of 0"),
        (SOURCE + "[fetch]\nvia = 'directly'", "via cannot be 'directly'; did you mean direct"),
        (SOURCE + "[build]\nworkers = 'two'", "workers cannot be 'two'; give a whole number"),
        (SOURCE + "[stages]\nuse = ['prob']", "no stage called prob; did you mean probe"),
        (SOURCE + "[stages]\nuse = ['probe', 'probe']", "names a stage twice"),
        (SOURCE + "[stages]\nuse = ['probe']\n[stages.size]", "size is not in use; add it to use"),
        (SOURCE + "[stages.size]\nmin_sde = 3", r"\[size\] has no key min_sde; did you mean min_side"),
        (SOURCE + "[stages]\nuse = ['nowhere:Stage']", "nowhere:Stage cannot be imported"),
        (SOURCE + "[sets.split]\nvalid = 0.9\ntest = 0.9", "are more than 1 together"),
        (SOURCE + "build = 3", r"\[build\] must be a table"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        read(tmp_path, text if not text.endswith("build = 3") else "build = 3\n" + SOURCE)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not TOML: .*line 1"):
        read(tmp_path, "name: yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_recipe(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("text", "spdx"),
    [
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/", "CC-BY-NC-SA-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0-1.0"),
        ("Creative Commons Attribution license (reuse allowed)", "CC-BY"),
        ("Attribution-NonCommercial-ShareAlike 3.0", "CC-BY-NC-SA-3.0"),
        ("cc by 4.0", "CC-BY-4.0"),
        ("CC-BY-SA-3", "CC-BY-SA-3.0"),
        ("CC0", "CC0-1.0"),
        ("Public Domain Mark 1.0", "PD"),
        ("GPL-2+", "GPL-2+"),
        ("Standard  YouTube License", "Standard YouTube License"),
    ],
)
def test_licences_are_spelled_in_one_way(text: str, spdx: str) -> None:
    assert normalise_licence(text) == spdx


def test_what_the_licence_filter_takes() -> None:
    free, closed, nc = (Origin("a", "u", licence=text) for text in ("CC-BY-4.0", "Standard", "CC-BY-NC-4.0"))
    silent = Origin("a", "u")
    default = LicenceOptions()
    assert is_free("CC-BY-SA-4.0") and not is_free("CC-BY-ND-4.0") and not is_free("CC-BY-NC")
    assert [bool(refusal(o, default, True)) for o in (free, closed, nc, silent)] == [False, True, True, True]
    assert [bool(refusal(o, default, False)) for o in (free, closed, nc, silent)] == [False] * 4
    strict = LicenceOptions(allow=("CC-BY-*",), unknown=False)
    assert [bool(refusal(o, strict, False)) for o in (free, closed, nc, silent)] == [False, True, False, True]


@pytest.mark.parametrize("name", ["local", "web"])
def test_the_examples_are_recipes(name: str) -> None:
    recipe = read_recipe(Path(__file__).resolve().parents[2] / "recipes" / f"{name}.toml")
    assert recipe.build.name == name and len(recipe.stages) > 10
