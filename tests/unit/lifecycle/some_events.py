"""Events of one program as they may follow each other, at random, and what is so of its codes after them."""

import random
from collections.abc import Iterator
from typing import Any

from schemas import lifecycle as types

PROGRAM = 7
EXPIRIES = (None, "2030-01-01T00:00:00Z", "2040-01-01T00:00:00.000001Z")

Event = tuple[str, dict[str, Any]]


class SomeEvents:
    """A program in which anything happens."""

    def __init__(self, chance: random.Random) -> None:
        self.states: dict[tuple[str, int], str] = {}
        """By run and number. `voided` are codes that a range's deletion deleted."""
        self._chance = chance
        self._blocks: list[tuple[str, int, int]] = []
        self._next = 0

    def events(self, count: int) -> Iterator[Event]:
        """Some events."""
        steps = (self._make, self._attach, self._attach, self._till, self._leave, self._change, self._delete,
                 self._restore, self._range, self._move)  # fmt: skip
        for _ in range(count):
            for kind, data in self._chance.choice(steps)():
                yield kind, {"program_id": PROGRAM, "program": "SPRING", **data}

    def _make(self) -> Iterator[Event]:
        self._next += 1
        of_template = self._chance.random() < 0.5
        run, first = ("0:1", 100 * self._next) if of_template else (f"1:{self._next}", 0)
        count = self._chance.randrange(1, 8)
        self._blocks.append((run, first, count))
        self.states |= dict.fromkeys(((run, first + n) for n in range(count)), "pooled")
        yield (
            types.CODES_MADE if of_template else types.CODES_IMPORTED,
            {"run": run, "first": first, "count": count, **self._expiry()},
        )

    def _attach(self) -> Iterator[Event]:
        for again, state in ((False, "pooled"), (True, "attached")):
            for at in self._some(state):
                self.states[at] = "attached"
                yield types.CODE_ATTACHED, {**_place(at), "again": again, "profile": "9f", **self._expiry()}

    def _till(self) -> Iterator[Event]:
        for at in self._some("attached"):
            kind = self._chance.choice((types.CODE_HELD, types.CODE_RELEASED, types.CODE_DEACTIVATED))
            held = self._chance.choice(EXPIRIES)
            yield kind, {**_place(at), "uses": self._chance.randrange(3), "activated_at": None, "code_held_until": held}

    def _leave(self) -> Iterator[Event]:
        for at in self._some("attached"):
            yield types.CODE_RETURNED, {**_place(at), **self._new_place(at)}

    def _change(self) -> Iterator[Event]:
        for at in self._some("attached"):
            yield types.CODE_CHANGED, {**_place(at), "new_place": None, **self._expiry()}
        for at in self._some("pooled"):
            yield types.CODE_CHANGED, {**_place(at), **self._new_place(at)}

    def _delete(self) -> Iterator[Event]:
        for at in self._some(self._chance.choice(("pooled", "attached"))):
            self.states[at] = "gone" if self.states[at] == "pooled" else "deleted"
            yield types.CODE_DELETED, _place(at)

    def _restore(self) -> Iterator[Event]:
        for at in self._some("deleted"):
            self.states[at] = "attached"
            yield types.CODE_RESTORED, _place(at)

    def _range(self) -> Iterator[Event]:
        if not self._blocks:
            return
        run, first, count = self._chance.choice(self._blocks)
        kind = self._chance.choice((types.CODES_CHANGED, types.CODES_DELETED, types.CODES_RESTORED, types.CODES_EXPIRED,
                                    types.CODES_WITHDRAWN))  # fmt: skip
        before, after = {
            types.CODES_DELETED: ("pooled", "voided"), types.CODES_RESTORED: ("voided", "pooled"),
            types.CODES_WITHDRAWN: ("pooled", "withdrawn"),
        }.get(kind, ("", ""))  # fmt: skip
        places = [(run, number) for number in range(first, first + count)]
        if kind != types.CODES_RESTORED and any(self.states[at] in {"voided", "withdrawn"} for at in places):
            # Such a block has no pooled codes.
            return
        self.states |= {at: after for at in places if self.states[at] == before}
        yield kind, {"run": run, "first": first, "count": count, **self._expiry()}

    def _move(self) -> Iterator[Event]:
        """The end of a list, of which nothing was taken out of turn, to a list of its own."""
        if not self._blocks:
            return
        which = self._chance.randrange(len(self._blocks))
        run, first, count = self._blocks[which]
        moving = self._chance.randrange(1, count + 1)
        at = [(run, first + number) for number in range(count - moving, count)]
        if run == "0:1" or moving == count or any(self.states[one] != "pooled" for one in at):
            return
        self._next += 1
        new = f"1:{self._next}"
        self._blocks[which] = (run, first, count - moving)
        self._blocks.append((new, 0, moving))
        for number, one in enumerate(at):
            del self.states[one]
            self.states[new, number] = "pooled"
        yield types.CODES_MOVED, {"run": run, "first": at[0][1], "count": moving, "new_run": new, "new_first": 0}

    def _new_place(self, at: tuple[str, int]) -> dict[str, Any]:
        self._next += 1
        self.states[at] = "moved"
        self.states[f"1:{self._next}", 0] = "pooled"
        return {"new_place": f"1:{self._next}:0", **self._expiry()}

    def _some(self, state: str) -> list[tuple[str, int]]:
        found = [at for at, is_so in self.states.items() if is_so == state]
        return self._chance.sample(found, min(len(found), self._chance.randrange(3)))

    def _expiry(self) -> dict[str, Any]:
        return {"expires_at": self._chance.choice(EXPIRIES), "fields": None}


def _place(at: tuple[str, int]) -> dict[str, Any]:
    return {"place": f"{at[0]}:{at[1]}"}
