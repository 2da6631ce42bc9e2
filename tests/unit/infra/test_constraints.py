"""Names of constraints are compared by how they begin, so that no name that is asked for begins another one."""

import re
from pathlib import Path

import asyncpg
import pytest

from codewell.infra.postgres.constraints import violates

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "tests/snapshots/data/database/schema.txt"


@pytest.mark.parametrize(
    ("name", "does"), [("code_once", True), ("code_once_7", True), ("answer_code_once", False), (None, False)]
)
def test_a_part_of_a_table_has_a_name_that_begins_so(name: str | None, does: bool) -> None:
    error = asyncpg.UniqueViolationError("duplicate key")
    error.constraint_name = name
    assert violates(error, "code_once") is does


def test_a_name_that_is_asked_for_begins_no_other_one() -> None:
    asked = {
        name
        for package in ("codewell", "services")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r'\bviolates\(error, "(\w+)"\)', path.read_text())
    }
    there = set(
        re.findall(r"^\w+ (\w+): (?:UNIQUE|PRIMARY|CHECK|FOREIGN|EXCLUDE|TRIGGER)", SCHEMA.read_text(), re.MULTILINE)
    )
    assert {"answer_once", "code_once", "idempotency_once"} <= asked
    assert {(name, other) for name in asked for other in there if other != name and other.startswith(name)} == set()
