"""Attaches given codes: writes their answers and assignments."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from codewell.infra.postgres.connection import Connection
from codewell.issuing import claim_queries
from codewell.issuing.answer_builder import AnswerBuilder
from codewell.issuing.decision import Decision
from codewell.issuing.model import PooledCode, RequestEvent
from codewell.pool.program_rules import ProgramRules, Source


async def attach_codes(
    connection: Connection,
    program: ProgramRules,
    now: datetime,
    codes: Iterable[tuple[UUID, RequestEvent, PooledCode]],
    *,
    assign: bool = True,
) -> Decision:
    """Attach each code to the profile of its request, and return the decision.

    `codes` are (request id, event, code); a code has its expiry in the pool. The caller has removed the codes from the
    pool, or does so in the same transaction. With `assign=False` the caller stores the assignments. Raises what
    `claim_queries.write` raises.
    """
    decision = Decision.empty()
    builder = AnswerBuilder(program, now, decision.rows, decision.assignments)
    for request_id, event, code in codes:
        builder.attach(request_id, 0, event, code)
    decision.usage.update(builder.count(Source.PERSON))
    await claim_queries.write(connection, decision if assign else decision._replace(assignments={}))
    return decision
