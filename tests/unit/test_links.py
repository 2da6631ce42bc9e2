"""Relative links in the Markdown pages lead to files and headings that exist, and the modules they name are there."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

_ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n.*?^\1[^\n]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.+?)\s*#*$", re.MULTILINE)
_MODULE = re.compile(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+\.(?:py|sql))(?:::([a-z_0-9*]+))?`")
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_NOT_OURS = {"node_modules", "build", "dist"}


def pages() -> list[Path]:
    """All pages of the repository, without those of installed packages."""
    found = (path.relative_to(_ROOT) for path in _ROOT.rglob("*.md"))
    return sorted(path for path in found if not any(_is_foreign(part) for part in path.parts[:-1]))


def _is_foreign(folder: str) -> bool:
    return folder in _NOT_OURS or (folder.startswith(".") and folder != ".github")


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text("utf-8"))


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors that a repository host derives from a page's headings; a repeated heading gets a number."""
    found: dict[str, int] = {}
    result = set()
    for heading in _HEADING.findall(_prose(path)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = found.setdefault(name, 0)
        found[name] += 1
        result.add(f"{name}-{count}" if count else name)
    return frozenset(result)


def broken(path: Path) -> Iterator[str]:
    """The links of a page that lead nowhere."""
    text = re.sub(r"`[^`\n]*`", "", _prose(path))
    for target in _LINK.findall(text):
        if _EXTERNAL.match(target):
            continue
        name, _, anchor = unquote(target).partition("#")
        place = (path.parent / name).resolve() if name else path.resolve()
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            yield target


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_relative_link_of_a_page_resolves(page: Path) -> None:
    assert list(broken(_ROOT / page)) == []


@pytest.mark.parametrize("page", pages(), ids=str)
def test_every_module_that_a_page_names_is_there(page: Path) -> None:
    named = _MODULE.findall((_ROOT / page).read_text("utf-8"))

    assert [path for path, _ in named if not (_ROOT / path).exists()] == []
    assert [f"{path}::{test}" for path, test in named if test and not _has(_ROOT / path, test)] == []


def _has(module: Path, test: str) -> bool:
    """Whether the module has such a test; `*` stands for any end of its name."""
    return re.search(rf"def {test.replace('*', '[a-z0-9_]+')}\(", module.read_text("utf-8")) is not None


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Other page\n\n## A `code` heading, twice\n\n## A `code` heading, twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n[here](#page) [gone](#away) [file](other.md#other-page) [second](other.md#a-code-heading-twice-1)\n"
        "[third](other.md#a-code-heading-twice-2) [missing](missing.md) [web](https://example.org/missing.md)\n"
        "`[code](missing.md)`\n\n```\n[fenced](missing.md)\n```\n"
    )

    assert list(broken(page)) == ["#away", "other.md#a-code-heading-twice-2", "missing.md"]
