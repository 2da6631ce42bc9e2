"""Batches: codes of one template version that were generated together, and so have consecutive numbers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from codewell.infra.postgres.connection import Connection
from codewell.pool.program_rules import ProgramRules


class Batch(NamedTuple):
    """Numbers of one template version; those that the allocation skipped have no code."""

    version: int
    first: int
    end: int
    """Exclusive."""

    def __str__(self) -> str:
        """The batch's id."""
        return f"{self.version}-{self.first}-{self.end}"

    @classmethod
    def parse(cls, text: str) -> "Batch | None":
        """The batch with this id; None for a text that is no id."""
        parts = text.split("-")
        if len(parts) != len(cls._fields) or not all(part.isascii() and part.isdigit() for part in parts):
            return None
        batch = cls(*(int(part[:20]) for part in parts))
        is_one = str(batch) == text and batch.version < 2**31 and batch.first <= batch.end < 2**63
        return batch if is_one else None


class NumberedBatch:
    """A batch that is being made; `batch` is complete after the block of `recorded`."""

    def __init__(self, version: int, first: int) -> None:
        self.batch = Batch(version, first, first)


@asynccontextmanager
async def recorded(connection: Connection, program: ProgramRules) -> AsyncIterator[NumberedBatch]:
    """Record which numbers the block allocates. The caller has locked the program's row, so no other numbers are."""
    numbered = NumberedBatch(program.version, await _next_number(connection, program))
    yield numbered
    numbered.batch = numbered.batch._replace(end=await _next_number(connection, program))


async def _next_number(connection: Connection, program: ProgramRules) -> int:
    number: int = await connection.fetchval(
        "SELECT next_number FROM template_version WHERE program_id = $1 AND version = $2", program.id, program.version
    )
    return number
