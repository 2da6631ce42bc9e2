"""LRU cache of minters: each template version's minter is built once from its secret key."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import asyncpg

from codewell.errors import StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.keys.master_keys import MasterKeys, WrappedKey
from codewell.minting.minter import ALGORITHM, Minter
from codewell.minting.template import Template

_MINTERS_MAX: Final = 4_096
# Minting one code takes as long as minting 64, and half as long as this many.
_MINTED_MIN: Final = 256


# Cached: many programs have the same.
_template: Final = lru_cache(maxsize=1_024)(Template.parse)

_READ: Final = """
    SELECT k.program_id, k.version, t.template, t.algorithm, t.key, t.key_wrapped, t.key_id
    FROM unnest($1::bigint[], $2::integer[]) AS k (program_id, version)
    LEFT JOIN template_version t USING (program_id, version)
    """


class _Texts(NamedTuple):
    """Texts of numbers in turn, as one: a text alone takes four times the memory."""

    first: int
    size: int
    length: int
    """Of each in characters."""
    joined: str


class Minters:
    """LRU cache of minters by (program id, version), with at most _MINTERS_MAX entries."""

    def __init__(self, master_key: bytes | None, *previous: bytes) -> None:
        """`previous` are master keys under rotation; they still unwrap the keys that they wrapped."""
        self.keys = MasterKeys(*(() if master_key is None else (master_key, *previous)))
        self._minters: OrderedDict[tuple[int, int], Minter] = OrderedDict()
        # The same ones, by program.
        self._of_programs: dict[int, dict[int, Minter]] = {}
        # Texts minted ahead of use, by the same keys.
        self._minted: dict[tuple[int, int], _Texts] = {}

    async def get(self, connection: Connection, program_id: int, version: int) -> Minter:
        """The minter, from the cache or the database.

        Raises StackUnavailable when its key can't be unwrapped or its algorithm is not supported.
        """
        key = (program_id, version)
        await self.load(connection, (key,))
        self._minters.move_to_end(key)
        return self._minters[key]

    def cached(self, program_id: int) -> Mapping[int, Minter]:
        """Those of the program that are in the cache, by version."""
        return self._of_programs.get(program_id, {})

    async def load(self, connection: Connection, keys: Iterable[tuple[int, int]]) -> None:
        """Cache the minters of these keys; one query reads all missing ones. Raises as `get` does."""
        missing = [key for key in keys if key not in self._minters]
        if not missing:
            return
        rows = await connection.fetch(_READ, [key[0] for key in missing], [key[1] for key in missing])
        try:
            for row in rows:
                key = row["program_id"], row["version"]
                self._minters[key] = self._of_programs.setdefault(key[0], {})[key[1]] = self._made(row)
                self._minters.move_to_end(key)
        finally:
            while len(self._minters) > _MINTERS_MAX:
                forgotten, _ = self._minters.popitem(last=False)
                self._minted.pop(forgotten, None)
                of_program = self._of_programs[forgotten[0]]
                del of_program[forgotten[1]]
                if not of_program:
                    del self._of_programs[forgotten[0]]

    def _made(self, row: asyncpg.Record) -> Minter:
        if row["algorithm"] != ALGORITHM:
            raise StackUnavailable(
                f"Template version {row['version']} of program {row['program_id']} is not supported by this version of "
                "codewell: install the version that created it."
            )
        return Minter(_template(row["template"]), self.keys.unwrap(WrappedKey(*row[4:])))

    async def texts(
        self, connection: Connection, program_id: int, version: int, first: int, count: int
    ) -> Sequence[str]:
        """The texts of `count` numbers from `first` on. Mints ahead for callers that ask for the next ones later.

        Raises as `get` does.
        """
        if (program_id, version) not in self._minters:
            # A claim for many programs has loaded them all: awaiting each would take longer than this.
            await self.get(connection, program_id, version)
        return self._texts((program_id, version), first, count)

    def known_texts(self, program_id: int, version: int, first: int, count: int) -> Sequence[str] | None:
        """As `texts`; None where the minter is not in the cache."""
        key = (program_id, version)
        return self._texts(key, first, count) if key in self._minters else None

    def _texts(self, key: tuple[int, int], first: int, count: int) -> Sequence[str]:
        self._minters.move_to_end(key)
        minted = self._minted.get(key)
        if minted is not None:
            begin, size, length, joined = minted
            at = first - begin
            if 0 <= at <= at + count <= size:
                return [joined[start : start + length] for start in range(at * length, (at + count) * length, length)]
        minter = self._minters[key]
        if count >= _MINTED_MIN:
            return minter.mint(first, count)
        texts = minter.mint(first, max(count, min(_MINTED_MIN, minter.numbers - first)))
        self._minted[key] = _Texts(first, len(texts), minter.template.length, "".join(texts))
        return texts[:count]
