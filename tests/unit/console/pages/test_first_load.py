"""What a browser loads with the first page stays small: 60 KB compressed in all, of which the page itself has 12."""

import gzip
from pathlib import Path
from typing import Final

from services.console.pages import static_files

STATIC: Final = Path(static_files.__file__).with_name("static")
BUDGET_BYTES: Final = 48_000
# A chart comes with the pages that have one, after the rest.
LATER: Final = {"vendor/uplot.min.js", "vendor/uplot.min.css"}
OWN_LINES_MAX: Final = 400


def test_files_of_a_first_load_are_within_the_budget() -> None:
    sizes = {
        path.relative_to(STATIC).as_posix(): len(gzip.compress(path.read_bytes(), 9))
        for path in STATIC.rglob("*")
        if path.suffix in {".css", ".js", ".svg"}
    }
    first = {name: size for name, size in sizes.items() if name not in LATER}

    assert sizes.keys() > LATER
    assert sum(first.values()) < BUDGET_BYTES, first


def test_own_modules_stay_few() -> None:
    lines = sum(len(path.read_text().splitlines()) for path in (STATIC / "modules").glob("*.js"))

    assert lines <= OWN_LINES_MAX
