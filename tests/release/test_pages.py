"""Pages, workflows and forms: links and commands that exist, and what a release relies on."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import openvmas
from openvmas.cli.main import app
from openvmas.cli.studio import studio as studio_command

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
GUIDES = ("first-steps", "recipes", "research", "integrations", "index", "fitting", "symbolic", "plan")


def nav_pages(entry: Any) -> list[str]:
    """The files that a part of mkdocs.yml's `nav` names."""
    if isinstance(entry, str):
        return [entry]
    return [page for part in (entry.values() if isinstance(entry, dict) else entry) for page in nav_pages(part)]


def test_every_page_has_its_place_in_the_site() -> None:
    text = re.sub(r"!!\S+", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    site = yaml.safe_load(text)
    placed = nav_pages(site["nav"])
    hidden = [line.strip("/ ") for line in site["not_in_nav"].splitlines()]
    assert len(placed) == len(set(placed))
    assert set(placed) | set(hidden) == {path.relative_to(ROOT / "docs").as_posix() for path in DOCS}


@pytest.mark.parametrize("page", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_of_pages_lead_to_pages(page: Path) -> None:
    """Within docs/, for the site; strict mkdocs says the same and looks at headings, too."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            found = (page.parent / target).resolve()
            assert found.is_file() and found.is_relative_to(ROOT / "docs"), f"{page.name} links to {target}"


def commands(page: str) -> list[str]:
    """Every line of a page's code that runs openvmas, with what continues it."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    cut = [re.split(r"\s(?:\||#|>|2>)|…", line)[0] for line in lines]
    return [line for line in cut if line.startswith("openvmas ") and "`" not in line and "…" not in line]


@pytest.mark.parametrize("page", GUIDES)
def test_commands_of_guides_can_be_given(page: str) -> None:
    """Their names and options exist; nothing is run."""
    for line in commands(page):
        context, command, words = click.Context(app), app, shlex.split(line)[1:]
        while isinstance(command, click.Group) and words:
            found = command.get_command(context, words.pop(0))
            assert found is not None, line
            command = found
        command.make_context("openvmas", words)  # raises UsageError for what does not exist


def test_the_guides_have_commands() -> None:
    assert sum(len(commands(page)) for page in GUIDES) >= 20


def workflows() -> dict[str, Any]:
    return {
        path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / ".github/workflows").glob("*")
    }


def test_workflows_ask_for_little_and_end_some_time() -> None:
    for name, flow in workflows().items():
        assert flow["permissions"] == {"contents": "read"}, name
        assert all(job["timeout-minutes"] <= 90 for job in flow["jobs"].values()), name
        assert not re.search(r"secrets\.", (ROOT / f".github/workflows/{name}.yml").read_text(encoding="utf-8")), name


def test_the_matrix_is_what_the_package_promises() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    promised = sorted(re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"])), key=lambda v: int(v[2:]))
    jobs = workflows()["tests"]["jobs"]
    for job in ("systems", "wheel"):
        matrix = jobs[job]["strategy"]["matrix"]
        assert matrix["python"] == [promised[0], promised[-1]]
        assert {name.partition("-")[0] for name in matrix["os"]} == {"ubuntu", "macos", "windows"}
    assert project["requires-python"] == f">={promised[0]}"


def test_the_citation_names_this_version_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == openvmas.__version__
    assert [item["url"] for item in cited["references"]] == ["https://arxiv.org/abs/2409.07450"]


def test_the_containers_write_below_data_only_and_have_no_rights() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for service in services.values():
        assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["volumes"][0].endswith(":/data")
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    user = [number for number, line in enumerate(lines) if line.startswith("USER ")]
    assert user and not [line for line in lines[user[-1] :] if line.startswith("RUN ")]


def test_the_containers_of_a_cluster_start_only_when_asked_and_by_options_that_ray_knows() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert [name for name, service in services.items() if service.get("profiles") != ["ray"]] == ["studio"]
    assert services["ray-worker"]["deploy"]["replicas"] == 2
    for name in ("ray-head", "ray-worker", "ray-studio"):
        assert services[name]["environment"].items() >= {"RAY_AUTH_MODE": "token"}.items()
    for name in ("ray-worker", "ray-studio"):
        assert services[name]["depends_on"] == {"ray-head": {"condition": "service_healthy"}}
    commands = [services[name]["command"] for name in ("ray-head", "ray-worker")]
    commands.append(services["ray-head"]["healthcheck"]["test"][2:])
    joined, studio = (part.split() for part in services["ray-studio"]["command"][0].split(" && exec openvmas studio "))
    scripts = pytest.importorskip("ray.scripts.scripts")
    for command, *arguments in [*commands, joined[1:]]:
        scripts.cli.commands[command].make_context(command, list(arguments))  # complains of an unknown option
    asked = studio_command.make_context("studio", studio).params
    assert asked["ray"] == "ray-head:6379" and asked["folder"].startswith("/data/")
