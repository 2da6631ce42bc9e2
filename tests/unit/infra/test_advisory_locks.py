"""Advisory locks of different purposes have different numbers, or one would wait for the other."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
# The class of all, in Python and in SQL.
LOCK: Final = re.compile(r"(?:0x636F6465|1668244581), (\d+)")
# Functions of the database take this lock as well: by number, the file that says what it is for.
IN_SQL: Final = {1: "codewell/profiles/deciding_lock.py", 2: "schemas/sql/0012_audit_log.sql"}


def test_each_number_has_one_purpose() -> None:
    found: defaultdict[int, set[str]] = defaultdict(set)
    for folder in ("codewell", "services", "schemas"):
        for path in (ROOT / folder).rglob("*.*"):
            if path.suffix in {".py", ".sql"}:
                for number in LOCK.findall(path.read_text("utf-8")):
                    found[int(number)].add(str(path.relative_to(ROOT)))

    for number, place in IN_SQL.items():
        found[number] = {place} | {one for one in found[number] if not one.endswith(".sql")}
    assert len(found) > 10
    assert {number: places for number, places in found.items() if len(places) > 1} == {}
