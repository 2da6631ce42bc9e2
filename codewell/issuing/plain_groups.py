"""Which requests of a batch are plain, by what decides them. Pure."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from codewell.issuing.model import ManualRequest, Request
from codewell.pool.program_rules import Source
from schemas.plain_events import PlainRender, PlainStep

_SOURCES: Final[dict[type, Source]] = {
    PlainRender: Source.CAMPAIGN, PlainStep: Source.SCENARIO, ManualRequest: Source.PERSON
}  # fmt: skip


class PlainGroups(NamedTuple):
    """The requests of a batch by what decides them."""

    plain: dict[tuple[tuple[str, ...], Source], list[int]]
    """(short names, source) -> the places of its plain requests."""
    others: list[int]
    """The places of all other requests."""


def grouped(requests: Sequence[Request]) -> PlainGroups:
    """Which requests are plain."""
    plain: dict[tuple[tuple[str, ...], Source], list[int]] = {}
    others: list[int] = []
    by_kind: dict[tuple[type, tuple[str, ...]], list[int]] = {}
    for index, (_, event, names, wait, links) in enumerate(requests):
        kind = event.__class__
        if kind not in _SOURCES or event.preview or wait is not None or links is not None:
            others.append(index)
            continue
        group = by_kind.get((kind, names))
        if group is None:
            group = by_kind[kind, names] = plain[names, _SOURCES[kind]] = []
        group.append(index)
    return PlainGroups(plain, others)
