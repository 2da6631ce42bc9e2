"""The history of one code, from what the tables and the audit log hold.

A code has stays: one in the block that it was made in, and one in a block of its own after each return to the pool.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

from codewell.codes import lookup
from codewell.codes.lookup import CodeFacts, CodePlace
from codewell.codes.place_lookup import MOVES_MAX, located
from codewell.codes.program_codes import ProgramCodes
from codewell.codes.state import DELETED_AT

EventKind = Literal[
    "made", "imported", "attached", "held", "released",
    "activated", "deactivated", "returned", "changed", "expired", "deleted", "reissued",
    "replaces",
    "quarantined", "kept",
]  # fmt: skip

_STAYS: Final = f"""
    WITH RECURSIVE stay AS (
        SELECT $1::bigint AS block_id, $2::bigint AS position, 0 AS moves
        UNION ALL
        SELECT s.block_id, s.position, moves + 1 FROM stay JOIN code_state s ON s.moved_to = stay.block_id
             AND s.moved_position = stay.position
        WHERE moves < {MOVES_MAX}
    )
    SELECT stay.block_id, stay.position, b.kind, b.version, b.first, b.origin, b.source, b.created_at, b.import_id,
           i.file_name, a.request_id, a.answered_at, a.profile_id, asked.name AS asked, a.link, h.scope, s.activated_at,
           s.undone_activations,
           coalesce(s.uses, 0) AS uses, s.returned_at, {DELETED_AT} AS deleted_at
    FROM stay JOIN block b ON b.id = stay.block_id
    LEFT JOIN import i ON i.id = b.import_id
    LEFT JOIN answer a ON a.block_id = stay.block_id AND a.position = stay.position AND NOT a.again
          AND a.block_id IS NOT NULL
    LEFT JOIN program asked ON asked.id = a.asked_program_id AND ($3::text[] = ARRAY[]::text[] OR asked.groups && $3)
    LEFT JOIN LATERAL (
        SELECT scope FROM holding
        WHERE program_id = b.program_id AND profile_id = a.profile_id AND block_id = stay.block_id
          AND position = stay.position LIMIT 1
    ) h ON true
    LEFT JOIN code_state s ON s.block_id = stay.block_id AND s.position = stay.position
    ORDER BY moves DESC
    """  # noqa: S608  a constant
# The latest hundred of each stay. A shared code may have very many.
_USES: Final = """
    SELECT w.n, u.* FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS w (block_id, position, n)
    CROSS JOIN LATERAL (
        SELECT order_id, profile_id, taken_at, held_until, used_at, ended_at FROM code_use u
        WHERE u.block_id = w.block_id AND u.position = w.position ORDER BY u.id DESC LIMIT 100
    ) u
    """
# Which code replaced a code that stayed at one of these places, and which one it replaced.
_REISSUES: Final = """
    SELECT link.kind AS event, at, actor, reason, b.kind, b.version, b.first, link.block_id, link.position
    FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    CROSS JOIN LATERAL (
        SELECT 'reissued' AS kind, o.new_block_id AS block_id, o.new_position AS position, o.at, o.actor, o.reason
        FROM code_reissue o WHERE o.old_block_id = w.block_id AND o.old_position = w.position
        UNION ALL
        SELECT 'replaces', n.old_block_id, n.old_position, n.at, n.actor, n.reason
        FROM code_reissue n WHERE n.new_block_id = w.block_id AND n.new_position = w.position
    ) link JOIN block b ON b.id = link.block_id
    """
# Changes of many codes that gave these codes another expiry: as attached codes, or as pooled ones with their block.
_BULK: Final = """
    SELECT i.at, c.actor, CASE i.outcome WHEN 'changed' THEN c.expires_at ELSE r.old_expires_at END AS expires_at
    FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[]) AS w (block_id, position, attached_at)
    JOIN bulk_change_item i ON i.block_id = w.block_id AND (
        i.position = w.position OR i.position IS NULL AND (w.attached_at IS NULL OR w.attached_at > i.at))
    JOIN bulk_change c ON c.id = i.change_id
    LEFT JOIN bulk_change_item r ON i.outcome = 'restored' AND r.change_id = i.change_id
         AND r.block_id = i.block_id AND r.position IS NOT DISTINCT FROM i.position AND r.outcome = 'changed'
    WHERE i.outcome IN ('changed', 'restored') AND NOT c.void
    """
# What reports of senders did to the code; its returns are moves.
_RECEIPTS: Final = """
    SELECT r.decided_at AS at, r.reason, r.ended, r.ended_at, r.ended_reason, r.request_id
    FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
    JOIN send_receipt r ON r.request_id = a.request_id AND r.ordinal = a.ordinal
    WHERE r.outcome = 'quarantined' AND r.reason <> 'before'
    """
_ENTRIES: Final = """
    SELECT at, actor, verb, details, details ->> 'place' AS place FROM audit_entry
    WHERE program = $1 AND details ->> 'place' = ANY($2::text[]) AND details ->> 'place' IS NOT NULL ORDER BY at, id
    """
_VERB_OF: Final[dict[EventKind, str]] = {
    "attached": "code.attach",
    "activated": "code.activate",
    "deactivated": "code.deactivate",
    "held": "code.hold",
    "released": "code.release",
    "returned": "code.detach",
    "changed": "code.update",
    "deleted": "code.delete",
}
# An entry is written in the transaction of its change, after it.
_SAME_CHANGE_S: Final = 60.0


class LifeEvent(NamedTuple):
    """One event of a code's history. What does not belong to its kind is None."""

    at: datetime
    kind: EventKind
    by: str | None = None
    """The token or the user of a command, where the audit log knows it."""
    origin: str | None = None
    """Of made and imported codes, the block's `origin`: pool, request, generate, hand, import or remote."""
    source: str | None = None
    """Of codes that were made for a request: campaign or scenario."""
    import_id: UUID | None = None
    file: str | None = None
    request_id: UUID | None = None
    profile_id: str | None = None
    scope: str | None = None
    """Of attachments that are reused: campaign:ID, scenario:ID, step:HASH or hand."""
    changed: tuple[str, ...] = ()
    expires_at: datetime | None = None
    order_id: str | None = None
    """Of uses and holds."""
    other: str | None = None
    """Of `reissued`, the place of the code that replaced it; of `replaces`, of the one that it replaced."""
    reason: str | None = None
    asked: str | None = None
    """Of an attachment as a fallback, the program that was asked."""
    link: int | None = None
    """The place of the code's program in the asked one's list of fallbacks, from 1."""


