"""Each rule of the audit finds the rows of the one thing that it forbids, and nothing else finds them."""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

import pytest

from codewell.audit.promises import FILE, ROWS_SHOWN_MAX, audit, rules
from codewell.infra.postgres.connection import COMMAND_TIMEOUT_S, Connection
from codewell.issuing.claim import Claims
from codewell.pool.fill import generate
from codewell.pool.minter_cache import Minters
from services.standalone.postgres_data import binaries
from tests.support.factories import message, program

PROFILES = ("p-0", "p-1", "p-2")
STRANGE = UUID(int=0xBAD)

# Answers that only an INSERT can give: a preview's part, and a code given for the second time.
_PART = "INSERT INTO answer (request_id, ordinal, program_id, preview, profile_id, code) VALUES "
_AGAIN = (
    "INSERT INTO answer (request_id, ordinal, program_id, block_id, position, again, profile_id, code) "
    "SELECT 'bad00000-0000-0000-0000-000000000000', 0, program_id, block_id, position, again, profile_id, code "
    "FROM answer WHERE position = 0"
)
# A block of one text, which isn't there.
_LIST_BLOCK = "INSERT INTO block (program_id, kind, size, origin) VALUES (1, 'list', 1, 'generate')"

_ORDER = (
    "INSERT INTO remote_request (id, program_id, count, fields, origin, state, finished_at, received) "
    f"VALUES ('{STRANGE}', 1, {{count}}, '{{{{}}}}', 'pool', '{{state}}', {{finished}}, {{received}})"
)

GIVEN_OUTSIDE = "a code was given outside the program's validity period, or while it was switched off or removed"
MADE_OUTSIDE = (
    "codes were made outside the program's validity period, while it was switched off or removed, or for a source "
    "that may not create any"
)
CLOSED = "I4 a closed block that has not expired holds codes still"
# Later than a claim can be that read the program before it changed.
LATE = "interval '1 h'"


class Break(NamedTuple):
    """How to break one rule, and some of what its finding must say."""

    says: str
    statements: tuple[str, ...]
    finds: Sequence[dict[str, Any]]


