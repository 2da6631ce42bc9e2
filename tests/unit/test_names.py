"""Names in the packages of the wheel: the field's terms, one class of a name, and modules of a readable size."""

import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple, TypeGuard

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("codewell", "services", "schemas")
LINES_MAX: Final = 300
MEDIAN_LINES_MAX: Final = 120
# Words of prose in docstrings, comments and pages: name the process or the person who does it.
PROSE: Final = re.compile(r"\b(whoever|nobody)\b", re.IGNORECASE)
# Parts of identifiers and of module names, and what to write instead.
TERMS: Final = {
    "ahead": "prefetched, or read_ahead",
    "arrivals": "deliveries",
    "brokers": "kafka_config, or bootstrap_servers",
    "bury": "dead_letter",
    "by_hand": "manual",
    "callers": "authenticator",
    "doorkeeper": "auth_middleware",
    "era": "generation",
    "foreign": "unknown, or negative_cache",
    "gatherer": "batcher",
    "gathering": "coalescer",
    "glance": "summary",
    "guessers": "failed_lookup_limiter",
    "holding": "assignment",
    "holdings": "assignments",
    "intake": "writer",
    "judging": "repair_plan",
    "linking": "assigned",
    "looker": "viewer",
    "misses": "failed_lookups",
    "nobody": "the case by its name",
    "numbering": "range_allocation",
    "outbox": "batch_publisher",
    "packed": "encoded, or archive",
    "restoring": "repair",
    "standing": "closed_reason",
    "stranger": "pseudonym, or unknown",
    "strangers": "negative_cache",
    "together": "batch, or many",
    "turn": "fetch, slot or round",
    "turns": "concurrency_limit",
    "wish": "request, or item",
    "wishes": "requests, or items",
}
MODULES: Final = {
    "base": "what its contents are",
    "common": "what its contents are",
    "helpers": "what its contents are",
    "kept_answers": "stored_responses",
    "manager": "what it does",
    "once": "idempotency",
    "places": "urls",
    "refusals": "diagnose",
    "shown_settings": "effective_settings",
    "silence": "broker_watchdog",
    "utils": "what its contents are",
}
# Names that the outside knows, and terms of the field that have such a word in them.
ALLOWED: Final = {
    "misses_per_minute": "CODEWELL_MISSES_PER_MINUTE",
    "token_misses_per_minute": "CODEWELL_TOKEN_MISSES_PER_MINUTE",
}
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


class Module(NamedTuple):
    """What a module holds: its length, the names that it gives with their lines, and its classes."""

    lines: int
    names: frozenset[tuple[str, int]]
    classes: tuple[str, ...]


@cache
def modules() -> dict[Path, Module]:
    """Each module by its path."""
    paths = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    assert len(paths) > 100
    return {path.relative_to(ROOT): read(path) for path in paths}


def read(path: Path) -> Module:
    source = path.read_text()
    nodes = list(ast.walk(ast.parse(source)))
    classes = tuple(node.name for node in nodes if isinstance(node, ast.ClassDef))
    return Module(source.count("\n"), frozenset({(path.stem, 1), *identifiers(nodes)}), classes)


def identifiers(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


@cache
def words(identifier: str) -> str:
    """The parts of a name in lower case: `_ReadAhead` is `_read_ahead_`."""
    return f"_{'_'.join(_PART.findall(identifier)).lower()}_"


def test_names_are_split_at_underscores_and_capitals() -> None:
    assert words("_ReadAhead") == "_read_ahead_"
    assert words("HTTPServer_max2") == "_http_server_max_"
    assert words("overall") == "_overall_"


@pytest.mark.parametrize("word", TERMS)
def test_a_word_that_was_replaced_does_not_come_back(word: str) -> None:
    found = [
        f"{path}:{line}: {name}"
        for path, module in modules().items()
        for name, line in module.names
        if f"_{word}_" in words(name) and name not in ALLOWED
    ]
    assert not found, f"instead of {word!r} write {TERMS[word]}:\n" + "\n".join(found)


def test_modules_are_named_by_what_they_hold() -> None:
    found = [f"{path}: {MODULES[name]}" for path in modules() for name in path.with_suffix("").parts if name in MODULES]
    assert not found, "write instead:\n" + "\n".join(found)


def test_no_two_classes_have_one_name() -> None:
    found = defaultdict(list)
    for path, module in modules().items():
        for name in module.classes:
            found[name].append(str(path))
    assert {name: paths for name, paths in found.items() if len(paths) > 1} == {}


def test_modules_are_short() -> None:
    lines = {str(path): module.lines for path, module in modules().items() if path.name != "__init__.py"}
    assert {path: count for path, count in lines.items() if count > LINES_MAX} == {}
    assert median(lines.values()) <= MEDIAN_LINES_MAX


def test_what_is_allowed_is_there() -> None:
    assert ALLOWED.keys() <= {name for module in modules().values() for name, _ in module.names}


def test_prose_names_who_acts() -> None:
    found = []
    for path in modules():
        source = (ROOT / path).read_text("utf-8")
        prose = {node.value: node.lineno for node in ast.walk(ast.parse(source)) if is_text(node)}
        prose |= {token.string: token.start[0] for token in tokens(source) if token.type == tokenize.COMMENT}
        found += [f"{path}:{line}" for text, line in prose.items() if PROSE.search(str(text))]
    pages = [page for page in (ROOT / "docs").rglob("*.md") if PROSE.search(page.read_text("utf-8"))]
    assert (found, pages) == ([], [])


def is_text(node: ast.AST) -> TypeGuard[ast.Constant]:
    """Whether a node is the text of more than a word: a docstring, or a sentence for a person."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def tokens(source: str) -> Iterator[tokenize.TokenInfo]:
    return tokenize.generate_tokens(io.StringIO(source).readline)
