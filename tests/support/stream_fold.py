"""A table of codes that is built from the stream alone, and what the database says in the same words."""

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.lifecycle.pseudonyms import Pseudonyms
from codewell.lifecycle.records import value_of
from schemas.events import DATA_OF_TYPE
from tests.support.stream_log import StreamLog

PREFIX = "dev.codewell."

_TRUTH = """
    SELECT b.program_id, CASE b.kind WHEN 'range' THEN '0:' || b.version || ':' || b.first + n
                         ELSE '1:' || b.id || ':' || n END AS place,
           CASE WHEN s.deleted_at IS NOT NULL OR b.voided_at IS NOT NULL AND a.block_id IS NULL THEN 'deleted'
                WHEN a.block_id IS NULL THEN 'pooled' ELSE 'attached' END AS state,
           CASE WHEN s.changed THEN s.expires_at WHEN a.block_id IS NULL THEN b.expires_at ELSE a.expires_at
           END AS expires_at,
           a.profile_id, coalesce(s.uses, 0) AS uses, s.activated_at IS NOT NULL AS used_up, s.held_until
    FROM block b CROSS JOIN LATERAL generate_series(0, b.size - 1) n
    LEFT JOIN code_state s ON s.block_id = b.id AND s.position = n
    LEFT JOIN answer a ON a.block_id = b.id AND a.position = n AND NOT a.again AND a.block_id IS NOT NULL
    WHERE s.returned_at IS NULL AND NOT (b.undone > 0 AND a.block_id IS NULL AND s.deleted_at IS NULL)
    """


class Told(NamedTuple):
    """An event: its type without the common parts, its data."""

    kind: str
    data: dict[str, Any]


class Code(NamedTuple):
    """What is known of a code."""

    state: str
    expires_at: str | None = None
    profile: str | None = None
    uses: int = 0
    used_up: bool = False
    held_until: str | None = None


Codes = dict[tuple[int, str], Code]


def told(event_type: str, data: str) -> Told:
    """An event of the stream, which has the shape that its type says."""
    event = DATA_OF_TYPE[event_type].model_validate_json(data)
    assert event.model_extra is None
    return Told(event_type.removeprefix(PREFIX).removesuffix(".v1"), event.model_dump(mode="json"))


def folded(events: Iterable[Told], codes: Codes | None = None) -> Codes:
    """The codes after these events."""
    table: Codes = {} if codes is None else codes
    voided: dict[tuple[int, str], tuple[int, str, int]] = {}
    for kind, data in events:
        _fold(table, voided, kind, data)
    return table


def _fold(table: Codes, voided: dict[Any, Any], kind: str, data: dict[str, Any]) -> None:  # noqa: C901, PLR0912  a rule a type
    program = data.get("program_id", 0)
    places = [(program, f"{data['run']}:{data['first'] + n}") for n in range(data["count"])] if "run" in data else []
    pooled = [one for one in places if one in table and table[one].state == "pooled"]
    at = (program, data.get("place", ""))
    match kind:
        case "codes-made" | "codes-imported":
            table.update(dict.fromkeys(places, Code("pooled", data["expires_at"])))
        case "codes-snapshot":
            if data["state"] != "withdrawn":
                table.update(dict.fromkeys(places, Code(data["state"], data["expires_at"])))
        case "codes-moved":
            for number, one in enumerate(places):
                table[program, f"{data['new_run']}:{data['new_first'] + number}"] = table.pop(one)
        case "codes-changed":
            table.update({one: table[one]._replace(expires_at=data["expires_at"]) for one in pooled})
        case "codes-deleted":
            table.update({one: table[one]._replace(state="deleted") for one in pooled})
            voided.update(dict.fromkeys(pooled, True))
        case "codes-restored":
            back = [one for one in places if voided.pop(one, False)]
            table.update({one: table[one]._replace(state="pooled") for one in back})
        case "codes-withdrawn":
            for one in pooled:
                del table[one]
        case "code-attached" if not data["again"]:
            table[at] = table[at]._replace(state="attached", expires_at=data["expires_at"], profile=data["profile"])
        case "code-snapshot" if data["state"] == "moved":
            table.pop(at, None)
        case "code-snapshot":
            known = (data["profile"], data["uses"], data["activated_at"] is not None, data["held_until"])
            table[at] = Code(data["state"], data["expires_at"], *known)
        case "code-returned":
            del table[at]
            table[program, data["new_place"]] = Code("pooled", data["expires_at"])
        case "code-changed":
            old = table.pop(at)
            table[program, data["new_place"] or data["place"]] = old._replace(expires_at=data["expires_at"])
        case "code-deleted":
            voided.pop(at, None)
            table[at] = table[at]._replace(state="deleted")
        case "code-restored":
            table[at] = table[at]._replace(state="attached")
        case "code-held" | "code-released" | "code-activated" | "code-deactivated":
            used_up = data["activated_at"] is not None
            table[at] = table[at]._replace(uses=data["uses"], used_up=used_up, held_until=data["code_held_until"])


async def truth(connection: Connection) -> Codes:
    """What the database says of all codes. A profile has its id here."""
    found = {}
    for row in await connection.fetch(_TRUTH):
        times = [
            None if row[name] is None else f"{row[name]:%Y-%m-%dT%H:%M:%S.%f}" for name in ("expires_at", "held_until")
        ]
        found[row["program_id"], row["place"]] = Code(
            row["state"], times[0], row["profile_id"], row["uses"], row["used_up"], times[1]
        )
    return found


def comparable(codes: Codes) -> Codes:
    """The codes with times in one form."""
    return {
        at: one._replace(
            expires_at=None if one.expires_at is None else _time(one.expires_at),
            held_until=None if one.held_until is None else _time(one.held_until),
        )
        for at, one in codes.items()
    }


def _time(text: str) -> str:
    whole, _, part = text.removesuffix("Z").partition(".")
    return f"{whole}.{part:0<6}"


class _Names(Pseudonyms):
    """Profiles by their own ids, for tests that compare them with the database."""

    def __init__(self) -> None:
        super().__init__({})

    def of(self, profile_id: str, _lsn: int) -> str | None:
        return profile_id


class _Nulls(_Names):
    """No profiles, as after all were forgotten."""

    def of(self, _profile_id: str, _lsn: int) -> str | None:
        return None


async def events_of(log: StreamLog, connection: Connection) -> list[Told]:
    """All events of a log, each of the shape that its type says; profiles have their ids."""
    found: list[Told] = []
    async for transaction, _, draft in log.drafts(connection):
        value = value_of(draft, transaction.lsn, _Names())
        shaped = value if draft.profile_id is None else value_of(draft, transaction.lsn, _Nulls())
        found.append(told(draft.type, shaped)._replace(data=json.loads(value)))
    return found
