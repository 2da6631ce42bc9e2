"""Factories of programs, stock and requests with defaults for all values; a test names only what it is about."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.issuing.model import AnswerRow, LockedStock, Lot, Request
from codewell.pool.minter_cache import Minters
from codewell.pool.program_rules import ProgramRules as Rules
from codewell.programs import programs
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import plain_renders, plain_steps
from schemas.program import Program, ProgramSettings, TemplateSource

NOW = datetime(2026, 12, 1, 10, tzinfo=UTC)
TEMPLATE = "{upstring 4}-{number 6}"

# Codes of such a program are only generated or imported on request.
OFF: dict[str, Any] = {"campaign_can_create": False, "scenario_can_create": False}


def message(*names: str, request_id: UUID | None = None, **data: Any) -> Request:
    """A message-render request for these programs."""
    given = {"profile_id": "p-1", "campaign_id": "spring", "programs": names, **data}
    return _request(request_id, MessageRender.model_validate(given))


def step(name: str, request_id: UUID | None = None, **data: Any) -> Request:
    """A scenario-step request for this program."""
    given = {"profile_id": "p-1", "scenario_id": "welcome", "step_id": "s-1", "program": name, **data}
    return _request(request_id, ScenarioStep.model_validate(given))


def plain(request: Request) -> Request:
    """The same request, read as issuers read those that need no pydantic, which they decide as columns."""
    read = plain_renders if isinstance(request.event, MessageRender) else plain_steps
    assert isinstance(request.event, MessageRender | ScenarioStep)
    [event] = read([request.event.model_dump_json(exclude_none=True).encode()])
    assert event is not None
    return request._replace(event=event)


def _request(request_id: UUID | None, event: MessageRender | ScenarioStep) -> Request:
    return Request(request_id or uuid7(), event, event.program_names)


def rules(name: str = "SPRING", **changed: Any) -> Rules:
    """A program as a claim reads it: active, without room and without the right to create codes."""
    ready = Rules(
        id=1,
        name=name,
        active=True,
        valid_from=None,
        valid_until=None,
        campaign_can_create=False,
        scenario_can_create=False,
        shared=False,
        reuse="request",
        ttl=None,
        ttl_from="creation",
        room=0,
        pool_max=10,
        pooled=0,
        version=1,
        codes_max=10,
        codes_from="template",
        on_order=0,
        min_life_at_attach=None,
        fallback=None,
    )
    return ready._replace(**changed)


def stock(count: int, elsewhere: int = 0, block_id: int = 1, **code: Any) -> LockedStock:
    """Stock of one block, whose codes are C0, C1 and so on."""
    texts = [f"C{n}" for n in range(count)]
    return LockedStock([Lot(block_id, range(count), texts, code.get("expires_at"), code.get("fields"))], elsewhere)


def given_row(request: Request, code: str = "AB-12", **changed: Any) -> AnswerRow:
    """The stored row of a code that the request got from program 1."""
    row = AnswerRow(request.id, 0, 1, 1, 0, False, False, request.event.profile_id, code, None, None, None, NOW)
    return row._replace(**changed)


def settings(name: str = "SPRING", **changed: Any) -> ProgramSettings:
    """A small program that both sources may create codes for; it has so few codes that they can be guessed."""
    given: dict[str, Any] = {
        "name": name,
        "source": TemplateSource(kind="template", template=TEMPLATE),
        "codes_max": 10_000,
        "pool_max": 100,
        "campaign_can_create": True,
        "scenario_can_create": True,
        "allow_guessable": True,
        **changed,
    }
    return ProgramSettings(**given)


async def program(connection: Connection, minters: Minters, name: str = "SPRING", **changed: Any) -> Program:
    """A program in the database, with an empty pool."""
    return await programs.create(connection, minters, settings(name, **changed), guesses_per_s=10)
