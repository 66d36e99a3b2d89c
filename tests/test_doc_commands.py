"""Every command of a page exists and takes its options; a test runs it, or the page says when and where it ran."""

from __future__ import annotations

import argparse
import functools
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from openvmas.cli.main import app, main
from tests.clips import write_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md", *(ROOT / "docs").rglob("*.md")]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# A block is followed, or a page has somewhere, a mark: "Tested by `tests/x.py`", "Run on 2026-11-23, two cores".
TESTED = re.compile(r"[Tt]ested\s+by\s((?:[^.]|\.py)*)")
TEST = re.compile(r"`(tests/[\w/]+\.py)`")
RUN = re.compile(r"[Rr]un\s+on\s+(20\d\d-\d\d-\d\d)")
WHOLE_PAGE = re.compile(r"[Ee]very command\s+of\s+(?:openvmas\s+on\s+)?this\s+page[^.]*?`(tests/[\w/]+\.py)`", re.S)
TESTED_PAGES = {"README.md": "tests/test_docs.py"}  # which has no place for such marks
SHELL = {"", "bash", "sh", "console"}
STARTERS = r"(?:openvmas|python|sh|make|pytest|torchrun|nice|pip|OPENVMAS_\w+=\S*)"
INLINE = re.compile(rf"{STARTERS} ", re.S)
UNCHECKED = {"docs/LOG.md", "docs/cli.md", "docs/renames.md"}
WORLD = {
    "apt-get", "find", "unzip", "mkdir", "dpkg", "curl", "wc", "cd", "echo", "grep", "jq", "tail", "ffmpeg", "printf",
    "docker", "openssl", "otioconvert",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A fenced block of shell commands. after: the text behind it up to the next block or heading."""

    page: str
    line: int
    text: str
    after: str


def blocks_of(page: Path) -> Iterator[Block]:
    text = re.sub(r"(?<=\n\n)(?:    \S.*\n)+", fenced, page.read_text(encoding="utf-8"))
    found = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, flags=re.S | re.M))
    for i, match in enumerate(found):
        if match.group(1) in SHELL and any(is_command(line) for line in match.group(2).splitlines()):
            stop = found[i + 1].start() if i + 1 < len(found) else len(text)
            after = re.split(r"^#", text[match.end() : stop], maxsplit=1, flags=re.M)[0]
            line = text[: match.start()].count("\n") + 1
            yield Block(str(page.relative_to(ROOT)), line, match.group(2), after)


def fenced(indented: re.Match[str]) -> str:
    """A block that is marked by four spaces, as one between fences."""
    lines = [line[4:] for line in indented.group().splitlines()]
    return f"```\n{chr(10).join(lines)}\n```\n" if is_command(lines[0]) else indented.group()


def is_command(line: str) -> bool:
    return re.match(rf"(?:{STARTERS}|apt-get|curl|\w+=\$\(|unzip|find) ", line) is not None


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def test_the_pages_have_commands() -> None:
    assert len(BLOCKS) > 15 and len({block.page for block in BLOCKS}) >= 8


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_every_block_of_commands_is_tested_or_says_where_it_was_run(block: Block) -> None:
    page = (ROOT / block.page).read_text(encoding="utf-8")
    tests = [TESTED_PAGES[block.page]] if block.page in TESTED_PAGES else []
    tests += [name for named in TESTED.findall(block.after) for name in TEST.findall(named)] + WHOLE_PAGE.findall(page)
    assert tests or RUN.search(block.after), (
        f"{block.page}, line {block.line}: say after the block which test runs it (Tested by `tests/...`) or when and "
        "where it was run (Run on 2026-11-30, two cores)"
    )
    absent = [name for name in tests if not (ROOT / name).is_file()]
    assert not absent, f"{block.page} names {absent}, which are not there"
    sources = "".join((ROOT / name).read_text(encoding="utf-8") for name in tests)
    groups = {words[1] for words in commands_of(block.text) if words[0] == "openvmas" and len(words) > 1}
    missing = [word for word in groups if f'"{word}"' not in sources and f"openvmas.{word}" not in sources]
    is_read = Path(block.page).name in sources or f'"{Path(block.page).stem}"' in sources
    assert not tests or is_read or not missing, f"{tests} do not run {missing}"


def commands_of(text: str) -> Iterator[list[str]]:
    """Words of every command of a block: variables put in, comments and what the shell does left out."""
    variables: dict[str, str] = {}
    lines = re.sub(r"\\\n\s*", " ", text)
    for line in lines.splitlines():
        if assigned := re.match(r'([A-Z]\w*)="([^"]*)"$', line.strip()):
            variables[assigned.group(1)] = assigned.group(2)
            continue
        for name, value in variables.items():
            line = re.sub(rf"\${name}\b", value, line)
        for words in split_at_operators(line):
            words = [w for w in words if not re.fullmatch(r"[A-Z_]+=\S*", w)]
            if words and words[0] == "nice":
                words = words[1:]
            if words:
                yield words


def split_at_operators(line: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;()")
    lexer.whitespace_split = True
    words: list[str] = []
    skips = False  # what a redirection writes to
    for word in lexer:
        if skips or re.fullmatch(r"[12]?>{1,2}", word):
            skips = not skips
        elif set(word) <= set("&|;()"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


def check(words: list[str], where: str) -> None:
    """Raises AssertionError if a command is not there or would refuse its options."""
    words = [w for w in words if w not in {"...", "…", "[...]"}]
    if words[:3] == ["python", "-m", "openvmas"] or words[0] == "openvmas":
        return check_openvmas(words[3 if words[0] == "python" else 1 :], where)
    if words[0] == "torchrun":
        inner = words[words.index("-m") :]
        assert inner[1] == "openvmas", where
        return check_openvmas(inner[2:], where)
    if words[0] == "python":
        if words[1] == "-m" and words[2].partition(".")[0] not in {"openvmas", "tests"}:
            return None  # a tool of others
        if words[1] == "-m":
            assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").is_file() or words[2].endswith(".X"), where
            return None
        return None if words[1] == "-c" else check_script(words[1:], where)
    if words[0] == "sh":
        assert (ROOT / words[1]).is_file(), f"{where}: {words[1]} is not there"
        return None
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
        named = [w for w in words[1:] if "=" not in w and not w.startswith("-")]
        assert set(named) <= targets, f"{where}: make has no {set(named) - targets}"
        return None
    if words[0] == "pytest":
        for word in words[1:]:
            assert word.startswith("-") or (ROOT / word.partition("::")[0]).exists(), f"{where}: {word}"
        return None
    if words[0] == "pip":
        extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
        for named in re.findall(r"\[([\w,]+)\]", " ".join(words)):
            assert set(named.split(",")) <= extras, f"{where}: no extra {named}"
        return None
    assert words[0] in WORLD or re.match(r"\w+=\$?", words[0]), f"{where}: what is {words[0]}?"
    return None


def check_openvmas(words: list[str], where: str) -> None:
    """Walk down the groups, then let click parse; paths need not exist, and arguments may be left out in a sentence."""
    command: click.Command = app
    words = [w for w in words if w != "[OPTIONS]"]
    if words[:2] == ["train", "run"] and (ROOT / words[2]).is_file():
        trainer = tomllib.loads((ROOT / words[2]).read_text(encoding="utf-8"))["trainer"]
        words = ["train", trainer, *words[3:]]
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        if name in {"X", "COMMAND"}:
            return
        inner = command.get_command(click.Context(command), name)
        assert inner is not None, f"{where}: there is no command {name} in {command.name}"
        command = inner
    given = [w.strip("[]") for w in words if w != "--help"]
    context = click.Context(command, info_name=command.name)
    try:
        values, _, _ = command.make_parser(context).parse_args(list(given))
        for item in command.get_params(context):
            if isinstance(item, click.Option) and values.get(item.name or "") is not None and not item.is_flag:
                value = values[item.name or ""]
                if any(part.isupper() for part in (value if isinstance(value, list) else [value])):
                    continue  # a placeholder such as PATH
                item.type_cast_value(context, tuple(value) if isinstance(value, list) else value)
    except click.BadOptionUsage:
        return  # an option that is spoken of, without its value
    except click.UsageError as error:
        raise AssertionError(f"{where}: {error.format_message()}") from None


class Parsed(BaseException):
    """The options of a script were understood; it need not go on."""


@functools.cache
def uses_argparse(script: Path) -> bool:
    return "ArgumentParser" in script.read_text(encoding="utf-8")


def check_script(words: list[str], where: str) -> None:
    """Run a script of tools/ or bench/ as far as its parser has understood the options."""
    script = ROOT / words[0]
    assert script.is_file(), f"{where}: {words[0]} is not there"
    options = [w.strip("[]") for w in words[1:]]
    if len(words) == 1 or not uses_argparse(script):
        return
    stop = argparse.ArgumentParser.parse_args

    def parse(parser: argparse.ArgumentParser, *arguments: object, **named: object) -> None:
        try:
            stop(parser, *arguments, **named)  # type: ignore[arg-type]
        except SystemExit as error:
            raise AssertionError(f"{where}: {words[0]} refuses {' '.join(options)}") from error
        raise Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [words[0], *options])
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")
def test_every_command_of_a_block_is_there_and_takes_its_options(block: Block) -> None:
    for words in commands_of(block.text):
        check(words, f"{block.page}, line {block.line}: {' '.join(words)}")


@pytest.mark.parametrize("name", [n for n in NAMES if n not in UNCHECKED])
def test_every_command_in_a_sentence_is_there_and_takes_its_options(name: str) -> None:
    """Nothing is asked of cli.md, which is made from the code, nor of the log and the old names: they tell what was."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.S | re.M)
    for command in filter(INLINE.match, re.findall(r"`([^`]+)`", text)):
        for words in commands_of(" ".join(command.split())):
            check(words, f"{name}: {command}")


@pytest.mark.parametrize(
    "wrong",
    [
        "openvmas scoer clip.mp4",
        "openvmas score --loundess 3",
        "openvmas eval run S --limit many",
        "openvmas eval rum",
        "openvmas train joint A B --likelihood-of 3",
        "openvmas train run recipes/train/joint-mini.toml A B --bnk x",
        "python tools/none.py",
        "python bench/fad.py A --patchs 300",
        "make tset",
        "pip install 'openvmas[evil]'",
        "pytest tests/none.py",
        "frobnicate now",
    ],
)
def test_what_is_wrong_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        for words in commands_of(wrong):
            check(words, wrong)


@pytest.mark.parametrize("page", ["docs/words.md", "docs/plan.md", "docs/symbolic.md"])
def test_the_commands_of_these_pages_run(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In small: a clip of 2 s and one candidate."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 2.0)
    (block,) = (block for block in BLOCKS if block.page == page)
    for words in commands_of(block.text):
        small = ["--candidates", "1"] if words[1] == "score" else []
        assert main([*words[1:], *small, "--overwrite", "--quiet"]) == 0, words
    assert (tmp_path / "clip.scored.mp4").stat().st_size > 2000
