"""Attach codes that are at hand: write their answers, and who gets which again."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.answer_builder import AnswerBuilder
from codewell.issuing.model import Decision, PooledCode, RequestEvent
from codewell.pool.program_rules import ProgramRules


async def attach_codes(
    connection: Connection,
    program: ProgramRules,
    now: datetime,
    codes: Iterable[tuple[UUID, RequestEvent, PooledCode]],
    *,
    assign: bool = True,
) -> Decision:
    """Attach each of these codes to the profile of its request, and return what was decided.

    A code comes with the expiry that it has in the pool. The caller has taken the codes out of the pool, or does so in
    the same transaction. Raises what `claim_queries.write` raises; with `assign=False` the caller stores the
    assignments.
    """
    decision = Decision([], {}, {}, {}, {}, [])
    builder = AnswerBuilder(program, now, decision.rows, decision.assignments)
    for request_id, event, code in codes:
        builder.attach(request_id, 0, event, code)
    await claim_queries.write(connection, decision if assign else decision._replace(assignments={}))
    return decision
