"""The data of most requests, read in about half of the time that pydantic needs.

These readers take a part of what `schemas.events` takes, with the same values. The rest is left to pydantic, which
reads it or says what is wrong.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Final, TypeVar

from msgspec import DecodeError, Meta, Struct
from msgspec.json import Decoder

from schemas import patterns
from schemas.events import PROGRAMS_MAX

_ID_CHARACTERS_MAX: Final = 256

_Id = Annotated[str, Meta(min_length=1, max_length=_ID_CHARACTERS_MAX)]
_Names = Annotated[tuple[str, ...], Meta(min_length=1, max_length=PROGRAMS_MAX)]


class PlainRender(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A MessageRender without template and deadline."""

    profile_id: _Id
    campaign_id: _Id
    programs: _Names
    message_id: _Id | None = None
    template: None = None
    preview: bool | None = False
    deadline: None = None

    @property
    def program_names(self) -> tuple[str, ...]:
        """As in MessageRender."""
        return self.programs if len(self.programs) == 1 else tuple(dict.fromkeys(self.programs))


class PlainStep(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A ScenarioStep without a deadline."""

    profile_id: _Id
    scenario_id: _Id
    step_id: _Id
    program: str
    preview: bool | None = False
    deadline: None = None

    @property
    def programs(self) -> tuple[str, ...]:
        """As in PlainRender."""
        return (self.program,)

    @property
    def program_names(self) -> tuple[str, ...]:
        """As in ScenarioStep."""
        return (self.program,)


_match_name: Final = re.compile(patterns.SHORT_NAME).fullmatch
P = TypeVar("P", PlainRender, PlainStep)


_BACKSLASH: Final = ord("\\")
_DELETE: Final = 0x7F


@lru_cache(maxsize=1024)
def distinct_names(programs: tuple[str, ...]) -> tuple[str, ...] | None:
    """`program_names` of an event of these programs; None if one is no short name, which pydantic has to say."""
    return tuple(dict.fromkeys(programs)) if all(map(_match_name, programs)) else None


def _reader(kind: type[P]) -> Callable[[Sequence[bytes]], list[P | None]]:
    decode = Decoder(kind).decode

    def read(values: Sequence[bytes]) -> list[P | None]:
        # To look through all at once, and for a number instead of bytes, takes a tenth of the time.
        joined = b"".join(values)
        has_escapes = _BACKSLASH in joined or _DELETE in joined
        events: list[P | None] = []
        for value in values:
            event = None
            # Control characters, which no id may have, are escapes in JSON, but for DEL. Both are left to pydantic.
            if not has_escapes or not (_BACKSLASH in value or _DELETE in value):
                try:
                    event = decode(value)
                except (DecodeError, UnicodeDecodeError):
                    event = None
            events.append(event)
        return events

    return read


plain_renders: Final = _reader(PlainRender)
"""The event in each of these JSON texts; None for one that pydantic has to read. `distinct_names` is left to check."""
plain_steps: Final = _reader(PlainStep)
"""As `plain_renders`."""
