"""Under which key a program gives a code again: whose code it is, and in which scope. Pure."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from codewell.issuing.model import AssignmentKey, ManualRequest, Request, RequestEvent
from codewell.pool.program_rules import ProgramRules
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import PlainRender, PlainStep

EVERYBODY: Final = ""
"""The profile of a code that all profiles share."""


def assignment_key(program: ProgramRules, event: RequestEvent) -> AssignmentKey:
    """The key under which the program reuses the profile's code for this request.

    A message is scoped by its campaign as a scenario's step is by its scenario; a message has no finer scope. Manual
    requests have a scope of their own unless the scope is the whole program.
    """
    if program.shared or program.reuse == "profile":
        return AssignmentKey(program.id, EVERYBODY if program.shared else event.profile_id, "")
    match program.reuse, event:
        case "step", ScenarioStep() | PlainStep():
            scope = step_scope(event.scenario_id, event.step_id)
        case _, ScenarioStep() | PlainStep():
            scope = f"scenario:{event.scenario_id}"
        case _, MessageRender() | PlainRender():
            scope = f"campaign:{event.campaign_id}"
        case _, ManualRequest():
            scope = "hand"
    return AssignmentKey(program.id, event.profile_id, scope)


def assignment_keys(requests: Iterable[Request], programs: Mapping[str, ProgramRules]) -> set[AssignmentKey]:
    """All keys under which these requests may get a code again; `programs` by short name."""
    return {
        assignment_key(program, request.event)
        for request in requests
        for name in request.names
        if (program := programs.get(name)) is not None and program.reuses_codes
    }


@lru_cache(maxsize=1024)  # A batch has few steps.
def step_scope(scenario_id: str, step_id: str) -> str:
    """The scope of a scenario's step: a hash, as two ids and the profile's could exceed the size of an index row."""
    return "step:" + blake2b(f"{scenario_id}\x1f{step_id}".encode(), digest_size=16).hexdigest()
