"""Why a request is refused, as the text that its answer has. Pure."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from codewell.issuing.fallbacks import Link
from codewell.pool.program_rules import Source, refusal_sentence
from schemas.events import Reason, Refusal


class Against(NamedTuple):
    """Why one program of a request gives no code. `link`: its last fallback, which gives none either."""

    program: str
    reason: Reason
    link: Link | None = None
    used_up: int | None = None
    """The reservation that alone serves the request's campaign, and is used up."""


def refusals_text(reasons: Sequence[Against], source: Source) -> str:
    """The refusals as JSON text."""
    refusals = []
    for name, reason, link, used_up in reasons:
        detail = refusal_sentence(name, reason, source)
        if used_up is not None:
            detail = (
                f"The reservation {used_up} of {name} is used up, and its overflow is refuse. "
                "Raise its count, or release it."
            )
        if link is not None:
            detail += f" Its fallbacks gave no code either: {', '.join(link.fallbacks.programs)}."
        refusals.append(Refusal(program=name, reason=reason, detail=detail).model_dump())
    return json.dumps(refusals, ensure_ascii=False, separators=(",", ":"))
