"""The revision of a program changes with its settings, so that of two people who edit it the second one notices."""

import hashlib
from datetime import UTC
from typing import Final

from schemas.program import Program

_CHARACTERS: Final = 32


def revision_of(program: Program) -> str:
    """A text that is the same for the same settings, however their times are written."""
    times = {
        name: moment.astimezone(UTC)
        for name in ("valid_from", "valid_until", "removed_at")
        if (moment := getattr(program, name)) is not None
    }
    known = program.model_copy(update=times).model_dump_json()
    return hashlib.sha256(known.encode()).hexdigest()[:_CHARACTERS]
