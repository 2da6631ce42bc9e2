"""What a sender asks. A request object is one request for ever: pass the same object, or its `id`, to ask again."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final, TypeAlias
from uuid import UUID

from codewell_client.uuid7 import uuid7

VALUE_BYTES_MAX: Final = 256 * 1024
PROGRAMS_MAX: Final = 16
_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_NAME: Final = "[A-Za-z0-9_]{1,64}"
_SHORT_NAME: Final = re.compile(_NAME)
_PLACEHOLDER_START: Final = "{loyalty."
_PLACEHOLDER: Final = re.compile(rf"\{{loyalty\.({_NAME})\.([a-z_]{{1,64}})\}}")
_WORD: Final = "promocode"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRender:
    """One message of a campaign that needs its codes. Raises ValueError for what Codewell would not read.

    `programs` or `template`, or both, name at least one program: in a template as `{loyalty.NAME.promocode}`.
    """

    topic: ClassVar[str] = "message-render"
    type: ClassVar[str] = "dev.codewell.message-render.v1"

    profile_id: str
    """The customer, by an opaque id of your choice: at most 256 characters."""
    campaign_id: str
    programs: Sequence[str] = ()
    """Short names of programs: at most 16 together with those of the template."""
    template: str | None = None
    """The message's text; the answer has it with the codes in place."""
    message_id: str | None = None
    preview: bool = False
    """Ask for codes that only look right: they belong to no one, and nothing is attached."""
    deadline: datetime | None = None
    """With a time zone. A request that is decided later is refused, so that it uses up no code."""
    id: UUID = field(default_factory=uuid7)
    """The same id again is the same request, and gets the same answer."""

    def __post_init__(self) -> None:
        _check_ids(profile_id=self.profile_id, campaign_id=self.campaign_id, message_id=self.message_id)
        _check_programs(self.programs)
        _check_programs_in_all({*self.programs, *_programs_of(self.template or "")})
        _check_deadline(self.deadline)

    def data(self) -> dict[str, Any]:
        """The event's data; what was not given is left out."""
        return _present(
            profile_id=self.profile_id,
            campaign_id=self.campaign_id,
            message_id=self.message_id,
            programs=list(self.programs) or None,
            template=self.template,
            preview=self.preview or None,
            deadline=_text_of(self.deadline),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioStep:
    """A customer's journey has reached a promo-code step. Raises ValueError for what Codewell would not read."""

    topic: ClassVar[str] = "scenario-step"
    type: ClassVar[str] = "dev.codewell.scenario-step.v1"

    profile_id: str
    """The customer, by an opaque id of your choice: at most 256 characters."""
    scenario_id: str
    step_id: str
    program: str
    """The program's short name."""
    preview: bool = False
    """Ask for a code that only looks right: it belongs to no one, and nothing is attached."""
    deadline: datetime | None = None
    """With a time zone. A request that is decided later is refused, so that it uses up no code."""
    id: UUID = field(default_factory=uuid7)
    """The same id again is the same request, and gets the same answer."""

    def __post_init__(self) -> None:
        _check_ids(profile_id=self.profile_id, scenario_id=self.scenario_id, step_id=self.step_id)
        _check_programs((self.program,))
        _check_deadline(self.deadline)

    def data(self) -> dict[str, Any]:
        """The event's data; what was not given is left out."""
        return _present(
            profile_id=self.profile_id,
            scenario_id=self.scenario_id,
            step_id=self.step_id,
            program=self.program,
            preview=self.preview or None,
            deadline=_text_of(self.deadline),
        )


Request: TypeAlias = MessageRender | ScenarioStep


def encode(request: Request) -> bytes:
    """The event's data as JSON. Raises ValueError when it is longer than Codewell reads."""
    value = json.dumps(request.data(), ensure_ascii=False, separators=(",", ":")).encode()
    if len(value) > VALUE_BYTES_MAX:
        raise ValueError(f"The request has {len(value):,} bytes; at most {VALUE_BYTES_MAX:,} are read.")
    return value


def _present(**members: object) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _text_of(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _check_ids(**ids: str | None) -> None:
    for name, text in ids.items():
        if text is not None and _ID.fullmatch(text) is None:
            raise ValueError(f"{name} must have 1 to 256 characters, none of them a control character.")


def _check_programs(names: Sequence[str]) -> None:
    if isinstance(names, str):
        raise TypeError("programs must be a list of short names, not one text.")
    for name in names:
        if _SHORT_NAME.fullmatch(name) is None:
            raise ValueError(f"{name!r} is no short name: it has 1 to 64 letters, digits and _.")
    if len(names) > PROGRAMS_MAX:
        raise ValueError(f"A request may name {PROGRAMS_MAX} programs, not {len(names)}.")


def _programs_of(template: str) -> list[str]:
    """The programs that the template names. Other words than promocode in its placeholders belong to other systems."""
    found: list[tuple[str, str]] = _PLACEHOLDER.findall(template)
    if len(found) != template.count(_PLACEHOLDER_START):
        raise ValueError("template has a broken placeholder: write {loyalty.NAME.promocode} with a short name.")
    return [name for name, word in found if word == _WORD]


def _check_programs_in_all(names: set[str]) -> None:
    if not names:
        raise ValueError("Name a program: in programs, or in the template as {loyalty.NAME.promocode}.")
    if len(names) > PROGRAMS_MAX:
        raise ValueError(f"programs and template may name {PROGRAMS_MAX} programs together, not {len(names)}.")


def _check_deadline(deadline: datetime | None) -> None:
    if deadline is not None and deadline.tzinfo is None:
        raise ValueError("deadline needs a time zone, such as datetime.now(UTC) has.")
