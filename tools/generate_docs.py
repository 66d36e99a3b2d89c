"""Write docs/cli.md and the table of options in README.md from the code; --check only compares.

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
    wanted = {ROOT / "docs" / "cli.md": cli_page(), readme: with_table(readme.read_text(encoding="utf-8"))}
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
