"""Under which key a program gives a code again: whose code it is, and in which scope. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, repeat
from typing import Final

from codewell.issuing.model import AssignmentKey, ManualRequest, Request, RequestEvent, as_key
from codewell.pool.program_rules import ProgramRules
from schemas.events import MessageRender, ScenarioStep
from schemas.plain_events import PlainRender, PlainStep

EVERYBODY: Final = ""
"""The profile of a code that all profiles share."""


def assignment_key(program: ProgramRules, event: RequestEvent) -> AssignmentKey:
    """The key under which the program reuses the profile's code for this request."""
    return assignment_keys(program, (event,))[0]


def assignment_keys(program: ProgramRules, events: Sequence[RequestEvent]) -> list[AssignmentKey]:
    """The key of each of these requests, as `assignment_key` has it."""
    profile_ids = repeat(EVERYBODY) if program.shared else [event.profile_id for event in events]
    if program.shared or program.reuse == "profile":
        return list(map(as_key, zip(repeat(program.id, len(events)), profile_ids, repeat(""))))
    scopes = [_scope(program.reuse, event) for event in events]
    return list(map(as_key, zip(repeat(program.id), profile_ids, scopes)))


def keys_by_names(
    requests: Iterable[Request], programs: Mapping[str, ProgramRules]
) -> dict[tuple[str, ...], list[AssignmentKey]]:
    """Under which keys requests may get a code again, by their short names; `programs` by theirs.

    Of requests that name one program these are their keys in their order.
    """
    events: defaultdict[tuple[str, ...], list[RequestEvent]] = defaultdict(list)
    for _, event, names, _, _ in requests:
        events[names].append(event)
    reusing = {name: program for name, program in programs.items() if program.reuses_codes}
    return {
        names: list(chain.from_iterable(assignment_keys(reusing[name], some) for name in names if name in reusing))
        for names, some in events.items()
        if not reusing.keys().isdisjoint(names)
    }


def _scope(reuse: str, event: RequestEvent) -> str:
    """A message is scoped by its campaign as a scenario's step is by its scenario; a message has no finer scope.

    Manual requests have a scope of their own unless the scope is the whole program.
    """
    match event:
        case PlainRender() | MessageRender():
            return _scope_text("campaign", event.campaign_id)
        case PlainStep() | ScenarioStep():
            if reuse == "step":
                return step_scope(event.scenario_id, event.step_id)
            return _scope_text("scenario", event.scenario_id)
        case ManualRequest():
            return "hand"


@lru_cache(maxsize=1024)  # A batch has few of them, and one object's hash is computed once.
def _scope_text(kind: str, id_: str) -> str:
    return f"{kind}:{id_}"


@lru_cache(maxsize=1024)  # A batch has few steps.
def step_scope(scenario_id: str, step_id: str) -> str:
    """The scope of a scenario's step: a hash, as two ids and the profile's could exceed the size of an index row."""
    return "step:" + blake2b(f"{scenario_id}\x1f{step_id}".encode(), digest_size=16).hexdigest()
