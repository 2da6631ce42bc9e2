"""Plain requests of a batch, decided as columns: most requests, in a third of the time of one by one. Pure.

A plain request wants one code of one program, as a message or a step; it is no preview, has no deadline, has not
waited and tries no fallback. Where its program gives each request a code of its own, or its profile has none that is
given again, and the claim has enough of them, all that is left to decide is which code goes to whom.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain, compress, repeat
from typing import Final, NamedTuple

from codewell.issuing.assignment_keys import assignment_key, assignment_keys
from codewell.issuing.model import AgainRun, AssignmentKey, LockedStock, PooledCode, Request, Run, as_code
from codewell.pool.expiry import expiry_when_attached
from codewell.pool.program_rules import ProgramRules, Source, closed_reason
from codewell.usage.usage_key import UsageKey
from schemas.plain_events import PlainRender, PlainStep

_SOURCES: Final[dict[type, Source]] = {PlainRender: Source.CAMPAIGN, PlainStep: Source.SCENARIO}


class PlainGroups(NamedTuple):
    """The requests of a batch by what decides them."""

    plain: dict[tuple[str, Source], list[int]]
    """(short name, source) -> the places of its plain requests."""
    others: list[int]
    """The places of all other requests."""


def grouped(requests: Sequence[Request]) -> PlainGroups:
    """Which requests are plain."""
    plain: dict[tuple[str, Source], list[int]] = {}
    others: list[int] = []
    by_kind: dict[tuple[type, tuple[str, ...]], list[int]] = {}
    for index, (_, event, names, waited_until, links) in enumerate(requests):
        kind = event.__class__
        if kind not in _SOURCES or event.preview or waited_until is not None or links is not None or len(names) != 1:
            others.append(index)
            continue
        group = by_kind.get((kind, names))
        if group is None:
            group = by_kind[kind, names] = plain[names[0], _SOURCES[kind]] = []
        group.append(index)
    return PlainGroups(plain, others)


class Runs(NamedTuple):
    """What plain requests got, and the places of all other requests."""

    runs: list[Run | AgainRun]
    assignments: dict[AssignmentKey, PooledCode]
    """Of programs that reuse codes. Another request of the same profile gets the same code."""
    others: list[int]
    usage: Counter[UsageKey]


class _PlainGroup(NamedTuple):
    """Plain requests of one program and source that get the next codes; without reuse, without keys."""

    program: ProgramRules
    source: Source
    indexes: list[int]
    keys: list[AssignmentKey]


def take_runs(
    requests: Sequence[Request],
    programs: Mapping[str, ProgramRules],
    stocks: Mapping[int, LockedStock],
    assigned: Mapping[AssignmentKey, PooledCode],
    now: datetime,
) -> Runs:
    """Take the codes of plain requests from `stocks`, and those that their profiles have from `assigned`.

    Of a program that lacks a code for any of its requests nothing is taken: which of them gets none is decided one by
    one.
    """
    plain, others = grouped(requests)
    found = Runs([], {}, others, Counter())
    groups: list[_PlainGroup] = []
    reusing: list[_PlainGroup] = []
    for (name, source), indexes in plain.items():
        program = programs.get(name)
        if program is None or program.shared or closed_reason(program, now) is not None:
            others += indexes
        else:
            (reusing if program.reuses_codes else groups).append(_PlainGroup(program, source, indexes, []))
    if reusing:
        groups += _without_code(found, requests, reusing, programs, assigned, now)
    wanted = Counter(name for index in others for name in requests[index].names)
    for group in groups:
        wanted[group.program.name] += len(group.indexes)
    for program, source, indexes, keys in groups:
        stock = stocks[program.id]
        if stock.left < wanted[program.name]:
            others += indexes
            continue
        # Those of the other source want no more of it.
        wanted[program.name] -= len(indexes)
        given = list(_runs([requests[index] for index in indexes], program, stock, now))
        found.runs.extend(given)
        if keys:
            found.assignments.update(zip(keys, chain.from_iterable(map(_codes, given)), strict=True))
        found.usage[UsageKey(program.id, source, "attached")] += len(indexes)
    others.sort()
    return found


def _without_code(
    found: Runs,
    requests: Sequence[Request],
    groups: Sequence[_PlainGroup],
    programs: Mapping[str, ProgramRules],
    assigned: Mapping[AssignmentKey, PooledCode],
    now: datetime,
) -> list[_PlainGroup]:
    """Give profiles that have a code that one again, and return the first request of each that never had one.

    Later requests of a new profile, and those of one whose code expired, are decided one by one. So are all of a new
    profile that also a request which is not plain is for: the first of them all must be the one that gets the code.
    """
    # By their order in the batch, in which answers are stored: a code is attached before it is given again.
    first = {
        assignment_key(program, requests[index].event): -1
        for index in found.others
        for name in requests[index].names
        if (program := programs.get(name)) is not None and program.reuses_codes
    }
    left = [_give_again(found, requests, group, assigned, now) for group in groups]
    for group in left:
        # Backwards, so that the first one stays.
        own = dict(zip(reversed(group.keys), reversed(group.indexes), strict=True))
        for key in own.keys() & first.keys():
            own[key] = min(own[key], first[key])
        first.update(own)
    return [_first_of_each(found, group, first) for group in left]


def _give_again(
    found: Runs,
    requests: Sequence[Request],
    group: _PlainGroup,
    assigned: Mapping[AssignmentKey, PooledCode],
    now: datetime,
) -> _PlainGroup:
    """Give profiles that have a code that one again, and return those that never had one, with their keys."""
    program, source, indexes, _ = group
    keys = assignment_keys(program, [requests[index].event for index in indexes])
    if not assigned:
        return group._replace(keys=keys)
    codes = list(map(assigned.get, keys))
    lives = [code is not None and code.lives_at(now) for code in codes]
    known = [requests[index] for index in compress(indexes, lives)]
    if known:
        given = [code for code in compress(codes, lives) if code is not None]
        profile_ids = [request.event.profile_id for request in known]
        found.runs.append(AgainRun([request.id for request in known], profile_ids, program.id, given, now))
        found.usage[UsageKey(program.id, source, "reused")] += len(known)
    if len(known) == len(keys):
        return group._replace(indexes=[], keys=[])
    found.others.extend(
        index for index, code, living in zip(indexes, codes, lives, strict=True) if code is not None and not living
    )
    new = [code is None for code in codes]
    return group._replace(indexes=list(compress(indexes, new)), keys=list(compress(keys, new)))


def _first_of_each(found: Runs, group: _PlainGroup, first: Mapping[AssignmentKey, int]) -> _PlainGroup:
    """The first request of each profile; `first` has the places of those by their keys."""
    own = [first[key] == index for index, key in zip(group.indexes, group.keys, strict=True)]
    if all(own):
        return group
    found.others.extend(index for index, is_own in zip(group.indexes, own, strict=True) if not is_own)
    return group._replace(indexes=list(compress(group.indexes, own)), keys=list(compress(group.keys, own)))


def _codes(run: Run) -> Iterable[PooledCode]:
    return map(
        as_code,
        zip(repeat(run.block_id), run.positions, run.texts, repeat(run.expires_at), repeat(run.fields)),
    )


def _runs(requests: Sequence[Request], program: ProgramRules, stock: LockedStock, now: datetime) -> Iterable[Run]:
    begin = 0
    for lot in stock.take_lots(len(requests)):
        part = requests[begin : begin + len(lot.positions)]
        begin += len(lot.positions)
        yield Run(
            [request.id for request in part],
            [request.event.profile_id for request in part],
            program.id,
            lot.block_id,
            lot.positions,
            lot.texts,
            expiry_when_attached(program, now, lot.expires_at),
            lot.fields,
            now,
        )