class CodeLife(NamedTuple):
    """The events of a code, oldest first. It is complete unless the code moved before moves were recorded."""

    events: list[LifeEvent]
    is_complete: bool


class _Entry(NamedTuple):
    at: datetime
    actor: str
    verb: str
    details: dict[str, Any]
    place: str


class _PlacedEvent(NamedTuple):
    event: LifeEvent
    place: str
    """The place that its audit entry has: after a move the new one."""


async def read(codes: ProgramCodes, program: str, facts: CodeFacts, groups: Sequence[str] = ()) -> CodeLife:
    """The history of a code, which `facts` describe. `program` is the short name.

    Names asked programs of these access groups only, or of any if there are none.
    """
    at = await located(codes.connection, codes.program_id, facts.place)
    if at is None:
        return CodeLife([], is_complete=False)
    rows = await codes.connection.fetch(_STAYS, at.block["id"], at.position, list(groups))
    is_complete = rows[0]["origin"] != "return"
    if not is_complete:
        rows = [*await _first_stay(codes, facts.code, groups), *rows]
    places = [json.dumps(_place(row)) for row in rows]
    entries = [
        _Entry(row["at"], row["actor"], row["verb"], json.loads(row["details"]), row["place"])
        for row in await codes.connection.fetch(_ENTRIES, program, places)
    ]
    columns = [row["block_id"] for row in rows], [row["position"] for row in rows]
    uses = await codes.connection.fetch(_USES, *columns)
    of_uses = [_PlacedEvent(event, places[row["n"] - 1]) for row in uses for event in _of_use(row)]
    events = list(_with_entries(iter([*_events(rows, places), *of_uses]), entries))
    for row in await codes.connection.fetch(_RECEIPTS, *columns):
        events.append(LifeEvent(row["at"], "quarantined", request_id=row["request_id"], reason=row["reason"]))
        if row["ended"] == "kept":
            events.append(LifeEvent(row["ended_at"], "kept", reason=row["ended_reason"]))
    events += [
        LifeEvent(row["at"], row["event"], row["actor"], other=str(_place(row)), reason=row["reason"])
        for row in await codes.connection.fetch(_REISSUES, *columns)
    ]
    events += [
        LifeEvent(row["at"], "changed", row["actor"], changed=("expires_at",), expires_at=row["expires_at"])
        for row in await codes.connection.fetch(_BULK, *columns, [row["answered_at"] for row in rows])
    ]
    if facts.state == "expired" and facts.expires_at is not None:
        events.append(LifeEvent(facts.expires_at, "expired", expires_at=facts.expires_at))
    return CodeLife(sorted(events, key=lambda event: event.at), is_complete)