BREAKS = (
    Break(
        "a place in a block was given twice",
        (
            "DROP INDEX answer_code_once",
            _AGAIN,
            "UPDATE block SET next = 4, attached = 4 WHERE id = 1",
        ),
        [{"block_id": 1, "position": 0, "profiles": ["p-0", "p-0"]}],
    ),
    Break(
        "a code of a program was given to two profiles",
        ("UPDATE answer SET code = 'SAME' WHERE profile_id <> 'p-2'",),
        [{"program": "SPRING", "code": "SAME", "profiles": ["p-0", "p-1"]}],
    ),
    Break(
        "a code of a program was given to two profiles",
        (
            "UPDATE program SET shared = true",
            "UPDATE program_history SET held_from = now() + interval '1 h' WHERE shared",
            "UPDATE answer SET code = 'SAME' WHERE profile_id <> 'p-2'",
        ),
        [{"program": "SPRING", "code": "SAME", "profiles": ["p-0", "p-1"]}],
    ),
    Break(
        "a code was given again that was never given first",
        (_AGAIN.replace("again, profile_id, code FROM", "true, profile_id, 'OTHER' FROM"),),
        [{"block_id": 1, "position": 0, "code": "OTHER"}],
    ),
    Break(
        "two blocks hold the same numbers",
        ("ALTER TABLE block DROP CONSTRAINT block_numbers_once", "UPDATE block SET first = 30 WHERE id = 2"),
        [{"block": 1, "other": 2, "program_id": 1, "version": 1}],
    ),
    Break(
        "a request has two answers",
        (
            "ALTER TABLE answer DROP CONSTRAINT answer_once",
            f"{_PART} ('{STRANGE}', 0, 1, true, 'p-0', 'A'), ('{STRANGE}', 0, 1, true, 'p-0', 'B')",
            f"{_PART} ('{STRANGE}', 2, 1, true, 'p-0', 'C')",
        ),
        [{"request_id": STRANGE, "ordinal": 0}],
    ),
    Break(
        "a request was both refused and given codes, or has two profiles",
        (f"{_PART} ('{STRANGE}', 0, 1, true, 'p-0', 'A'), ('{STRANGE}', 1, 1, true, 'p-1', 'B')",),
        [{"request_id": STRANGE, "profiles": ["p-0", "p-1"]}],
    ),
    Break(
        "a request was both refused and given codes, or has two profiles",
        (
            f"{_PART} ('{STRANGE}', 1, 1, true, 'p-0', 'A')",
            f"INSERT INTO answer (request_id, ordinal, profile_id, refusals) VALUES ('{STRANGE}', 0, 'p-0', '[]')",
        ),
        [{"request_id": STRANGE, "profiles": ["p-0"]}],
    ),
    Break(
        "a part of an answer is missing",
        (f"{_PART} ('{STRANGE}', 0, 1, true, 'p-0', 'A'), ('{STRANGE}', 2, 1, true, 'p-0', 'B')",),
        [{"request_id": STRANGE, "parts": 2, "expected": 3}],
    ),
    Break(
        "codes were taken from a block that nobody was given",
        ("ALTER TABLE block DROP CONSTRAINT block_conserved", "UPDATE block SET next = next + 5 WHERE id = 1"),
        [{"block": 1, "next": 8, "holes": 0, "attached": 3, "deleted": 0, "returned": 0}],
    ),
    Break(
        "a block counts other codes than it gave",
        ("UPDATE block SET next = 4, attached = 4 WHERE id = 1",),
        [{"block": 1, "program_id": 1, "attached": 4, "given": 3}],
    ),
    Break(
        "a block counts other returned codes or holes than there are",
        (
            "UPDATE block SET holes = 1, deleted = 1 WHERE id = 2",
            "INSERT INTO code_state (block_id, position, deleted_at) VALUES (2, 0, now())",
        ),
        [{"block": 2, "holes": 1, "marked_holes": 0}],
    ),
    Break(
        "a program's returned codes are not in as many blocks of their own",
        (
            "UPDATE block SET next = 1, returned = 1 WHERE id = 2",
            "INSERT INTO code_state (block_id, position, returned_at) VALUES (2, 0, now())",
            "UPDATE program SET made = made - 1 WHERE id = 1",
        ),
        [{"program_id": 1, "returned": 1, "blocks": 0}],
    ),
    Break(
        "a profile would get a code again that is not its own",
        (
            (
                "INSERT INTO holding (program_id, profile_id, scope, block_id, position, code) "
                "SELECT program_id, 'p-9', '', block_id, position, code FROM answer WHERE position = 2"
            ),
        ),
        [{"program_id": 1, "profile_id": "p-9"}],
    ),
    Break(
        "a block counts other deleted codes than there are",
        ("UPDATE block SET deleted = 2, next = 2 WHERE id = 2",),
        [{"block": 2, "deleted": 2, "marked": 0}],
    ),
    Break(
        "a block counts other deleted codes than there are",
        ("INSERT INTO code_state (block_id, position, deleted_at) VALUES (2, 0, now())",),
        [{"block": 2, "deleted": 0, "marked": 1}],
    ),
    Break(
        "a code was given from a block that doesn't hold it",
        ("UPDATE answer SET position = 40 WHERE position = 2",),
        [{"block_id": 1, "position": 40}],
    ),
    Break(
        "a code was given from a block that doesn't hold it",
        ("UPDATE answer SET program_id = (SELECT id FROM program WHERE name = 'OTHER') WHERE position = 1",),
        [{"block_id": 1, "position": 1}],
    ),
    Break(
        "a program's blocks hold another number of codes than it made and took in",
        ("UPDATE program SET imported = 7 WHERE name = 'SPRING'",),
        [{"program": "SPRING", "made": 60, "imported": 7, "held": 60}],
    ),
    Break(
        "a block of texts holds another number of texts than it has codes",
        (_LIST_BLOCK, "UPDATE program SET imported = 1 WHERE name = 'SPRING'"),
        [{"program_id": 1, "size": 1, "texts": 0}],
    ),
    Break(
        "a text is in no place of a block of its program",
        ("INSERT INTO code VALUES (1000, 0, 1, 'ASTRAY')",),
        [{"block_id": 1000, "position": 0}],
    ),
    Break(
        "an import counts other codes than its blocks hold",
        (
            (
                "INSERT INTO import (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, imported) "
                "SELECT gen_random_uuid(), 1, 'f', 1, sha256(''), '{}', false, 2"
            ),
        ),
        [{"imported": 2, "taken_back": 0}],
    ),
    Break(
        "a closed block that has not expired holds codes still",
        ("UPDATE block SET open = false WHERE id = 2",),
        [{"block": 2, "size": 20, "next": 0, "holes": 0}],
    ),
    Break(
        "a template minted other numbers than are in blocks",
        ("UPDATE template_version SET next_number = 61 WHERE program_id = 1",),
        [{"program_id": 1, "version": 1, "next_number": 61, "skipped": 0, "in_blocks": 60}],
    ),
    Break(
        "a template minted other numbers than are in blocks",
        ("UPDATE template_version SET skipped = 1 WHERE program_id = 1",),
        [{"program_id": 1, "version": 1, "next_number": 60, "skipped": 1, "in_blocks": 60}],
    ),
    Break(
        "a template minted other numbers than are in blocks",
        ("UPDATE block SET first = 1000 WHERE id = 2",),
        [{"program_id": 1, "next_number": 60, "in_blocks": 60}],
    ),
    Break(
        "a program holds more codes than its maximum",
        (
            "ALTER TABLE program DROP CONSTRAINT program_maximum",
            "UPDATE program SET codes_max = 59, pool_max = 59 WHERE name = 'SPRING'",
        ),
        [{"program": "SPRING", "codes_max": 59, "made": 60, "held": 60}],
    ),
    Break(
        "a program holds more codes than its maximum",
        (
            "ALTER TABLE program DROP CONSTRAINT program_maximum",
            "UPDATE program SET on_order = 9_950 WHERE name = 'SPRING'",
            _ORDER.format(count=9_950, state="open", finished="NULL", received=0),
        ),
        [{"program": "SPRING", "codes_max": 10_000, "made": 60, "on_order": 9_950}],
    ),
    Break(
        "a program has other codes on order than its open requests ask for",
        (_ORDER.format(count=5, state="open", finished="NULL", received=0),),
        [{"program": "SPRING", "on_order": 0, "asked": 5}],
    ),
    Break(
        "a program has other codes on order than its open requests ask for",
        ("UPDATE program SET on_order = 5 WHERE name = 'OTHER'",),
        [{"program": "OTHER", "on_order": 5, "asked": 0}],
    ),
    Break(
        "a remote service brought other codes than are in blocks",
        (_ORDER.format(count=5, state="done", finished="now()", received=4),),
        [{"request_id": STRANGE, "state": "done", "received": 4, "in_blocks": 0}],
    ),
    Break(
        "a remote service brought other codes than are in blocks",
        (
            _ORDER.format(count=20, state="done", finished="now()", received=20),
            f"UPDATE block SET remote_request_id = '{STRANGE}' WHERE id = 2",
        ),
        [{"request_id": STRANGE, "received": 20, "in_blocks": 20, "texts": 0}],
    ),
    Break(
        "a code was given after it had expired",
        ("UPDATE answer SET expires_at = answered_at WHERE profile_id = 'p-1'",),
        [{}],
    ),
    Break(
        GIVEN_OUTSIDE,
        ("UPDATE program_history SET valid_until = (SELECT min(answered_at) FROM answer)",),
        [{"program": "SPRING"}] * 3,
    ),
    Break(
        GIVEN_OUTSIDE,
        ("UPDATE program_history SET valid_from = now()", "UPDATE block SET created_at = now()"),
        [{"program": "SPRING"}] * 3,
    ),
    Break(
        GIVEN_OUTSIDE,
        (
            "UPDATE program SET active = false WHERE name = 'SPRING'",
            f"UPDATE answer SET answered_at = now() + {LATE} WHERE profile_id = 'p-1'",
        ),
        [{"program": "SPRING"}],
    ),
    Break(
        GIVEN_OUTSIDE,
        (
            "UPDATE program SET removed_at = now() WHERE name = 'SPRING'",
            f"UPDATE answer SET answered_at = now() + {LATE} WHERE profile_id = 'p-1'",
        ),
        [{"program": "SPRING"}],
    ),
    Break(
        MADE_OUTSIDE,
        ("UPDATE program_history SET valid_from = (SELECT min(answered_at) FROM answer)",),
        [{"program": "SPRING", "block": 1}, {"program": "SPRING", "block": 2}],
    ),
    Break(
        MADE_OUTSIDE,
        (
            "UPDATE program SET active = false WHERE name = 'SPRING'",
            "UPDATE block SET created_at = clock_timestamp() WHERE id = 2",
        ),
        [{"program": "SPRING", "block": 2, "origin": "generate"}],
    ),
    Break(
        MADE_OUTSIDE,
        (
            "UPDATE program SET campaign_can_create = false, scenario_can_create = false",
            "UPDATE block SET origin = 'pool', created_at = clock_timestamp() WHERE id = 2",
        ),
        [{"program": "SPRING", "block": 2, "origin": "pool"}],
    ),
    Break(
        MADE_OUTSIDE,
        (
            "UPDATE program SET campaign_can_create = false",
            "UPDATE block SET origin = 'request', source = 'campaign', created_at = clock_timestamp() WHERE id = 1",
            "UPDATE block SET origin = 'request', source = 'scenario', created_at = clock_timestamp() WHERE id = 2",
        ),
        [{"program": "SPRING", "block": 1, "origin": "request", "source": "campaign"}],
    ),
    Break(
        MADE_OUTSIDE,
        (
            "UPDATE program_history SET scenario_can_create = false",
            "UPDATE block SET origin = 'request', source = 'campaign' WHERE id = 1",
            "UPDATE block SET origin = 'request', source = 'scenario' WHERE id = 2",
        ),
        [{"program": "SPRING", "block": 2, "origin": "request", "source": "scenario"}],
    ),
)


