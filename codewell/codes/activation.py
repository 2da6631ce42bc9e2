"""Activates (redeems) one or many codes of a program in one statement."""

from collections.abc import Sequence
from typing import Final

from codewell.codes import lookup
from codewell.codes.lookup import CodeFacts, LocatedCode
from codewell.codes.program_codes import ProgramCodes
from codewell.errors import CodeUnknown, CodewellError, ProgramRefused
from codewell.pool.program_conditions import MAY_ACTIVATE

# One statement, so that a hundred concurrent attempts cost a hundred statements. It waits for the row lock of a
# transaction that changes or deletes the code. Rows are locked in key order, so that two activations can't deadlock.
_ACTIVATE: Final = f"""
    INSERT INTO code_state AS s (block_id, position, activated_at)
    SELECT a.block_id, a.position, statement_timestamp()
    FROM unnest($1::bigint[], $2::bigint[]) AS w (block_id, position)
    JOIN answer a ON a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
    JOIN program p ON p.id = a.program_id
    LEFT JOIN code_state c ON c.block_id = a.block_id AND c.position = a.position
    WHERE {MAY_ACTIVATE} AND (c.changed OR a.expires_at IS NULL OR a.expires_at > statement_timestamp())
    ORDER BY a.block_id, a.position
    ON CONFLICT (block_id, position) DO UPDATE SET activated_at = excluded.activated_at
    WHERE s.activated_at IS NULL AND s.deleted_at IS NULL AND s.returned_at IS NULL
      AND (NOT s.changed OR s.expires_at IS NULL OR s.expires_at > statement_timestamp())
    RETURNING s.block_id, s.position
    """  # noqa: S608  a constant


async def activate(codes: ProgramCodes, code: str) -> CodeFacts:
    """Activate an attached code. Of any number of concurrent attempts exactly one succeeds.

    Raises CodeUnknown, and ProgramRefused with the reason against it.
    """
    while True:
        async with codes.connection.transaction():
            [outcome] = await activate_many(codes, [code])
        if isinstance(outcome, CodewellError):
            raise outcome
        if outcome is not None:
            return outcome


async def activate_many(codes: ProgramCodes, texts: Sequence[str]) -> list[CodeFacts | CodewellError | None]:
    """Activate attached codes. Returns, for each text in order: the code's facts, the error against it, or None.

    None means that the code has just moved to another block: try again. `texts` has no duplicates. Call it only in a
    transaction, which keeps the codes locked until it ends.
    """
    located = await lookup.locate_all(codes, texts)
    there = [at for at in located if at is not None]
    known = [text for text, at in zip(texts, located, strict=True) if at is not None]
    used = {
        (row["block_id"], row["position"])
        for row in await codes.connection.fetch(
            _ACTIVATE, [at.block["id"] for at in there], [at.position for at in there]
        )
    }
    now = await lookup.facts_of(codes, there, known)
    facts = dict(zip(map(_key, there), now, strict=True))
    outcomes: list[CodeFacts | CodewellError | None] = []
    for text, at in zip(texts, located, strict=True):
        one = None if at is None else facts[_key(at)]
        if at is None:
            outcomes.append(CodeUnknown(text))
        elif one is None or _key(at) in used:
            outcomes.append(one)
        else:
            outcomes.append(ProgramRefused(await _reason_against(codes, one)))
    return outcomes


async def _reason_against(codes: ProgramCodes, facts: CodeFacts) -> str:
    """The reason against the activation, as an English sentence for people."""
    if facts.state == "activated":
        return f"{facts.code} is activated already: it was used at {facts.activated_at:%Y-%m-%d %H:%M:%S} UTC."
    if facts.state != "attached":
        return f"{facts.code} is {facts.state}: only an attached code can be activated."
    name = await codes.connection.fetchval("SELECT name FROM program WHERE id = $1", codes.program_id)
    return f"{name} is switched off, removed or has not begun: its codes can't be activated now."


def _key(at: LocatedCode) -> tuple[int, int]:
    return at.block["id"], at.position
