"""What pages name is there: commands, options, settings, metrics, paths of the API, targets of make, libraries."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import click
from packaging.requirements import Requirement

from benchmarks.commands import bench
from codewell.infra.kafka.acls import acls
from codewell.minting.template import TOKEN_KINDS
from schemas.program import ProgramSettings
from services.cli import codewell
from services.cli.doctor import CONNECTIONS_MAX
from tests.unit.test_links import pages

ROOT: Final = Path(__file__).parents[2]
CODE: Final = ("codewell", "services", "schemas", "client", "deploy", "benchmarks", "torture", "tests", "tools")
KINDS: Final = {".py", ".sql", ".yaml", ".sh", ".txt", ".json", ".tpl", ".toml"}
PAGES: Final = list(pages())
# Names that other programs give to what is Codewell's.
FOREIGN: Final = {"codewell_default", "CODEWELL_X", "CODEWELL_X_FILE"}
_FENCE: Final = re.compile(r"^ *```\w*[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_INLINE: Final = re.compile(r"`([^`]+)`")
_COMMAND: Final = re.compile(r"(?:^ *|[|(;&] *|-- |=\S+ )codewell ([^\n|;&)#>:]*)", re.MULTILINE)
_REQUEST: Final = re.compile(r"((?:GET|POST|PUT|PATCH|DELETE)(?:, (?:GET|POST|PUT|PATCH|DELETE))*) (/[^\s?]+)")
_QUOTED: Final = re.compile(r"'[^']*'" + r'|"[^"]*"')
# The address of one program, code or order.
_EXAMPLE: Final = re.compile(r"SPRING|/o-7$|^/problems")
_SERIES: Final = re.compile(r"_(?:total|bucket|count|sum)$")


def inline(page: Path) -> list[str]:
    """The code in the sentences of a page."""
    prose = _FENCE.sub("", (ROOT / page).read_text("utf-8"))
    return [re.sub(r"\s+", " ", text) for text in _INLINE.findall(prose)]


def fenced(page: Path) -> str:
    """The blocks of code of a page, a command a line."""
    return re.sub(r"\\\n\s*", "", "".join(_FENCE.findall((ROOT / page).read_text("utf-8"))))


def wrong(words: list[str]) -> Iterator[str]:
    """What the command line does not have of a command that a page names, from its second word on."""
    command: click.Command = codewell
    context = click.Context(command)
    options = {"--version"}
    for word in (word.rstrip(".,:") for word in words):
        options |= {name for one in command.get_params(context) for name in (*one.opts, *one.secondary_opts)}
        if re.fullmatch(r"--?[a-z][\w=-]*", word):
            if word.split("=")[0] not in options:
                yield f"{command.name} {word}"
        elif isinstance(command, click.Group) and re.fullmatch(r"[a-z][a-z-]*", word):
            found = bench if word == "bench" else command.get_command(context, word)
            if found is None:
                yield f"{command.name} {word}"
                return
            command = found


@cache
def words_of_code() -> frozenset[str]:
    paths = [path for name in CODE for path in (ROOT / name).rglob("*") if path.suffix in KINDS and path.is_file()]
    paths += [ROOT / "Makefile", ROOT / "deploy" / "Dockerfile"]
    texts = (path.read_text("utf-8", "replace") for path in paths)
    return frozenset(word for text in texts for word in re.findall(r"\b(?i:codewell)_\w+", text))


@cache
def requests() -> frozenset[tuple[str, str]]:
    """Methods and paths of the HTTP API, without the names of parameters."""
    document = json.loads((ROOT / "tests" / "snapshots" / "data" / "api" / "openapi.json").read_text("utf-8"))
    paths = document["paths"].items()
    return frozenset((method.upper(), without_names(path)) for path, item in paths for method in item)


def without_names(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path.removeprefix("/api/v1"))


def test_the_commands_that_pages_name_have_their_options() -> None:
    found = {}
    for page in PAGES:
        named = [text.removeprefix("codewell ") for text in inline(page) if text.startswith("codewell ")]
        named += _COMMAND.findall(_QUOTED.sub("TEXT", fenced(page)))
        found[page] = [fault for text in named for fault in wrong(text.split())]

    assert_empty(found)


def test_the_settings_and_metrics_that_pages_name_are_there() -> None:
    there = words_of_code() | FOREIGN
    found = {}
    for page in PAGES:
        named = {word for text in inline(page) for word in re.findall(r"\bcodewell_[a-z0-9_]*[a-z0-9]\b", text)}
        named |= set(re.findall(r"\bCODEWELL_[A-Z0-9_]*[A-Z0-9]\b", (ROOT / page).read_text("utf-8")))
        found[page] = sorted(word for word in named if word not in there and _SERIES.sub("", word) not in there)

    assert_empty(found)


def test_the_targets_of_make_that_pages_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    found = {}
    for page in PAGES:
        named = {text.split()[1] for text in inline(page) if re.match("make [a-z]", text)}
        named |= set(re.findall(r"^make ([a-z-]+)", fenced(page), re.MULTILINE))
        found[page] = sorted(named - targets)

    assert_empty(found)


def test_the_paths_that_pages_name_are_those_of_the_api() -> None:
    found = {
        page: [
            f"{method} {path}"
            for text in inline(page)
            for methods, path in _REQUEST.findall(text)
            for method in methods.split(", ")
            if (method, without_names(path)) not in requests() and not _EXAMPLE.search(path)
        ]
        for page in PAGES
    }

    assert_empty(found)


def test_the_page_of_programs_has_every_setting_and_token() -> None:
    page = (ROOT / "docs" / "programs.md").read_text("utf-8")
    create = codewell.get_command(click.Context(codewell), "program")
    assert isinstance(create, click.Group)
    command = create.get_command(click.Context(create), "create")
    assert command is not None
    options = {option.opts[0] for option in command.params if isinstance(option, click.Option)}
    wanted = {f"`{name}`" for name in (*ProgramSettings.model_fields, *(kind.example for kind in TOKEN_KINDS))}
    assert sorted(one for one in wanted | options - {"--json"} if one not in page) == []


def assert_empty(found: Mapping[Path, Sequence[str]]) -> None:
    assert {str(page): faults for page, faults in found.items() if faults} == {}


def test_faults_of_a_command_are_found() -> None:
    assert list(wrong(["code", "list", "SPRING", "--limit", "5", "--state=pooled"])) == []
    assert list(wrong(["code", "lost", "SPRING"])) == ["code lost"]
    assert list(wrong(["code", "list", "SPRING", "--limits", "5"])) == ["list --limits"]
    assert list(wrong(["bench", "issue", "--request", "5"])) == ["issue --request"]


def test_every_library_has_its_row() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    wanted = [*project["project"]["dependencies"], *(one for many in (*extras, *groups) for one in many)]
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text("utf-8"), re.MULTILINE)
    explained = {name.strip().lower() for row in rows for name in re.split("[,;]", row)}

    assert {Requirement(one).name for one in wanted} - explained - {"codewell"} == set()


def test_every_principal_of_kafka_has_its_row() -> None:
    page = (ROOT / "docs" / "operations" / "configure.md").read_text("utf-8")
    section = page.split("## Kafka principals")[1].split("\n## ")[0]

    rows = re.findall(r"^\| `([a-z-]+)`", section, re.MULTILINE)
    assert rows == list(dict.fromkeys(one.principal for one in acls("")))


def test_the_connections_of_each_service_are_those_that_doctor_counts() -> None:
    page = (ROOT / "docs" / "operations" / "scale.md").read_text("utf-8")
    [sentence] = re.findall(r"\*\*Connections to Postgres\*\*: at most ([^;]+);", page)

    assert [int(number) for number in re.findall(r"\d+", sentence)] == list(CONNECTIONS_MAX.values())


def test_the_members_that_the_architecture_names_are_there() -> None:
    named = re.findall(r"`(\w+)\.(\w+)`", (ROOT / "docs" / "architecture.md").read_text("utf-8"))
    named = [(owner, member) for owner, member in named if member not in {"py", "sql", "md"}]
    modules = {path: path.read_text("utf-8") for name in CODE[:2] for path in (ROOT / name).rglob("*.py")}
    schema = (ROOT / "tests" / "snapshots" / "data" / "database" / "schema.txt").read_text("utf-8")

    def is_there(owner: str, member: str) -> bool:
        homes = (text for path, text in modules.items() if path.stem == owner or f"class {owner}" in text)
        return any(re.search(rf"\b{member}\b", text) for text in homes) or f"\n{owner}.{member} " in schema

    assert named
    assert [f"{owner}.{member}" for owner, member in named if not is_there(owner, member)] == []


def test_the_structure_names_every_folder() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    structure = page.split("```")[1]
    folders = [path for name in ("codewell", "services", "tests") for path in (ROOT / name).iterdir() if path.is_dir()]

    assert [path.name for path in folders if path.name[0] not in "_." and f"{path.name}/" not in structure] == []
