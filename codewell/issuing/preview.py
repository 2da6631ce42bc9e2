"""Previews a message for a caller who is no sender: by the rules of requests, without storing an answer."""

import json
from collections.abc import Sequence
from typing import Any, Final

from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing import claim_queries
from codewell.issuing.claim import preview_text
from codewell.issuing.decide import decide
from codewell.issuing.model import LockedStock, Request
from codewell.issuing.reply import answer_event
from codewell.pool.minter_cache import Minters
from schemas.events import MessageRender

_VISIBLE: Final = """
    SELECT name FROM program WHERE name = ANY($1::text[]) AND ($2::text[] = '{}' OR groups && $2::text[])
    """


async def preview(
    connection: Connection, minters: Minters, event: MessageRender, groups: Sequence[str]
) -> dict[str, Any]:
    """The data of the answer that the event, whose `preview` is true, would get; its codes belong to no profile.

    With `groups`, a program in none of these access groups is unknown. Raises what asyncpg raises.
    """
    request = Request(uuid7(), event, event.program_names)
    visible = {row["name"] for row in await connection.fetch(_VISIBLE, list(request.names), list(groups))}
    # No blocks: this only reads the rules.
    locked = await claim_queries.lock(connection, dict.fromkeys(request.names, 0))
    programs = {name: one for name, one in locked.programs.items() if name in visible}
    shown = {
        one.id: await minters.get(connection, one.id, one.version)
        for one in programs.values()
        if one.codes_from == "template"
    }
    decision = decide(
        [request],
        programs,
        {one.id: LockedStock([], 0) for one in programs.values()},
        {},
        locked.now,
        lambda program, asked: preview_text(shown.get(program.id), program, asked),
    )
    _, data = answer_event(request, decision.rows, {one.id: name for name, one in programs.items()})
    answer: dict[str, Any] = json.loads(data)
    return answer