async def _first_stay(codes: ProgramCodes, code: str, groups: Sequence[str]) -> Sequence[Any]:
    """The stay of a minted code in its first block, which its text tells; nothing for other codes."""
    first = (await lookup.minted(codes, [code])).get(code)
    if first is None:
        return []
    return list(await codes.connection.fetch(_STAYS, first.block["id"], first.position, list(groups)))


def _place(row: Any) -> CodePlace:
    if row["kind"] == "range":
        return CodePlace(0, row["version"], row["first"] + row["position"])
    return CodePlace(1, row["block_id"], row["position"])


def _events(rows: Sequence[Any], places: Sequence[str]) -> Iterator[_PlacedEvent]:
    for row, place, next_place in zip(rows, places, [*places[1:], ""], strict=True):
        for event in _of_stay(row):
            yield _PlacedEvent(event, place)
        if row["returned_at"] is not None:
            # A pooled code moves when it is changed.
            kind: EventKind = "changed" if row["request_id"] is None else "returned"
            yield _PlacedEvent(LifeEvent(row["returned_at"], kind), next_place)


def _of_stay(row: Any) -> Iterator[LifeEvent]:
    origin = row["origin"]
    if origin != "return":
        kind: EventKind = "imported" if origin == "import" else "made"
        yield LifeEvent(row["created_at"], kind, None, origin, row["source"], row["import_id"], row["file_name"])
    if row["request_id"] is not None:
        yield LifeEvent(row["answered_at"], "attached", request_id=row["request_id"], profile_id=row["profile_id"],
                        scope=row["scope"] or None, asked=row["asked"], link=row["link"])  # fmt: skip
    undone = row["undone_activations"] or []
    for activated_at, deactivated_at in zip(undone[::2], undone[1::2], strict=True):
        yield LifeEvent(activated_at, "activated")
        yield LifeEvent(deactivated_at, "deactivated")
    # An activation from before uses were recorded.
    if row["activated_at"] is not None and row["uses"] == 0:
        yield LifeEvent(row["activated_at"], "activated")
    if row["deleted_at"] is not None:
        yield LifeEvent(row["deleted_at"], "deleted")


def _of_use(row: Any) -> Iterator[LifeEvent]:
    who = {"profile_id": row["profile_id"], "order_id": row["order_id"]}
    if row["held_until"] is not None:
        yield LifeEvent(row["taken_at"], "held", expires_at=row["held_until"], **who)
    if row["used_at"] is not None:
        yield LifeEvent(row["used_at"], "activated", **who)
    if row["ended_at"] is not None:
        yield LifeEvent(row["ended_at"], "released" if row["used_at"] is None else "deactivated", **who)


def _with_entries(events: Iterator[_PlacedEvent], entries: Sequence[_Entry]) -> Iterator[LifeEvent]:
    """The events with what the audit log adds: who did it, and changes of attached codes, which only it has."""
    left = list(entries)
    for placed in events:
        entry = next((one for one in left if _is_of(one, placed)), None)
        if entry is None:
            yield placed.event
            continue
        left.remove(entry)
        yield _with_entry(placed.event, entry)
    for entry in left:
        if entry.verb == _VERB_OF["changed"]:
            yield _with_entry(LifeEvent(entry.at, "changed"), entry)


def _is_of(entry: _Entry, placed: _PlacedEvent) -> bool:
    event, place = placed
    since_s = (entry.at - event.at).total_seconds()
    return entry.verb == _VERB_OF.get(event.kind) and entry.place == place and 0 <= since_s <= _SAME_CHANGE_S


def _with_entry(event: LifeEvent, entry: _Entry) -> LifeEvent:
    until = entry.details.get("expires_at")
    return event._replace(
        by=entry.actor,
        changed=tuple(entry.details.get("changed", ())),
        expires_at=event.expires_at if until is None else datetime.fromisoformat(until),
    )
