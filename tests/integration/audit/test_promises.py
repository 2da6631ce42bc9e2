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

# Codes that came back, in a block of their own.
_BACK = (
    "WITH b AS (INSERT INTO block (program_id, kind, size, origin) VALUES (1, 'list', {size}, 'return') RETURNING id) "
    "INSERT INTO code (block_id, position, program_id, text) SELECT id, n, 1, 'BACK' || n FROM b, "
    "generate_series(0, {size} - 1) AS n"
)
# When places of returned codes began to be stored.
_PLACES_SINCE = "UPDATE migration SET applied_at = {} WHERE number = 22"
_RECEIPT = "INSERT INTO send_receipt (request_id, ordinal, number, kind, program_id, outcome, reason, decided_at)"

_ORDER = (
    "INSERT INTO remote_request (id, program_id, count, fields, origin, state, finished_at, received) "
    f"VALUES ('{STRANGE}', 1, {{count}}, '{{{{}}}}', 'pool', '{{state}}', {{finished}}, {{received}})"
)

# A use and a hold of the code at the first place, by an order and with the limit of its time.
_USED = (
    "INSERT INTO code_use (program_id, block_id, position, order_id, per_code, taken_at, used_at) "
    "VALUES (1, 1, 0, {order}, {limit}, clock_timestamp(), clock_timestamp());"
)
_HELD = (
    "INSERT INTO code_use (program_id, block_id, position, order_id, per_code, taken_at, held_until) "
    "VALUES (1, 1, 0, {order}, {limit}, clock_timestamp(), now() + interval '1 h');"
)
_COUNTED = (
    "INSERT INTO code_state (block_id, position, uses, held_until) SELECT 1, 0, {uses}, max(held_until) FROM code_use"
)
_HELD_ELSEWHERE = (
    "INSERT INTO code_state (block_id, position, held_until) "
    "VALUES (1, 1, now() + interval '1 h'), (1, 2, now() - interval '1 s')"
)
# From the code of p-0 to that of p-1; and what makes that right.
_REISSUE = "INSERT INTO code_reissue VALUES (1, 1, 0, 1, 1, {number}, 1, 'lost', 'support')"
_REISSUED = (
    "INSERT INTO code_state (block_id, position, deleted_at) VALUES (1, 0, now())",
    "UPDATE block SET attached = 2, deleted = 1 WHERE id = 1",
    "UPDATE answer SET profile_id = 'p-0' WHERE position = 1",
)
_CHANGE = (
    "INSERT INTO bulk_change (id, program_id, state, void, total, changed, items, actor) "
    f"VALUES ('{STRANGE}', 1, 'done', {{void}}, 9, {{changed}}, {{items}}, 'marketing')"
)

# The code of p-0 was deleted, or has come back to a block of its own.
_DELETED = (
    "INSERT INTO code_state (block_id, position, deleted_at) VALUES (1, 0, now())",
    "UPDATE block SET attached = 2, deleted = 1 WHERE id = 1",
)
_RETURNED = (
    _BACK.format(size=1),
    ("INSERT INTO code_state (block_id, position, returned_at, moved_to) SELECT 1, 0, now(), max(id) FROM block"),
    "UPDATE code SET text = (SELECT code FROM answer WHERE position = 0)",
    "UPDATE block SET attached = 2, returned = 1 WHERE id = 1",
)
_AGAIN_LATER = _AGAIN.replace("profile_id, code)", "profile_id, code, answered_at)").replace(
    "again, profile_id, code FROM", "true, profile_id, code, now() + {late} FROM"
)
_HOLDING = (
    "INSERT INTO holding (program_id, profile_id, scope, block_id, position, code) "
    "SELECT program_id, profile_id, '', block_id, position, code FROM answer WHERE position = 0"
)
# A program has the settings that its history has, as after each change.
_AS_NOTED = (
    "ALTER TABLE program DISABLE TRIGGER USER",
    (
        "UPDATE program p SET active = h.active, valid_from = h.valid_from, valid_until = h.valid_until, "
        "scenario_can_create = h.scenario_can_create, fallback = h.fallback, min_life_at_attach = h.min_life_at_attach "
        "FROM (SELECT DISTINCT ON (program_id) * FROM program_history ORDER BY program_id, held_from DESC, id DESC) h "
        "WHERE h.program_id = p.id"
    ),
)

