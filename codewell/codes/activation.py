"""Many codes of one program activated at once. What it decides is what `life.activate` decides one by one."""

from collections.abc import Sequence
from typing import Final

from codewell.codes import lifecycle, lookup
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.errors import CodeUnknown, CodewellError, ProgramRefused
from codewell.infra.postgres.connection import Connection
from codewell.pool.minter_cache import Minters

# As for one code; rows are locked in the order of their keys, so that two of these don't wait for each other.
_ACTIVATE: Final = """
    INSERT INTO code_state AS s (block_id, position, activated_at)
    SELECT a.block_id, a.position, statement_timestamp()
    FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
    JOIN program p ON p.id = a.program_id
    LEFT JOIN code_state c ON c.block_id = a.block_id AND c.position = a.position
    WHERE p.active AND p.removed_at IS NULL AND (p.valid_from IS NULL OR p.valid_from <= statement_timestamp())
      AND (c.changed OR a.expires_at IS NULL OR a.expires_at > statement_timestamp())
    ORDER BY a.block_id, a.position
    ON CONFLICT (block_id, position) DO UPDATE SET activated_at = excluded.activated_at
    WHERE s.activated_at IS NULL AND s.deleted_at IS NULL AND s.returned_at IS NULL
      AND (NOT s.changed OR s.expires_at IS NULL OR s.expires_at > statement_timestamp())
    RETURNING s.block_id, s.position
    """


async def activate(
    connection: Connection, minters: Minters, program_id: int, texts: Sequence[str]
) -> list[CodeFacts | CodewellError | None]:
    """Use attached codes. Of each: the facts on it now, or why it can't be used, or None where that has to be asked
    one by one, as the code has just gone into another block.

    The texts differ. Only to be called in a transaction, which holds the codes until its end.
    """
    places = await lookup.locate_all(connection, minters, program_id, texts)
    there = [at for at in places if at is not None]
    known = [text for text, at in zip(texts, places, strict=True) if at is not None]
    used = {
        (row["block_id"], row["position"])
        for row in await connection.fetch(_ACTIVATE, [at.block["id"] for at in there], [at.position for at in there])
    }
    now = await lookup.facts_of(connection, minters, program_id, there, known)
    facts = dict(zip(map(_key, there), now, strict=True))
    outcomes: list[CodeFacts | CodewellError | None] = []
    for text, at in zip(texts, places, strict=True):
        one = None if at is None else facts[_key(at)]
        if at is None:
            outcomes.append(CodeUnknown(text))
        elif one is None or _key(at) in used:
            outcomes.append(one)
        else:
            outcomes.append(ProgramRefused(await lifecycle.against_activating(connection, program_id, one)))
    return outcomes


def _key(at: LocatedCode) -> tuple[int, int]:
    return at.block["id"], at.position
