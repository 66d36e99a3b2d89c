"""Settings: one field is one checked value, one key of a table and one option of the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from openvmas.cli.options import given, options_of
from openvmas.errors import InputError, OptionError
from openvmas.settings import Options, option, read_table, read_toml


@dataclass(frozen=True)
class Cake:
    """Settings with a field of every kind."""

    layers: int = option(3, "Number of layers.", min=1, max=9)
    sugar: float = option(2.5, "Sugar in spoons.", min=0)
    icing: str = option("white", "Colour of the icing.", choices=("white", "pink"))
    name: str | None = option(None, "Name written on it.", flags=("-n",), envvar="CAKE_NAME")
    candle: tuple[float, ...] = option(tuple, "Height of a candle in cm; repeat for more.", min=0)
    is_sliced: bool = option(False, "Cut it at once.")


def test_values_come_in_the_types_of_the_fields() -> None:
    made = read_table(Cake, {"sugar": 2, "candle": [1, 2.5], "name": None, "is_sliced": True}, "[cake]")
    assert made == Cake(sugar=2.0, candle=(1.0, 2.5), is_sliced=True)
    assert type(made.sugar) is float
    assert read_table(Cake, {"candle": 4}).candle == (4.0,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": 3}, "[cake] has no key layer; did you mean layers?"),
        ({"layers": 2.5}, "[cake]: layers cannot be 2.5; give a whole number."),
        ({"layers": True}, "[cake]: layers cannot be True; give a whole number."),
        ({"layers": 10}, "[cake]: layers cannot be 10; give a number from 1 to 9."),
        ({"sugar": float("nan")}, "[cake]: sugar cannot be nan; give a number."),
        ({"sugar": -1}, "[cake]: sugar cannot be -1.0; give a number of 0 or more."),
        ({"candle": [1, "high"]}, "[cake]: candle cannot be 'high'; give a number."),
        ({"icing": "blue"}, "[cake]: icing cannot be 'blue'; choose from pink, white."),
        ({"is_sliced": 1}, "[cake]: is_sliced cannot be 1; give True or False."),
        (3, "[cake] must be a table of keys and values, not 3."),
    ],
)
def test_mistakes_are_named_with_the_remedy(values: Any, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_table(Cake, values, "[cake]")
    assert str(caught.value) == message


def test_toml_that_cannot_be_read_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read .*; give a cake in TOML"):
        read_toml(tmp_path / "nothing.toml", "a cake in TOML")
    (tmp_path / "bad.toml").write_text("layers: 3", encoding="utf-8")
    with pytest.raises(InputError, match=r"is not TOML: .*line 1"):
        read_toml(tmp_path / "bad.toml")


def run(*arguments: str, **environment: str) -> tuple[dict[str, Any], str]:
    """Options that the command got, and what it printed."""
    found: dict[str, Any] = {}

    @click.command()
    @options_of(Cake, leave_out=("sugar",))
    def bake(**values: Any) -> None:
        found.update(values)

    done = CliRunner().invoke(bake, list(arguments), env=environment)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return found, done.output


def test_options_that_are_not_given_stay_out() -> None:
    found, _ = run()
    assert set(found) == {"layers", "icing", "name", "candle", "is_sliced"}
    assert given(found) == {}  # so a flag does not overrule what a file says
    assert read_table(Cake, given(found)) == Cake()


def test_options_are_those_of_the_fields() -> None:
    typed = ["--layers", "4", "-n", "Ada", "--candle", "1", "--candle", "2", "--is-sliced"]
    chosen = given(run(*typed)[0])
    assert read_table(Cake, chosen) == Cake(layers=4, name="Ada", candle=(1.0, 2.0), is_sliced=True)
    assert given(run(CAKE_NAME="Bob")[0]) == {"name": "Bob"}
    _, text = run("--help")
    assert "Number of layers. [default: 3]" in " ".join(text.split())
    assert "--sugar" not in text


def test_options_added_later_are_told_only_where_they_are_used() -> None:
    assert "music_keep" not in Options.of().flat() and "like" not in Options.of().flat()
    assert Options.of(music_keep=("0:20-0:40",)).flat()["music_keep"] == ("0:20-0:40",)
