"""What the HTTP API takes and answers about previews of messages, and about all codes of a profile."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from schemas.api import Code
from schemas.events import PROGRAMS_MAX, Id, ShortName
from schemas.strict_model import StrictModel

TEMPLATE_MAX = 100_000


class MessageToPreview(StrictModel):
    """A message text with variables such as {loyalty.SPRING.promocode}, or programs by short name, or both."""

    profile_id: Id
    template: str | None = Field(None, max_length=TEMPLATE_MAX)
    programs: tuple[ShortName, ...] = Field((), max_length=PROGRAMS_MAX)


class PreviewedCode(StrictModel):
    """A code that fits the template and belongs to no profile; it says PREVIEW where the program makes none."""

    program: ShortName
    code: str
    expires_at: datetime | None
    fields: dict[str, str]


class PreviewRefusal(StrictModel):
    """Why a program would give no code now."""

    program: ShortName | None
    reason: str
    detail: str


class MessagePreview(StrictModel):
    """What a message would look like. Nothing is stored, and no code is attached.

    `rendered` is null without a template. `unresolved` are texts that look like variables and are none.
    """

    profile_id: Id
    outcome: Literal["attached", "refused"]
    codes: list[PreviewedCode]
    refusals: list[PreviewRefusal]
    rendered: str | None
    unresolved: list[str]


class ProfileCodes(StrictModel):
    """The codes that a profile has or had, in the programs that the token may see, by program and newest first.

    `complete` false: there are more than 200; list those of each program with `profile_id`.
    """

    items: list[Code]
    complete: bool
