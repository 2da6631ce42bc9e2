"""Plain requests of a batch, decided as columns: most requests, in a third of the time of one by one. Pure.

A plain request is a message, a step or a person's; it is no preview, has no deadline, has not waited and tries no
fallback. Where its programs give each request a code of its own, or its profile has none that is given again, and the
claim has enough of them, all that is left to decide is which code goes to whom. Where a program is closed, all that
name the same ones are refused alike.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, chain, compress, repeat
from operator import attrgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from codewell.issuing.answer_runs import AnyRun, GivingBlock, MixedRun, RefusedRun
from codewell.issuing.assignment_keys import assignment_key, assignment_keys
from codewell.issuing.model import AgainRun, AssignmentKey, LockedStock, PooledCode, Request, Run, all_live, as_code
from codewell.issuing.plain_groups import grouped
from codewell.issuing.refusal_texts import Against, refusals_text
from codewell.issuing.reply import around
from codewell.pool.expiry import expiry_when_attached
from codewell.pool.program_rules import ProgramRules, Source, closed_reason
from codewell.usage.usage_key import UsageKey

# Fewer requests of a program share a run with those of other programs: a run of its own costs as much as some of them.
RUN_MIN: Final = 32
_new: Final = tuple.__new__


_KEYS: Final = attrgetter("keys")
_SCOPE: Final = attrgetter("scope")


class Runs(NamedTuple):
    """What plain requests got, and the places of all other requests."""

    runs: list[AnyRun]
    assignments: dict[AssignmentKey, PooledCode]
    """Of programs that reuse codes, without those of runs. Another request of the profile gets the same code."""
    others: list[int]
    usage: Counter[UsageKey]


class _PlainGroup(NamedTuple):
    """Plain requests of the same programs and source that get the next codes; without reuse, without keys."""

    names: tuple[str, ...]
    programs: tuple[ProgramRules, ...]
    source: Source
    indexes: list[int]
    keys: list[AssignmentKey]


def take_runs(
    requests: Sequence[Request],
    programs: Mapping[str, ProgramRules],
    stocks: Mapping[int, LockedStock],
    assigned: Mapping[AssignmentKey, PooledCode],
    now: datetime,
    keys_by_names: Mapping[tuple[str, ...], Sequence[AssignmentKey]] = MappingProxyType({}),
) -> Runs:
    """Take the codes of plain requests from `stocks`, and those that their profiles have from `assigned`.

    Of a program that lacks a code for any of its requests nothing is taken: which of them gets none is decided one by
    one.
    """
    plain, others = grouped(requests)
    found = Runs([], {}, others, Counter())
    groups = _open_groups(found, requests, plain, programs, assigned, keys_by_names, now)
    wanted = dict(Counter(name for index in others for name in requests[index].names))
    for names, _, _, indexes, _ in groups:
        for name in names:
            wanted[name] = wanted.get(name, 0) + len(indexes)
    lacking = {name for name, count in wanted.items() if name in programs and stocks[programs[name].id].left < count}
    if lacking:
        others.extend(chain.from_iterable(group.indexes for group in groups if not lacking.isdisjoint(group.names)))
        groups = [group for group in groups if lacking.isdisjoint(group.names)]
    # Nothing else looks up what these profiles get, and one statement stores it in the order of the profiles.
    alone = not others and sum(map(bool, map(_KEYS, groups))) == 1
    few: list[_PlainGroup] = []
    usage = found.usage
    for group in groups:
        names, own, source, indexes, keys = group
        for program in own:
            usage_key = _new(UsageKey, (program.id, source, "attached"))
            usage[usage_key] = usage.get(usage_key, 0) + len(indexes)
        if keys or (len(indexes) >= RUN_MIN and len(names) == 1):
            _give(found, requests, group, stocks, now, alone=alone)
        elif indexes:
            few.append(group)
    if few:
        found.runs.append(_mixed(requests, few, stocks, now))
    others.sort()
    return found


def _open_groups(
    found: Runs,
    requests: Sequence[Request],
    plain: Mapping[tuple[tuple[str, ...], Source], list[int]],
    programs: Mapping[str, ProgramRules],
    assigned: Mapping[AssignmentKey, PooledCode],
    keys_by_names: Mapping[tuple[str, ...], Sequence[AssignmentKey]],
    now: datetime,
) -> list[_PlainGroup]:
    """The requests that get the next codes. Refuses those to closed programs, and gives again what profiles have."""
    groups: list[_PlainGroup] = []
    reusing: list[_PlainGroup] = []
    reasons = {name: closed_reason(program, now) for name, program in programs.items()}
    # Of most programs each request gets a code of its own.
    usual = {name for name, program in programs.items() if reasons[name] is None and not program.reuses_codes}
    for (names, source), indexes in plain.items():
        if usual.issuperset(names):
            groups.append(_new(_PlainGroup, (names, tuple(map(programs.__getitem__, names)), source, indexes, [])))
            continue
        against = [Against(name, reason) for name in names if (reason := reasons.get(name, "program_unknown"))]
        if against:
            _refuse(found, [requests[index] for index in indexes], against, source, programs, now)
            continue
        if len(names) > 1 or programs[names[0]].shared:
            found.others.extend(indexes)
        else:
            program = programs[names[0]]
            keys = list(keys_by_names.get(names, ()))
            # Requests of these names may be of another source, or not plain.
            if len(keys) != len(indexes):
                keys = assignment_keys(program, [requests[index].event for index in indexes])
            reusing.append(_PlainGroup(names, (program,), source, indexes, keys))
    if reusing:
        groups += _without_code(found, requests, reusing, programs, assigned, now)
    return groups


def _refuse(
    found: Runs, requests: Sequence[Request], against: Sequence[Against], source: Source,
    programs: Mapping[str, ProgramRules], now: datetime,
) -> None:  # fmt: skip
    profile_ids = [request.event.profile_id for request in requests]
    ids = [request.id for request in requests]
    found.runs.append(RefusedRun(ids, profile_ids, refusals_text(against, source), now))
    for name, reason, _, _ in against:
        if name in programs:
            found.usage[UsageKey(programs[name].id, source, reason)] += len(requests)


def _give(
    found: Runs, requests: Sequence[Request], group: _PlainGroup, stocks: Mapping[int, LockedStock], now: datetime,
    *, alone: bool,
) -> None:  # fmt: skip
    """Give the next codes of one program in runs of its own. `alone`: no other request of the batch gets a new one."""
    [program] = group.programs
    given = list(_runs([requests[index] for index in group.indexes], program, stocks[program.id], now))
    scopes = set(map(_SCOPE, group.keys))
    if alone and len(scopes) == 1 and all(map(_is_range, given)):
        [scope] = scopes
        found.runs.extend(run._replace(scope=scope) for run in given)
        return
    found.runs.extend(given)
    if group.keys:
        found.assignments.update(zip(group.keys, chain.from_iterable(map(_codes, given)), strict=True))


def _mixed(
    requests: Sequence[Request], groups: Sequence[_PlainGroup], stocks: Mapping[int, LockedStock], now: datetime
) -> MixedRun:
    programs: dict[str, ProgramRules] = {}
    wanted: dict[str, int] = {}
    for names, own, _, indexes, _ in groups:
        for name, program in zip(names, own, strict=True):
            programs[name] = program
            wanted[name] = wanted.get(name, 0) + len(indexes)
    blocks: list[GivingBlock] = []
    codes = {
        name: _next_codes(blocks, program, stocks[program.id], wanted[name], now) for name, program in programs.items()
    }
    chosen = [requests[index] for index in sorted(chain.from_iterable(group.indexes for group in groups))]
    all_names = [request.names for request in chosen]
    return MixedRun(
        [request.id for request in chosen],
        [request.event.profile_id for request in chosen],
        list(accumulate(map(len, all_names))),
        list(map(next, map(codes.__getitem__, chain.from_iterable(all_names)))),
        blocks,
        now,
    )


def _next_codes(
    blocks: list[GivingBlock], program: ProgramRules, stock: LockedStock, count: int, now: datetime
) -> Iterator[tuple[int, int, str]]:
    """Take `count` codes, of blocks that are added to `blocks`."""
    codes = []
    for block_id, positions, texts, ends, fields in stock.take_lots(count):
        codes.append(zip(repeat(len(blocks)), positions, texts))
        expires_at = expiry_when_attached(program, now, ends)
        if blocks and blocks[-1].expires_at == expires_at:
            # The hash of a time is costly, and kept in the object.
            expires_at = blocks[-1].expires_at
        shared = (program.id, block_id, expires_at, fields, *around(program.name, expires_at, fields))
        blocks.append(_new(GivingBlock, shared))
    return codes[0] if len(codes) == 1 else chain.from_iterable(codes)


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
    if not first and len(left) == 1 and len(set(left[0].keys)) == len(left[0].keys):
        return left
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
    """Give profiles that have a code that one again, and return those that never had one."""
    _, [program], source, indexes, keys = group
    if not assigned:
        return group
    codes = list(map(assigned.get, keys))
    live = all_live(filter(None, codes), now)
    lives = [code is not None and (live or code.lives_at(now)) for code in codes]
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


def _is_range(run: Run) -> bool:
    return run.positions[-1] - run.positions[0] == len(run.positions) - 1


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
            [request.id for request in part], [request.event.profile_id for request in part], program.id,
            lot.block_id, lot.positions, lot.texts, expiry_when_attached(program, now, lot.expires_at), lot.fields, now,
        )  # fmt: skip
