"""The stylesheet has rules for what pages have, and for nothing else."""

import re
from pathlib import Path
from typing import Final

import pytest

from services.console.pages import static_files

PAGES: Final = Path(static_files.__file__).parent
SHEET: Final = (PAGES / "static" / "console.css").read_text()
# The page of a development server shows parts, and is no user of them.
WORDS: Final = {
    word
    for folder, pattern in (("templates", "*.html"), ("static/modules", "*.js"))
    for path in (PAGES / folder).rglob(pattern)
    if path.name != "styleguide.html"
    for quoted in re.findall(r"'[^'\n]*'|\"[^\"\n]*\"|class=\"[^\"\n]*\"", path.read_text())
    for word in re.findall(r"[\w-]+", quoted)
}
# htmx sets these itself.
FOREIGN: Final = {"htmx-request"}
CLASSES: Final = sorted(set(re.findall(r"\.([a-z][\w-]*)", re.sub(r"\([^()]*\.svg\)|/\*.*?\*/", "", SHEET))) - FOREIGN)
BYTES_MAX: Final = 23_500


@pytest.mark.parametrize("name", CLASSES)
def test_each_class_of_the_stylesheet_is_on_a_page(name: str) -> None:
    assert name in WORDS


def test_no_rule_comes_twice() -> None:
    heads = [head.strip() for head in re.findall(r"^([^@{}\s/][^{}\n]*)\{", SHEET, re.MULTILINE)]
    assert len(heads) == len(set(heads)), sorted({one for one in heads if heads.count(one) > 1})


def test_the_stylesheet_stays_small() -> None:
    assert len(SHEET.encode()) <= BYTES_MAX
