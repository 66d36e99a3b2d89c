"""Command-line options made from the dataclasses of settings: one name, default and help sentence for each.

Also the files that --output, --json and --markdown name: hidden until all are whole.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from openvmas.errors import OptionError
from openvmas.settings import OutputOptions, value_type

if TYPE_CHECKING:
    from openvmas.cli.terminal import Report
    from openvmas.generate.deliver import Outputs

Decorator = Callable[[Any], Any]
PATHS = ("PATH", "FOLDER")  # metavars of options that name a file or a folder

quiet_option = click.option("--quiet", is_flag=True, help="Print no progress, only the result and errors.")


@dataclass(frozen=True)
class Voice:
    """The way in which a command speaks: to a person, or to the program that started it.

    is_quiet: no progress. has_json_progress: progress as JSON lines. is_json: the result as one JSON object.
    """

    is_quiet: bool = False
    has_json_progress: bool = False
    is_json: bool = False

    def progress(self, title: str) -> contextlib.AbstractContextManager[Report]:
        """Show progress while the block runs, as `terminal.show_progress` does."""
        from openvmas.cli.terminal import show_progress

        return show_progress(title, self.is_quiet, as_json=self.has_json_progress)

    def answer(self, line: str, **data: Any) -> None:
        """Print the result: the line, or the data as one line of JSON."""
        from openvmas.generate.deliver import plain

        told = {"ok": True, "exit_code": 0, **data}
        click.echo(json.dumps(plain(told), ensure_ascii=False) if self.is_json else line)


def voice_options(command: Any) -> Any:
    """--quiet, --progress and --json; the command is given a `voice`."""

    @functools.wraps(command)
    def spoken(*args: Any, quiet: bool, progress: str, as_json: bool, **values: Any) -> Any:
        return command(*args, voice=Voice(quiet, progress == "json", as_json), **values)

    progress_help = "How progress is told on standard error: `auto` (a bar or lines) or `json` (one object a line)."
    json_help = "Print the result, or the error, as one JSON object a line."
    choice = click.Choice(("auto", "json"))
    for option in (
        click.option("--json", "as_json", is_flag=True, help=json_help),
        click.option("--progress", type=choice, default="auto", metavar="KIND", help=progress_help),
        quiet_option,
    ):
        spoken = option(spoken)
    return spoken


def flag(name: str) -> str:
    """The spelling of a field on the command line."""
    return "--" + name.replace("_", "-")


def click_option(item: Field[Any], group: type, **changes: Any) -> Decorator:
    """One field as an option whose value is None where it is not given.

    Ranges and choices are left to `settings.checked`, so that Python, files and the shell give the same messages.
    changes: arguments of `click.option` that differ.
    """
    kind, _, is_tuple = value_type(item, group)
    names = (*item.metadata.get("flags", ()), flag(item.name), item.name)
    text = item.metadata["help"]
    if kind is bool:
        return click.option(*names, **{"is_flag": True, "default": None, "help": text, **changes})
    if item.default not in (None, MISSING, ""):
        text += f" [default: {item.default:g}]" if kind is float else f" [default: {item.default}]"
    metavar = item.metadata.get("metavar", "TEXT" if kind is str else "NUMBER")
    settings = {"type": kind, "multiple": is_tuple, "metavar": metavar, "envvar": item.metadata.get("envvar")}
    if metavar in PATHS and kind is str:
        settings["type"] = click.Path()  # a string as before, which shells complete
    if choices := item.metadata.get("choices"):
        settings["shell_complete"] = lambda ctx, param, word: [name for name in choices if name.startswith(word)]
    return click.option(*names, **{**settings, "help": text, **changes})


def options_of(*groups: type, only: Sequence[str] = (), leave_out: Sequence[str] = (), **changes: Any) -> Decorator:
    """The fields of dataclasses as options of a command, in their order.

    only, leave_out: names of fields. changes: as for `click_option`.
    """

    def decorate(command: Any) -> Any:
        items = [(item, group) for group in groups for item in fields(group)]
        items = [(i, g) for i, g in items if (not only or i.name in only) and i.name not in leave_out]
        # click collects the options of a function from its last decorator, those of a command from its first.
        for item, group in items if isinstance(command, click.Command) else reversed(items):
            command = click_option(item, group, **changes)(command)
        return command

    return decorate


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the user gave, out of all values of a command."""
    return {name: value for name, value in values.items() if value not in (None, ())}


def output_options(result: str) -> Decorator:
    """--output and --overwrite for a command whose result is not a video. result: its path if --output is left out."""

    def decorate(command: Any) -> Any:
        command = options_of(OutputOptions, only=("overwrite",), default=False)(command)
        return click.option("-o", "--output", metavar="PATH", help=f"Path of the result; {result} if left out.")(
            command
        )

    return decorate


@contextlib.contextmanager
def result_of(source: str, target: Path, overwrite: bool) -> Iterator[Path]:
    """Checks the target, then gives a hidden file to write; renames it at the end. Raises OutputError."""
    from openvmas.files import explain_write_errors
    from openvmas.generate.deliver import Outputs

    with Outputs(source, overwrite) as outputs, explain_write_errors(target.parent):
        yield outputs.reserve(target)
        outputs.commit()


def reserve(outputs: Outputs, json_path: str | None, markdown: str | None) -> dict[str, Path]:
    """The hidden files to write to. Raises OutputError."""
    asked = (("json", json_path, "--json"), ("page", markdown, "--markdown"))
    return {kind: outputs.reserve(path, option) for kind, path, option in asked if path}


def write(targets: dict[str, Path], page: str, data: dict[str, Any], table: str = "") -> None:
    """The page, the figures and another page with the table into the reserved files. Raises OutputError."""
    from openvmas.files import explain_write_errors

    texts = {"page": page, "json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "table": table}
    for kind, hidden in targets.items():
        with explain_write_errors(hidden.parent):
            hidden.write_text(texts[kind], encoding="utf-8")


@contextlib.contextmanager
def extra_needed(what: str, extra: str = "eval") -> Iterator[None]:
    """Raises OptionError for a package that an import inside needs and that is missing. what: "the page needs"."""
    try:
        yield
    except ImportError as error:
        raise OptionError(f"{what} {error.name}; run: pip install 'openvmas[{extra}]'.") from error
