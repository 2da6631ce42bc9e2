"""Translates committed changes of rows to events about codes. Pure: the same transaction gives the same events."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from codewell.lifecycle.drafts import EventDraft, moment, of_code, of_range, text
from codewell.lifecycle.facts import BlockFacts, KnownFacts, facts_of
from codewell.lifecycle.given_rows import GivenDrafts, GivenRow
from codewell.lifecycle.pgoutput import Transaction
from codewell.lifecycle.till_events import till_events
from schemas import lifecycle
from schemas.events import PROGRAM_CHANGED

_Row = dict[str, Any]
_Key = tuple[int, int]

# Columns of a program that count, or mark it while it changes, and say nothing about its settings.
_COUNTERS: Final = frozenset(
    {"made", "imported", "on_order", "reservations", "texts_folded", "version_folded", "version", "changing"}
)


def blocks_of(transaction: Transaction) -> set[int]:
    """The blocks whose facts are needed, without those whose rows the transaction has."""
    made, needed = set(), set()
    for change in transaction.changes:
        if isinstance(change, GivenRow):
            needed.add(change.block_id)
            continue
        name = change.relation.name
        if name == "block":
            made.add(change.after["id"])
        elif name in {"code_state", "code_use"}:
            needed.add(change.after["block_id"])
        elif name == "code_reissue":
            needed |= {change.after["old_block_id"], change.after["new_block_id"]}
    return needed - made


def programs_of(transaction: Transaction) -> set[int]:
    """The programs whose names are needed beside those of `blocks_of`."""
    found: set[int | None] = set()
    for change in transaction.changes:
        if isinstance(change, GivenRow):
            if change.asked_program_id is not None:
                found.add(change.asked)
        elif change.relation.name == "block":
            found.add(change.after["program_id"])
    return {program_id for program_id in found if program_id is not None}


class Translation:
    """The translation of one transaction. `facts` knows its blocks (`blocks_of`) and programs."""

    def __init__(self, transaction: Transaction, facts: KnownFacts, given: GivenDrafts) -> None:
        self._transaction = transaction
        self._facts = facts
        self._given = given
        self._states: dict[_Key, _Row] = {}
        self._till: set[_Key] = set()
        self._made: dict[int, _Row] = {}
        self._shrunk: list[tuple[_Row, int]] = []

    def drafts(self) -> Iterator[EventDraft]:
        """Its events, in order."""
        self._note_rows()
        for change in self._transaction.changes:
            if isinstance(change, GivenRow):
                yield self._given.draft(change)
                continue
            match change.relation.name:
                case "block":
                    yield from self._of_block(change.before, change.after)
                case "code_state":
                    yield from self._of_state(change.before, change.after)
                case "code_use":
                    yield from self._of_use(change.before, change.after)
                case "code_reissue":
                    yield self._of_reissue(change.after)
                case "program":
                    yield from self._of_program(change.before, change.after)

    def _note_rows(self) -> None:
        """Note what the transaction as a whole did to codes and blocks, as one row alone does not say it."""
        for change in self._transaction.changes:
            if isinstance(change, GivenRow):
                continue
            name, row = change.relation.name, change.after
            if name == "code_state":
                self._states[row["block_id"], row["position"]] = row
            elif name == "code_use":
                self._till.add((row["block_id"], row["position"]))
            elif name == "block":
                self._facts.blocks[row["id"]] = facts_of(row)
                old = change.before
                if old is None:
                    self._made[row["id"]] = row
                elif row["size"] < old["size"]:
                    self._shrunk.append((row, old["size"]))

    def _of_block(self, old: _Row | None, new: _Row) -> Iterator[EventDraft]:
        block = self._facts.blocks[new["id"]]
        if old is None:
            yield from self._new_block(new, block)
            return
        if new["size"] > old["size"]:
            yield self._came(new, block, old["size"], new["size"] - old["size"])
        whole = self._range(block, 0, new["size"])
        if new["undone"] > old["undone"]:
            yield self._ranged(lifecycle.CODES_WITHDRAWN, block, f"{whole}}}")
        if new["voided_at"] is not None and old["voided_at"] is None:
            yield self._ranged(lifecycle.CODES_DELETED, block, f"{whole}}}")
        elif new["voided_at"] is None and old["voided_at"] is not None:
            yield self._ranged(lifecycle.CODES_RESTORED, block, f"{whole}}}")
        if new["expires_at"] != old["expires_at"]:
            expiry = f'{whole},"expires_at":{moment(new["expires_at"])}}}'
            yield self._ranged(lifecycle.CODES_CHANGED, block, expiry)
        if self._has_expired(old, new):
            expiry = f'{whole},"expires_at":{moment(new["expires_at"])}}}'
            yield self._ranged(lifecycle.CODES_EXPIRED, block, expiry)

    def _has_expired(self, old: _Row, new: _Row) -> bool:
        """Whether a block with pooled codes was closed as they have expired."""
        is_closed = not new["open"] and new["reservation_id"] is None
        was_closed = not old["open"] and old["reservation_id"] is None
        is_over = new["expires_at"] is not None and new["expires_at"] <= self._transaction.at
        return is_closed and not was_closed and is_over and new["size"] > new["next"] + new["holes"]

    def _new_block(self, row: _Row, block: BlockFacts) -> Iterator[EventDraft]:
        if row["kind"] == "range":
            if not any(_was_in(row, other, size) for other, size in self._shrunk):
                yield self._came(row, block, 0, row["size"])
        elif row["split_from"] is not None:
            source, first = self._split_off(row)
            data = f'{self._range(source, first, row["size"])},"new_run":"{block.run}","new_first":0}}'
            yield self._ranged(lifecycle.CODES_MOVED, source, data, first)
        elif row["origin"] != "return":
            yield self._came(row, block, 0, row["size"])

    def _split_off(self, row: _Row) -> tuple[BlockFacts, int]:
        """The block that this list was split off, and the first position that it had there."""
        for other, _ in self._shrunk:
            if other["split_from"] is None:
                root, begin = other["id"], 0
            else:
                root, begin = other["split_from"], other["split_first"]
            if root == row["split_from"] and begin + other["size"] == row["split_first"]:
                return self._facts.blocks[other["id"]], other["size"]
        raise LookupError(f"block {row['id']} was split off no block of its transaction")

    def _came(self, row: _Row, block: BlockFacts, first: int, count: int) -> EventDraft:
        data = self._range(block, first, count)
        pooled = f'"expires_at":{moment(row["expires_at"])},"fields":{row["fields"] or "null"}}}'
        if row["origin"] in {"import", "hand"}:
            data = f'{data},"import_id":{text(row["import_id"])},{pooled}'
            return self._ranged(lifecycle.CODES_IMPORTED, block, data, first)
        data = f'{data},"origin":"{row["origin"]}","source":{text(row["source"])},{pooled}'
        return self._ranged(lifecycle.CODES_MADE, block, data, first)

    def _of_state(self, old: _Row | None, new: _Row) -> Iterator[EventDraft]:
        was: Mapping[str, Any] = old or {}
        block = self._facts.blocks[new["block_id"]]
        place = block.place(new["position"])
        head = of_code(block.program_id, self._facts.names[block.program_id], place)
        if new["returned_at"] is not None and was.get("returned_at") is None:
            yield self._moved(block, place, head, is_pooled=new["hole"] and not was.get("hole", False), row=new)
        elif new["changed"] and _differs(was, new, "changed", "expires_at", "fields"):
            data = f'"new_place":null,"expires_at":{moment(new["expires_at"])},"fields":{new["fields"] or "null"}}}'
            yield self._coded(lifecycle.CODE_CHANGED, block, place, f"{head},{data}")
        if new["deleted_at"] is not None and was.get("deleted_at") is None:
            yield self._coded(lifecycle.CODE_DELETED, block, place, f"{head}}}")
        elif new["deleted_at"] is None and was.get("deleted_at") is not None:
            yield self._coded(lifecycle.CODE_RESTORED, block, place, f"{head}}}")
        if (new["block_id"], new["position"]) not in self._till:
            # A limit that was lowered, or a console that records no uses.
            used, is_used = was.get("activated_at") is not None, new["activated_at"] is not None
            if used != is_used:
                kind = lifecycle.CODE_ACTIVATED if is_used else lifecycle.CODE_DEACTIVATED
                yield self._coded(kind, block, place, f'{head},"order_id":null,"profile":null{_tally(new)}}}')

    def _moved(self, block: BlockFacts, place: str, head: str, *, is_pooled: bool, row: _Row) -> EventDraft:
        own = self._made[row["moved_to"]]
        now = self._facts.blocks[row["moved_to"]].place(row["moved_position"])
        data = f'"new_place":"{now}","expires_at":{moment(own["expires_at"])},"fields":{own["fields"] or "null"}}}'
        kind = lifecycle.CODE_CHANGED if is_pooled else lifecycle.CODE_RETURNED
        return self._coded(kind, block, place, f"{head},{data}")

    def _of_use(self, old: _Row | None, new: _Row) -> Iterator[EventDraft]:
        block = self._facts.blocks[new["block_id"]]
        place = block.place(new["position"])
        head = of_code(block.program_id, self._facts.names[block.program_id], place)
        head = f'{head},"order_id":{text(new["order_id"])},"profile":'
        tally = _tally(self._states.get((new["block_id"], new["position"])))
        for kind in till_events(old, new):
            until = f',"held_until":{moment(new["held_until"])}' if kind == lifecycle.CODE_HELD else ""
            key = f"{block.program_id}:{place}"
            yield EventDraft(kind, block.program_id, key, head, new["profile_id"], f"{tally}{until}}}")

    def _of_reissue(self, row: _Row) -> EventDraft:
        old, new = self._facts.blocks[row["old_block_id"]], self._facts.blocks[row["new_block_id"]]
        place = old.place(row["old_position"])
        head = of_code(old.program_id, self._facts.names[old.program_id], place)
        data = f'"new_place":"{new.place(row["new_position"])}","number":{row["number"]}}}'
        return self._coded(lifecycle.CODE_REISSUED, old, place, f"{head},{data}")

    def _of_program(self, old: _Row | None, new: _Row) -> Iterator[EventDraft]:
        self._facts.names[new["id"]] = new["name"]
        if old is None or any(old[name] != new[name] for name in new.keys() - _COUNTERS):
            data = f'{{"program_id":{new["id"]},"name":"{new["name"]}"}}'
            yield EventDraft(PROGRAM_CHANGED, new["id"], str(new["id"]), data)

    def _range(self, block: BlockFacts, first: int, count: int) -> str:
        return of_range(block.program_id, self._facts.names[block.program_id], block.run, block.first + first, count)

    def _ranged(self, kind: str, block: BlockFacts, data: str, first: int = 0) -> EventDraft:
        return self._coded(kind, block, block.place(first), data)

    def _coded(self, kind: str, block: BlockFacts, place: str, data: str) -> EventDraft:
        return EventDraft(kind, block.program_id, f"{block.program_id}:{place}", data)


def _was_in(row: _Row, other: _Row, size: int) -> bool:
    """Whether the numbers of a new block were the last ones of another, which had `size` of them before."""
    return (
        other["kind"] == "range"
        and (row["program_id"], row["version"]) == (other["program_id"], other["version"])
        and other["first"] + other["size"] <= row["first"] < other["first"] + size
    )


def _differs(was: Mapping[str, Any], new: _Row, *columns: str) -> bool:
    return any(was.get(name) != new[name] for name in columns)


def _tally(state: _Row | None) -> str:
    """What the till's events say of the code itself."""
    if state is None:
        return ',"uses":0,"activated_at":null,"code_held_until":null'
    return (
        f',"uses":{state["uses"]},"activated_at":{moment(state["activated_at"])},'
        f'"code_held_until":{moment(state["held_until"])}'
    )
