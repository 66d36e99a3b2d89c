"""Write docs/cli.md, docs/data/recipe.md and the table of options in README.md from the code; --check only compares.

python tools/generate_docs.py [--check]
"""

from __future__ import annotations

import inspect
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import click

from openvmas.cli.main import app
from openvmas.cli.options import flag
from openvmas.data.curation.recipe import BuildOptions, FetchOptions, LicenceOptions, LimitOptions, SourceOptions
from openvmas.data.curation.set_splits import SET_STAGES
from openvmas.data.stages import STAGES
from openvmas.settings import GROUPS

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- options: made by tools/generate_docs.py -->", "<!-- /options -->"


def describe(command: click.Command, name: str) -> list[str]:
    """One command as Markdown. Not click's own text, whose layout changes with its version."""
    context = click.Context(command, help_option_names=[])
    parameters = command.get_params(context)  # of some commands they are made here
    arguments = [item.make_metavar(context) for item in parameters if isinstance(item, click.Argument)]
    usage = " ".join([name, *arguments, "[OPTIONS]"])
    lines = [f"## {name}", "", f"`{usage}`", "", *inspect.cleandoc(command.help or "").splitlines(), ""]
    for item in parameters:
        if isinstance(item, click.Option):
            value = "" if item.is_flag else f" {item.metavar}"
            lines.append(f"- `{', '.join(item.opts)}{value}`: {item.help}")
    lines.append("")
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            item = command.get_command(context, inner)
            assert item is not None
            lines += describe(item, f"{name} {inner}")
    return lines


def cli_page() -> str:
    """docs/cli.md: every command."""
    parts = ["# Commands", "", "Made from the code by `tools/generate_docs.py`.", ""]
    parts += describe(app, "openvmas")
    return "\n".join(parts)


def options_table() -> str:
    """Every field of the option dataclasses: flag, default, sentence."""
    rows = ["| option | default | what it does |", "|---|---|---|"]
    for group in GROUPS.values():
        for item in fields(group):
            rows.append(f"| `{flag(item.name)}` | {say(item.default)} | {item.metadata['help']} |")
    return "\n".join(rows)


def field_table(group: type) -> str:
    """Every field of a dataclass of options: name, default, sentence, choices."""
    rows = ["| key | default | what it is |", "|---|---|---|"]
    for item in fields(group):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        choices = item.metadata.get("choices") or ()
        text = item.metadata["help"] + (f" One of: {', '.join(choices)}." if choices and item.name != "kind" else "")
        rows.append(f"| `{item.name}` | {toml(default)} | {text} |")
    return "\n".join(rows)


def toml(default: Any) -> str:
    """A default as it would be written in a recipe; nothing where it is empty."""
    if default in (None, "", ()) or default is MISSING:
        return ""
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def recipe_page() -> str:
    """docs/data/recipe.md: every table of a recipe of `openvmas data build`."""
    parts = [
        "# Recipes of `openvmas data build`",
        "Made from the code by `tools/generate_docs.py`. A recipe is a TOML file; every name, type, range and choice "
        "is checked before anything is opened. Paths are relative to the recipe. `recipes/` has examples, "
        "[own-videos.md](../own-videos.md) a walk through one.",
    ]
    tables = {
        "[build]": BuildOptions, "[[sources]]": SourceOptions, "[licences]": LicenceOptions, "[fetch]": FetchOptions,
        "[limits]": LimitOptions,
    }  # fmt: skip
    for name, group in tables.items():
        first = inspect.cleandoc(group.__doc__ or "").splitlines()[0]
        parts += [
            f"## `{name}`",
            first.partition(": ")[2][:1].upper() + first.partition(": ")[2][1:] or first,
            field_table(group),
        ]
    parts += [
        "## `[stages]`",
        "`use = [...]` names the stages that run, in order; all of them, in the order of this page, if it is left out. "
        "Each takes one record (a file, or a span of it) and gives it on with more facts, refuses it with a reason "
        "that is counted, or makes several of it. `module:Class` is a stage of your own: a dataclass with `name` and "
        "`__call__(record, media) -> Record | Drop | list[Record]`.",
    ]
    for what, stages in (("stages", STAGES), ("sets", SET_STAGES)):
        if what == "sets":
            parts += ["## `[sets]`", "Stages that see the whole set, after all others."]
        for name, stage in stages.items():
            parts += [f"### `[{what}.{name}]`", inspect.cleandoc(stage.__doc__ or "")]
            parts += [field_table(stage)] if fields(stage) else []
    return "\n\n".join(parts) + "\n"


def say(default: Any) -> str:
    if default is None or default is MISSING:
        return ""
    if isinstance(default, bool):
        return "on" if default else "off"
    return f"{default:g}" if isinstance(default, float) else str(default)


def with_table(readme: str) -> str:
    """The README with its table between the two markers replaced; raises ValueError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the markers {BEGIN} and {END}; put them where the table belongs")
    return f"{before}{BEGIN}\n{options_table()}\n{END}{after}"


def main() -> int:
    readme = ROOT / "README.md"
    pages = {ROOT / "docs" / "cli.md": cli_page(), ROOT / "docs" / "data" / "recipe.md": recipe_page()}
    wanted = {**pages, readme: with_table(readme.read_text(encoding="utf-8"))}
    stale = [p for p, text in wanted.items() if not p.exists() or p.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says; run: python tools/generate_docs.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