@pytest.fixture
async def stocked(connection: Connection, claims: Claims, minters: Minters) -> Connection:
    """SPRING with blocks of 40 and 20 codes, three of which were given; and OTHER, which has none."""
    spring = await program(connection, minters)
    await program(connection, minters, "OTHER")
    await generate(connection, minters, spring.id, 40, None)
    await generate(connection, minters, spring.id, 20, None)
    for profile_id in PROFILES:
        await claims.attach([message("SPRING", profile_id=profile_id)])
    return connection


async def test_a_database_in_order_has_no_findings(stocked: Connection, claims: Claims) -> None:
    await claims.attach([message("NOPE"), message("SPRING", preview=True), message("SPRING", "OTHER")])

    assert await audit(stocked) == []


@pytest.mark.parametrize("broken", BREAKS, ids=[f"{n}-{one.says.replace(' ', '-')}" for n, one in enumerate(BREAKS)])
async def test_what_is_broken_is_found(stocked: Connection, broken: Break) -> None:
    for statement in broken.statements:
        await stocked.execute(statement)

    findings = await audit(stocked)

    assert [finding.rule.says for finding in findings] == [broken.says]
    [finding] = findings
    assert finding.breaking == len(finding.rows) == len(broken.finds)
    found = [{name: row[name] for name in broken.finds[0]} for row in finding.rows]
    assert sorted(found, key=str) == sorted(broken.finds, key=str)


