"""Converts a code to its API schema."""

import json

from codewell.codes.lookup import CodeFacts
from schemas.api import Code


def code_of(program: str, facts: CodeFacts) -> Code:
    """The API schema of a code."""
    return Code(
        code=facts.code,
        program=program,
        state=facts.state,
        profile_id=facts.profile_id,
        attached_at=facts.attached_at,
        activated_at=facts.activated_at,
        expires_at=facts.expires_at,
        created_at=facts.created_at,
        place=str(facts.place),
        fields=json.loads(facts.fields) if facts.fields else {},
        # An activation from before uses were recorded is one.
        uses=facts.uses or int(facts.activated_at is not None),
        held_until=facts.held_until,
    )
