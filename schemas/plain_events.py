"""The data of most requests, read in about half of the time that pydantic needs.

These readers take a part of what `schemas.events` takes, with the same values. The rest is left to pydantic, which
reads it or says what is wrong.
"""

import re
from collections.abc import Callable
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
    def program_names(self) -> tuple[str, ...]:
        """As in ScenarioStep."""
        return (self.program,)


PLAIN_EVENTS: Final = frozenset((PlainRender, PlainStep))
_match_name: Final = re.compile(patterns.SHORT_NAME).fullmatch
P = TypeVar("P", PlainRender, PlainStep)


_BACKSLASH: Final = ord("\\")
_DELETE: Final = 0x7F


@lru_cache(maxsize=1024)
def _are_names(names: tuple[str, ...]) -> bool:
    return all(map(_match_name, names))


def _reader(kind: type[P]) -> Callable[[bytes], P | None]:
    decode = Decoder(kind).decode

    def read(value: bytes) -> P | None:
        # Control characters, which no id may have, are escapes in JSON, but for DEL. Both are left to pydantic.
        # To look for a number in bytes takes a tenth of the time of a look for bytes.
        if _BACKSLASH in value or _DELETE in value:
            return None
        try:
            event = decode(value)
        except (DecodeError, UnicodeDecodeError):
            return None
        return event if _are_names(event.program_names) else None

    return read


plain_render: Final = _reader(PlainRender)
"""The event in this JSON text; None for one that pydantic has to read."""
plain_step: Final = _reader(PlainStep)
"""As `plain_render`."""