def test_every_rule_is_broken_above() -> None:
    assert [rule.says for rule in rules()] == list(dict.fromkeys(one.says for one in BREAKS))


async def test_more_rows_than_are_shown_are_counted(stocked: Connection) -> None:
    rows = ROWS_SHOWN_MAX + 5
    part = "(gen_random_uuid(), 1, 1, true, 'p-0', 'A')"
    await stocked.execute(_PART + ", ".join([part] * rows))

    [finding] = await audit(stocked)

    assert finding.rule.promise == "I3"
    assert (finding.breaking, len(finding.rows)) == (rows, ROWS_SHOWN_MAX)


async def psql(url: str, *options: str) -> str:
    """What psql says of the file of all rules; fails where it can't run a statement."""
    words = [
        str(binaries() / "psql"),
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        *options,
        f"--file={FILE}",
        url,
    ]
    child = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=STDOUT)
    said, _ = await child.communicate()
    assert child.returncode == 0, said
    return said.decode()


async def test_psql_finds_nothing_in_a_database_in_order(stocked: Connection, database_url: str) -> None:
    assert (await psql(database_url)).count("(0 rows)") == len(rules())
    assert not await psql(database_url, "--tuples-only", "--no-align")


async def test_psql_finds_what_is_broken_and_says_by_which_rule(stocked: Connection, database_url: str) -> None:
    await stocked.execute("UPDATE block SET open = false WHERE id = 2")
    await stocked.execute("UPDATE program SET active = false WHERE name = 'SPRING'")
    await stocked.execute(f"UPDATE answer SET answered_at = now() + {LATE} WHERE profile_id = 'p-1'")

    said = await psql(database_url, "--tuples-only", "--no-align", "--echo-all")

    parts = [part.partition("\n") for part in said.split("-- name: ")[1:]]
    found = {name: [row.split("|") for row in rest.partition(";\n")[2].split()] for name, _, rest in parts}
    assert [name for name, rows in found.items() if rows and rows != [["COMMIT;"]]] == [CLOSED, f"I6 {GIVEN_OUTSIDE}"]
    assert found[CLOSED] == [["2", "1", "20", "0", "0"]]


def test_a_late_answer_is_allowed_for_as_long_as_a_commit_and_a_statement_may_take() -> None:
    assert f"\\set late '{2 * COMMAND_TIMEOUT_S:g} s'\n" in FILE.read_text()


def test_every_statement_of_the_file_is_a_rule() -> None:
    statements = FILE.read_text().count(";\n")
    assert len(rules()) == FILE.read_text().count("\n-- name: ") == statements - len(("BEGIN", "COMMIT"))