_ALERT_EVENT = (
    "INSERT INTO alert_event (alert_id, program_id, type, level, count, details) "
    "VALUES ({alert}, 1, '{type}', 'critical', 1, '{{}}')"
)

# Block 2 is the reservation of a campaign.
_RESERVED = (
    (
        "INSERT INTO reservation (program_id, source, source_id, count, granted, until, partial, overflow) "
        "VALUES (1, 'campaign', 'spring', 20, 20, now() + interval '1 day', false, 'pool')"
    ),
    "UPDATE program SET reservations = 1 WHERE id = 1",
    (
        "UPDATE block SET open = false, reservation_id = 1, reserved_at = now(), reserved_first = next, "
        "reserved_size = 20, reserved_takers = '{}', reserved_open = true WHERE id = 2"
    ),
)

GIVEN_OUTSIDE = "a code was given outside the program's validity period, or while it was switched off or removed"
MADE_OUTSIDE = (
    "codes were made outside the program's validity period, while it was switched off or removed, or for a source "
    "that may not create any"
)
GIVEN_BY_FALLBACK = (
    "a fallback gave a code that the asked program did not list in that place, or while the asked program was closed"
)
FALLS_BACK = "a program falls back to one that is removed, or that not all of its access groups may use"
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
        "a code of a program was given to two profiles",
        # Before it came back.
        (*_RETURNED, _AGAIN_LATER.format(late="interval '0'").replace("true, profile_id", "true, 'p-9'")),
        [{"program": "SPRING", "profiles": ["p-0", "p-9"]}],
    ),
    Break(
        "a text is in two places of a program",
        (
            "ALTER TABLE code DROP CONSTRAINT code_once",
            _BACK.format(size=2).replace("'return'", "'hand'"),
            "UPDATE program SET imported = 2 WHERE id = 1",
            "UPDATE code SET text = 'BACK'",
        ),
        [{"program_id": 1, "text": "BACK", "blocks": [3, 3]}],
    ),
    Break(
        "a code that a profile has is in another place of its program too",
        (
            _BACK.format(size=2).replace("'return'", "'hand'"),
            "UPDATE program SET imported = 2 WHERE id = 1",
            "UPDATE code SET text = (SELECT code FROM answer WHERE answer.position = 0) WHERE position = 1",
        ),
        [{"program_id": 1, "block_id": 1, "position": 0, "other": 3, "other_position": 1}],
    ),
    Break(
        "a code that a profile has is in another place of its program too",
        ("UPDATE answer SET code = 'SAME', profile_id = 'p-0' WHERE profile_id <> 'p-2'",),
        [{"program_id": 1, "code": "SAME", "block_id": 1, "position": 0, "other_position": 1}],
    ),
    Break(
        "a code was given after it had come back or was deleted",
        (*_DELETED, _AGAIN_LATER.format(late="interval '3 min'")),
        [{"position": 0, "again": True, "returned_at": None}],
    ),
    Break(
        "a code was given after it had come back or was deleted",
        (*_DELETED, "UPDATE answer SET answered_at = now() + interval '3 min' WHERE position = 0"),
        [{"position": 0, "again": False}],
    ),
    Break(
        "a code was given after it had come back or was deleted",
        (*_RETURNED, _AGAIN_LATER.format(late="interval '3 min'")),
        [{"position": 0, "again": True, "deleted_at": None}],
    ),
    Break(
        "a code was given on before it had come back",
        (
            *_RETURNED,
            "UPDATE code_state SET returned_at = now() + interval '3 min'",
            "UPDATE block SET next = 1, attached = 1, open = false WHERE id = 3",
            (
                "INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code) "
                f"SELECT '{STRANGE}', 0, 1, 3, 0, 'p-5', code FROM answer WHERE position = 0"
            ),
        ),
        [{"request_id": STRANGE, "block_id": 1, "position": 0, "moved_to": 3}],
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
        "a text of a folding program is alike to another one, or was not folded",
        (
            "ALTER TABLE folded_text DROP CONSTRAINT folded_text_once",
            "UPDATE program SET match = 'fold', version_folded = version WHERE id = 1",
            "INSERT INTO folded_text VALUES (1, 'ab12', 'AB-12'), (1, 'ab12', 'AB12'), (1, 'cd34', 'CD-34')",
        ),
        [{"program": "SPRING", "text": "ab12"}],
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
        "a request got a code although its answer may have left",
        (
            (
                "INSERT INTO retention (oldest, moved_at) "
                "SELECT 'ffffffff-ffff-ffff-ffff-ffffffffffff', max(answered_at) - interval '1 us' FROM answer"
            ),
        ),
        [{"program_id": 1}],
    ),
    Break(
        "an answer is neither a refusal, nor a preview, nor a code of a block",
        (
            "ALTER TABLE answer DROP CONSTRAINT answer_check",
            (
                "INSERT INTO answer (request_id, ordinal, program_id, profile_id, code) "
                "VALUES (gen_random_uuid(), 0, 1, 'p-0', 'A')"
            ),
            (
                "INSERT INTO answer (request_id, ordinal, program_id, preview, profile_id) "
                "VALUES (gen_random_uuid(), 0, 1, true, 'p-0')"
            ),
            (
                "INSERT INTO answer (request_id, ordinal, profile_id, code, refusals) "
                "VALUES (gen_random_uuid(), 0, 'p-0', 'A', '[]')"
            ),
        ),
        [
            {"code": "A", "preview": False, "program_id": 1},
            {"code": None, "preview": True, "program_id": 1},
            {"code": "A", "preview": False, "program_id": None},
        ],
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
        "answers have left of a block that gives codes still, or left other than they were counted",
        ("UPDATE block SET archived_until = 0 WHERE id = 2",),
        [{"block": 2, "open": True, "archived": 0, "archived_until": 0}],
    ),
    Break(
        "answers have left of a block that gives codes still, or left other than they were counted",
        ("DELETE FROM answer WHERE position = 1", "UPDATE block SET archived = 1 WHERE id = 1"),
        [{"block": 1, "archived": 1, "archived_until": None}],
    ),
    Break(
        "a block counts other returned codes or holes than there are",
        (
            "UPDATE block SET holes = 1, undone = 1 WHERE id = 2",
            "UPDATE program SET made = made - 1 WHERE id = 1",
        ),
        [{"block": 2, "holes": 1, "marked_holes": 0}],
    ),
    Break(
        "a program's returned codes are not as many as its blocks of returned codes hold",
        (
            _PLACES_SINCE.format("now()"),
            "UPDATE block SET attached = 2, returned = 1 WHERE id = 1",
            "INSERT INTO code_state (block_id, position, returned_at) VALUES (1, 0, now())",
            "UPDATE program SET made = made - 1 WHERE id = 1",
        ),
        [{"program_id": 1, "returned": 1, "held": 0}],
    ),
    Break(
        "a code that came back or was deleted would be given at its old place",
        (
            "UPDATE block SET holes = 1, deleted = 1 WHERE id = 2",
            "INSERT INTO code_state (block_id, position, deleted_at) VALUES (2, 5, now())",
            "INSERT INTO code_state (block_id, position, hole) VALUES (2, 6, true)",
        ),
        [{"block_id": 2, "position": 5, "next": 0}],
    ),
    Break(
        "a returned code is in no place of a block of its program",
        ("INSERT INTO code_state (block_id, position, moved_to) VALUES (1, 0, 2)",),
        [{"block_id": 1, "position": 0, "moved_to": 2}],
    ),
    Break(
        "a returned code is in no place of a block of its program",
        (
            *_RETURNED,
            "UPDATE code_state SET moved_to = NULL",
            _PLACES_SINCE.format("now() - interval '1 h'"),
            # Where it is not: its text is another one's.
            "UPDATE code SET text = 'OTHER'",
        ),
        [{"block_id": 1, "position": 0, "moved_to": None}],
    ),
    Break(
        "a code came back that nobody had",
        (*_RETURNED, "DELETE FROM answer WHERE position = 0"),
        [{"block_id": 1, "position": 0}],
    ),
    Break(
        "a state is of no place of a block",
        ("INSERT INTO code_state (block_id, position) VALUES (1000, 7)",),
        [{"block_id": 1000, "position": 7}],
    ),
    Break(
        "a code came back whose holder had used it, or whose order held it",
        (
            _PLACES_SINCE.format("now()"),
            _BACK.format(size=1),
            "INSERT INTO code_state (block_id, position, returned_at, activated_at) VALUES (1, 0, now(), now())",
            "UPDATE block SET attached = 2, returned = 1 WHERE id = 1",
        ),
        [{"block_id": 1, "position": 0, "uses": 0}],
    ),
    Break(
        "a code was given on that came back with others, and no receipt says so",
        (
            _BACK.format(size=2),
            (
                "INSERT INTO code_state (block_id, position, returned_at, moved_to, moved_position) "
                "SELECT 1, n, now(), (SELECT max(id) FROM block), n FROM generate_series(0, 1) AS n"
            ),
            "UPDATE block SET attached = 1, returned = 2 WHERE id = 1",
            (
                "UPDATE code c SET text = a.code FROM code_state s JOIN answer a USING (block_id, position) "
                "WHERE c.block_id = s.moved_to AND c.position = s.moved_position"
            ),
        ),
        [{"block_id": 1, "position": 0}, {"block_id": 1, "position": 1}],
    ),
    Break(
        "a receipt says that a code came back or was voided which did not",
        (
            (
                f"{_RECEIPT} SELECT request_id, 0, 0, 'before_handoff', 1, 'returned', 'before_handoff', now() "
                "FROM answer WHERE position = 0"
            ),
        ),
        [{"ordinal": 0, "outcome": "returned", "ended": None}],
    ),
    Break(
        "a receipt is of no answer, or of a code of another program",
        (
            f"{_RECEIPT} VALUES ('{STRANGE}', 0, 0, 'opened', 1, 'kept', 'opened', now())",
            f"{_RECEIPT} VALUES ('{STRANGE}', 1, 0, 'opened', NULL, 'kept', 'unknown_request', now())",
            (
                f"{_RECEIPT} SELECT request_id, 0, 0, 'opened', position + 1, 'kept', 'opened', now() "
                "FROM answer WHERE position <> 2"
            ),
        ),
        [{"program_id": 1, "answered": None}, {"program_id": 2, "answered": 1}],
    ),
    Break(
        "a code waits in quarantine a day after its end, although its program's returns are not stopped",
        (
            (
                f"{_RECEIPT[:-1]}, due_at) SELECT request_id, 0, 0, 'permanent', 1, 'quarantined', 'after_handoff', "
                "now(), now() - interval '23 h' - position * interval '45 min' FROM answer"
            ),
        ),
        [{"ordinal": 0, "program_id": 1}],
    ),
    Break(
        "a receipt was answered twice, or a code came back twice",
        (
            (
                f"{_RECEIPT} SELECT request_id, 0, n, 'opened', 1, 'kept', 'opened', now() "
                "FROM answer, generate_series(0, 1) AS n WHERE position = 0"
            ),
        ),
        [{"ordinal": 0, "kinds": ["opened", "opened"]}],
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
        "a profile would get a code again that is not its own",
        (*_DELETED, _HOLDING),
        [{"program_id": 1, "profile_id": "p-0"}],
    ),
    Break(
        "a reissue is not from a deleted code to one code of the same profile",
        (_REISSUE.format(number=1),),
        [{"old_block_id": 1, "old_position": 0, "new_position": 1}],
    ),
    Break(
        "a code was reissued twice, or replaces two",
        (
            *_REISSUED,
            "ALTER TABLE code_reissue DROP CONSTRAINT code_reissue_once, DROP CONSTRAINT code_reissue_new_once",
            _REISSUE.format(number=1),
            _REISSUE.format(number=1),
        ),
        [{"block_id": 1, "position": 0, "links": 2}, {"block_id": 1, "position": 1, "links": 2}],
    ),
    Break(
        "a code was reissued more often in a row than its program allowed",
        (
            *_REISSUED,
            "ALTER TABLE code_reissue DROP CONSTRAINT code_reissue_maximum",
            _REISSUE.format(number=2),
        ),
        [{"new_position": 1, "number": 2, "reissues_max": 1}],
    ),
    Break(
        "a block counts other deleted codes than there are",
        ("UPDATE block SET deleted = 2, next = 2 WHERE id = 2",),
        [{"block": 2, "deleted": 2, "marked": 0}],
    ),
    Break(
        "a block counts other deleted codes than there are",
        (
            "INSERT INTO code_state (block_id, position, deleted_at) VALUES (2, 0, now())",
            "UPDATE block SET next = 1, undone = 1 WHERE id = 2",
            "UPDATE program SET made = made - 1 WHERE id = 1",
        ),
        [{"block": 2, "deleted": 0, "marked": 1}],
    ),
    Break(
        "a block voided other codes than it had in the pool",
        ("UPDATE block SET voided_at = now(), voided_from = 0, voided = 19, deleted = 19, next = 19 WHERE id = 2",),
        [{"block": 2, "voided": 19, "holes": 0}],
    ),
    Break(
        "a change of many codes did not end with exactly its effect",
        (_CHANGE.format(void="false", changed=5, items=0),),
        [{"changed": 5, "listed": 0}],
    ),
    Break(
        "codes that a change deleted are not deleted",
        (
            _CHANGE.format(void="true", changed=1, items=1),
            (
                "INSERT INTO bulk_change_item (change_id, number, block_id, position, outcome, codes) "
                f"VALUES ('{STRANGE}', 0, 1, 0, 'changed', 1)"
            ),
        ),
        [{"block_id": 1, "position": 0}],
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
        "a code was given with another text than its place has",
        (
            _BACK.format(size=1).replace("'return'", "'hand'"),
            "UPDATE program SET imported = 1 WHERE id = 1",
            "UPDATE block SET next = 1, attached = 1, open = false WHERE id = 3",
            (
                "INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code) "
                f"VALUES ('{STRANGE}', 0, 1, 3, 0, 'p-5', 'OTHER')"
            ),
        ),
        [{"request_id": STRANGE, "block_id": 3, "position": 0}],
    ),
    Break(
        "a code was given with another text than its place has",
        (*_RETURNED, "UPDATE code SET text = 'OTHER'"),
        [{"block_id": 3, "position": 0}],
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
        "an import counts other codes than its blocks hold",
        (
            (
                "INSERT INTO import (id, program_id, file_name, file_bytes, file_sha256, options, uploaded, imported) "
                f"SELECT '{STRANGE}', 2, 'f', 1, sha256(''), '{{}}', false, 20"
            ),
            f"UPDATE block SET origin = 'import', import_id = '{STRANGE}' WHERE id = 2",
        ),
        [{"id": STRANGE, "imported": 20, "size": None}],
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
        "a profile would get a code again after its expiry",
        ("UPDATE answer SET expires_at = now() + interval '1 day' WHERE position = 0", _HOLDING),
        [{"program_id": 1, "profile_id": "p-0", "expires_at": None}],
    ),
    Break(
        "a profile would get a code again after its expiry",
        (
            _HOLDING,
            (
                "INSERT INTO code_state (block_id, position, changed, expires_at) "
                "VALUES (1, 0, true, now() + interval '1 day')"
            ),
        ),
        [{"program_id": 1, "profile_id": "p-0", "expires_at": None}],
    ),
    Break(
        "a pooled code was given after its block's end, or with less life left than its program asks for",
        (
            "UPDATE program_history SET min_life_at_attach = interval '2 days'",
            "UPDATE block SET expires_at = now() + interval '1 day'",
            *_AS_NOTED,
        ),
        [{"program": "SPRING"}] * 3,
    ),
    Break(
        "a pooled code was given after its block's end, or with less life left than its program asks for",
        ("UPDATE block SET expires_at = answered_at FROM answer WHERE answer.position = 1 AND id = 1",),
        [{"program": "SPRING"}] * 2,
    ),
    Break(
        "a program has other settings than were noted of it last",
        (
            "UPDATE program SET active = false WHERE name = 'OTHER'",
            "ALTER TABLE program DISABLE TRIGGER USER",
            "UPDATE program SET active = true, min_life_at_attach = interval '1 h'",
        ),
        [{"program": "OTHER"}, {"program": "SPRING"}],
    ),
    Break(
        GIVEN_OUTSIDE,
        ("UPDATE program_history SET valid_until = (SELECT min(answered_at) FROM answer)", *_AS_NOTED),
        [{"program": "SPRING"}] * 3,
    ),
    Break(
        GIVEN_OUTSIDE,
        ("UPDATE program_history SET valid_from = now()", "UPDATE block SET created_at = now()", *_AS_NOTED),
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
        GIVEN_BY_FALLBACK,
        ("UPDATE answer SET asked_program_id = 2, link = 1 WHERE profile_id = 'p-1'",),
        [{"asked": "OTHER", "program": "SPRING", "link": 1}],
    ),
    Break(
        GIVEN_BY_FALLBACK,
        (
            # In its list, yet in another place; and in its place, while it was switched off.
            "UPDATE program SET fallback = '{NOPE,SPRING}', groups = '{a}', removed_at = now() WHERE name = 'OTHER'",
            (
                "UPDATE program_history SET fallback = '{NOPE,SPRING}', active = false, held_from = '-infinity' "
                "WHERE program_id = 2"
            ),
            "UPDATE answer SET asked_program_id = 2, link = position + 1 WHERE profile_id <> 'p-2'",
            *_AS_NOTED,
        ),
        [{"link": 1}, {"link": 2}],
    ),
    Break(
        FALLS_BACK,
        ("UPDATE program SET fallback = '{SPRING,NOPE}', groups = '{a}' WHERE name = 'OTHER'",),
        [{"program": "OTHER", "fallback": "NOPE"}, {"program": "OTHER", "fallback": "SPRING"}],
    ),
    Break(
        FALLS_BACK,
        (
            "UPDATE program SET fallback = '{OTHER}' WHERE name = 'SPRING'",
            "UPDATE program SET removed_at = now() WHERE name = 'OTHER'",
        ),
        [{"program": "SPRING", "fallback": "OTHER"}],
    ),
    Break(
        MADE_OUTSIDE,
        ("UPDATE program_history SET valid_from = (SELECT min(answered_at) FROM answer)", *_AS_NOTED),
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
            *_AS_NOTED,
            "UPDATE block SET origin = 'request', source = 'campaign' WHERE id = 1",
            "UPDATE block SET origin = 'request', source = 'scenario' WHERE id = 2",
        ),
        [{"program": "SPRING", "block": 2, "origin": "request", "source": "scenario"}],
    ),
    Break(
        "a reserved code was given for another campaign or scenario",
        (*_RESERVED, "UPDATE block SET reserved_takers = '{campaign spring,campaign autumn}' WHERE id = 2"),
        [{"reservation": 1, "taker": "campaign autumn"}],
    ),
    Break(
        "a reserved block gave other codes than its reservation counts",
        (*_RESERVED, "UPDATE block SET reserved_used = 1 WHERE id = 2"),
        [{"block": 2, "reserved_used": 1, "given": 0}],
    ),
    Break(
        "a reservation gave more codes than it had, or its campaign or scenario has two",
        (
            "ALTER TABLE block DROP CONSTRAINT block_reserved_used",
            "DROP INDEX reservation_once",
            *_RESERVED,
            "UPDATE block SET reserved_open = false, open = true, reservation_id = NULL WHERE id = 2",
            (
                "UPDATE block SET open = false, reservation_id = 1, reserved_at = now() - interval '1 h', "
                "reserved_first = 1, reserved_size = 1, reserved_used = 2, reserved_takers = '{}' WHERE id = 1"
            ),
            "UPDATE reservation SET granted = 1",
            (
                "INSERT INTO reservation (program_id, source, source_id, count, granted, until, partial, overflow) "
                "SELECT program_id, source, source_id, count, 0, until, partial, overflow FROM reservation"
            ),
            "UPDATE program SET reservations = 2 WHERE id = 1",
        ),
        [{"reservation": 1, "size": 1, "used": 2}, {"reservation": 1, "size": 2, "used": None}],
    ),
    Break(
        "an open reservation has another number of codes than its blocks",
        (*_RESERVED, "UPDATE reservation SET granted = 19"),
        [{"reservation": 1, "granted": 19, "in_blocks": 20}],
    ),
    Break(
        "a reserved block holds fewer codes than its reservation may give",
        (
            *_RESERVED,
            "UPDATE reservation SET count = 21, granted = 21",
            "UPDATE block SET reserved_size = 21 WHERE id = 2",
        ),
        [{"block": 2, "reserved_size": 21, "size": 20}],
    ),
    Break(
        "a reserved block is in the pool, or open for a reservation that has ended or is of another program",
        (*_RESERVED, "ALTER TABLE block DROP CONSTRAINT block_reserved", "UPDATE block SET open = true WHERE id = 2"),
        [{"block": 2, "reservation_id": 1, "open": True}],
    ),
    Break(
        "a program counts other reservations than it has",
        (*_RESERVED, "UPDATE program SET reservations = 2 WHERE id = 1"),
        [{"program": "SPRING", "reservations": 2, "open": 1}],
    ),
    Break(
        "an order uses or holds a code more than once",
        (
            "DROP INDEX code_use_order_once",
            _USED.format(order="'o-1'", limit="NULL") + _HELD.format(order="'o-1'", limit="NULL"),
            _COUNTED.format(uses=1),
        ),
        [{"block_id": 1, "position": 0, "order_id": "o-1", "times": 2}],
    ),
    Break(
        "a code is used or held by more than its program allowed",
        (
            # The first was taken back; of the others the last has no room, and the next to last had no limit.
            _USED.format(order="'o-0'", limit="1"),
            "UPDATE code_use SET ended_at = now(), ended_by = 'call'",
            _USED.format(order="'o-1'", limit="1"),
            _USED.format(order="NULL", limit="NULL"),
            _HELD.format(order="'o-2'", limit="2"),
            _COUNTED.format(uses=2),
        ),
        [{"order_id": "o-2", "per_code": 2, "rank": 3}],
    ),
    Break(
        "a code counts other uses than it has",
        (
            _USED.format(order="'o-1'", limit="1"),
            "INSERT INTO code_state (block_id, position, uses) VALUES (1, 0, 2), (1, 1, 0), (1, 2, 1)",
        ),
        [{"position": 0, "uses": 2, "recorded": 1}, {"position": 2, "uses": 1, "recorded": 0}],
    ),
    Break(
        "a code is held for another time than its orders hold it",
        (
            _HELD.format(order="'o-1'", limit="1"),
            _HELD_ELSEWHERE,
        ),
        [{"position": 0}, {"position": 1}],
    ),
    Break(
        "a code is used or held that nobody has",
        (
            _USED.format(order="'o-1'", limit="1"),
            "UPDATE code_use SET position = 7",
            "INSERT INTO code_state (block_id, position, uses) VALUES (1, 7, 1)",
        ),
        [{"block_id": 1, "position": 7, "program_id": 1}],
    ),
    Break(
        "a code is used or held that nobody has",
        ("INSERT INTO code_state (block_id, position, activated_at) VALUES (2, 5, now()), (1, 0, now())",),
        [{"id": None, "block_id": 2, "position": 5, "program_id": 1}],
    ),
    Break(
        "an order still holds a code that it was to use or to give back",
        (
            _HELD.format(order="'o-1'", limit="1"),
            _HELD.format(order="'o-2'", limit="1"),
            "UPDATE code_use SET position = 1 WHERE order_id = 'o-2'",
            _COUNTED.format(uses=0) + " WHERE position = 0",
            (
                "INSERT INTO code_state (block_id, position, held_until) SELECT 1, 1, held_until FROM code_use "
                "WHERE position = 1"
            ),
            "UPDATE code_use SET taken_at = now() - interval '1 min'",
            "INSERT INTO shop_order (order_id, paid_at) VALUES ('o-1', now()), ('o-2', now())",
            (
                "UPDATE shop_order SET refusals = (SELECT jsonb_build_array(jsonb_build_object("
                "'program_id', 1, 'code', code, 'reason', 'program_inactive')) FROM answer WHERE position = 1) "
                "WHERE order_id = 'o-2'"
            ),
        ),
        [{"position": 0, "order_id": "o-1"}],
    ),
    Break(
        "an alert does not have one event of its beginning, and one of its end if and only if it is cleared",
        (
            "UPDATE migration SET applied_at = now() - interval '9 days' WHERE number = 40",
            "DROP INDEX alert_event_once",
            "INSERT INTO alert (program_id, kind, key) SELECT 1, 'return-conflict', n FROM generate_series(1, 10) AS n",
            "UPDATE alert SET cleared_at = now(), cleared_by = 'ana' WHERE key IN ('3', '4', '6', '7', '8', '9')",
            # 1 and 3 are in order.
            "DELETE FROM alert_event WHERE alert_id = 2 OR alert_id = 4 AND type = 'cleared'",
            _ALERT_EVENT.format(alert=1, type="reminder"),
            _ALERT_EVENT.format(alert=5, type="cleared"),
            _ALERT_EVENT.format(alert=6, type="raised"),
            _ALERT_EVENT.format(alert=7, type="cleared"),
            "DELETE FROM alert_event WHERE alert_id > 7",
            # Cleared before there were events; or so long ago that they are deleted.
            "UPDATE alert SET cleared_at = now() - interval '10 days' WHERE id = 8",
            "UPDATE alert SET raised_at = now() - interval '35 days' WHERE id = 10",
        ),
        [
            {"alert": 2, "raised": 0, "cleared": 0},
            {"alert": 4, "raised": 1, "cleared": 0},
            {"alert": 5, "raised": 1, "cleared": 1},
            {"alert": 6, "raised": 2, "cleared": 1},
            {"alert": 7, "raised": 1, "cleared": 2},
            {"alert": 9, "raised": 0, "cleared": 0},
        ],
    ),
    Break(
        "an event of an alert was handed on without a delivery to a webhook that subscribes to it",
        (
            (
                "INSERT INTO webhook_endpoint (kind, target, types, subscribed_at, active, inactive_reason, groups) "
                "SELECT 'webhook', 'https://a.invalid', ARRAY[kind], now() + since::interval, reason IS NULL, reason, "
                "groups::text[] FROM (VALUES ('alert-raised', '-1 h', NULL, '{}'), "
                "('alert-raised', '1 h', NULL, '{}'), ('alert-cleared', '-1 h', NULL, '{}'), "
                "('alert-raised', '-1 h', 'gone', '{}'), "
                "('alert-raised', '-1 h', NULL, '{b}'), ('alert-raised', '-1 h', NULL, '{c}'), "
                "('alert-raised', '-1 h', NULL, '{d}')) AS v (kind, since, reason, groups)"
            ),
            "UPDATE program SET groups = CASE id WHEN 1 THEN '{a,b}' ELSE '{d}' END::text[]",
            # The groups of OTHER have changed since: what it was to be told then is not known.
            (
                "INSERT INTO audit_entry (via, actor, verb, program, details) "
                "SELECT 'command', 'ana', 'program.update', name, json_build_object('changed', json_build_array(of)) "
                "FROM (VALUES ('SPRING', 'title'), ('OTHER', 'groups')) AS c (name, of)"
            ),
            "INSERT INTO alert (program_id, kind) VALUES (1, 'returns-stopped'), (2, 'returns-stopped')",
            "UPDATE alert_event SET handed_at = now()",
        ),
        [{"webhook": 1}, {"webhook": 1}, {"webhook": 5}],
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


async def test_a_quarantine_may_end_late_while_returns_are_stopped_and_a_day_later(stocked: Connection) -> None:
    await stocked.execute(
        f"{_RECEIPT[:-1]}, due_at) SELECT request_id, 0, 0, 'permanent', 1, 'quarantined', 'after_handoff', now(), "
        "now() - interval '9 days' FROM answer"
    )
    await stocked.execute("INSERT INTO alert (program_id, kind) VALUES (1, 'returns-stopped')")
    assert await audit(stocked) == []

    await stocked.execute("UPDATE alert SET cleared_at = now() - interval '23 h', cleared_by = 'ana'")
    assert await audit(stocked) == []


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
