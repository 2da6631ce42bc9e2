"""Which principal may do what with which topic and group: the least that each service and each neighbour needs."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, Literal, NamedTuple, TypeAlias

from codewell.infra.kafka.group_lag import DEAD_LETTERS, GROUPS
from schemas import topics

Principal: TypeAlias = Literal[
    "codewell-issuer", "codewell-generator", "codewell-console", "codewell-lifecycle", "codewell-operator",
    "campaign-sender", "scenario-engine", "profile-store", "delivery-reporter", "shop", "alert-reader",
]  # fmt: skip
Operation: TypeAlias = Literal["Read", "Write", "Create", "Delete", "Describe"]
Resource: TypeAlias = Literal["topic", "group"]


class Acl(NamedTuple):
    """One permission. Reading and writing include describing."""

    principal: Principal
    operation: Operation
    resource: Resource
    name: str
    is_prefix: bool = False
    """Whether the name stands for all that begin with it."""


_MESSAGES, _STEPS = topics.REQUESTS
_REPLIES: Final = tuple(map(topics.reply_to, topics.REQUESTS))
_RETRIES: Final = tuple(map(topics.retry_of, topics.ANSWERED))
_REPORT_REPLIES: Final = tuple(map(topics.reply_to, topics.ANSWERED_REPORTS))
_WAKE_UPS: Final = (topics.POOL_DEMAND, topics.PROGRAM_CHANGED)
_ISSUER_GROUPS: Final = tuple(name for name in GROUPS if name.startswith("codewell-issuer"))
# By principal: what it reads, what it writes, and the groups it joins; names without the deployment's prefix.
_RIGHTS: Final[dict[Principal, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    "codewell-issuer": (
        (*topics.DECIDED, *_RETRIES),
        (*_REPLIES, *_REPORT_REPLIES, *_RETRIES, *DEAD_LETTERS, topics.POOL_DEMAND),
        _ISSUER_GROUPS,
    ),
    "codewell-generator": (
        (*_WAKE_UPS, topics.PROFILE_CHANGED),
        (topics.RESERVATIONS, topics.ALERTS),
        ("codewell-generator", "codewell-profiles"),
    ),
    "codewell-console": ((*topics.DECIDED, *DEAD_LETTERS), (*topics.DECIDED, *_WAKE_UPS), ()),
    # It looks at the end of what it wrote.
    "codewell-lifecycle": ((topics.CODE_LIFECYCLE,), (topics.CODE_LIFECYCLE,), ()),
    "codewell-operator": (
        (*topics.DECIDED, *_REPLIES, *_REPORT_REPLIES, *DEAD_LETTERS),
        (*topics.DECIDED, *_WAKE_UPS),
        (),
    ),
    "campaign-sender": ((topics.reply_to(_MESSAGES), topics.RESERVATIONS), (_MESSAGES,), ()),
    "scenario-engine": ((topics.reply_to(_STEPS), topics.RESERVATIONS), (_STEPS,), ()),
    "delivery-reporter": ((topics.reply_to(topics.DELIVERY),), (topics.DELIVERY,), ()),
    "shop": ((), (topics.ORDERS,), ()),
    "profile-store": ((), (topics.PROFILE_CHANGED,), ()),
    "alert-reader": ((topics.ALERTS,), (), ()),
}
# By HTTP and by command they read the lag (offsets, and no record), and replay and purge dead letters.
_OPERATORS: Final[tuple[Principal, ...]] = ("codewell-console", "codewell-operator")
_SENDERS: Final[tuple[Principal, ...]] = ("campaign-sender", "scenario-engine", "delivery-reporter")
# They read in groups of their own, whose names begin with theirs.
_READERS: Final[tuple[Principal, ...]] = (*_SENDERS, "alert-reader")


def topics_of(principal: Principal, prefix: str) -> list[str]:
    """The full names of our own topics that this principal reads or writes."""
    reads, writes, _ = _RIGHTS[principal]
    return [prefix + name for name in dict.fromkeys((*reads, *writes))]


def acls(prefix: str, reply_topics: Sequence[str] = ()) -> list[Acl]:
    """All permissions of a deployment. `reply_topics` are the full names that requests may name."""
    return [acl for principal in _RIGHTS for acl in _acls_of(principal, prefix, reply_topics)]


def _acls_of(principal: Principal, prefix: str, reply_topics: Sequence[str]) -> Iterator[Acl]:
    reads, writes, groups = _RIGHTS[principal]
    named = tuple(topic for topic in reply_topics if topic not in {prefix + reply for reply in _REPLIES})
    read = [*(prefix + name for name in reads), *(named if principal in {"codewell-operator", *_SENDERS} else ())]
    written = [*(prefix + name for name in writes), *(named if principal == "codewell-issuer" else ())]
    yield from (Acl(principal, "Read", "topic", name) for name in read)
    yield from (Acl(principal, "Write", "topic", name) for name in written)
    yield from (Acl(principal, "Read", "group", prefix + name) for name in groups)
    if principal in _OPERATORS:
        watched = [prefix + name for names in GROUPS.values() for name in names] + [prefix + n for n in DEAD_LETTERS]
        yield from (Acl(principal, "Describe", "topic", name) for name in watched if name not in {*read, *written})
        yield from (Acl(principal, "Describe", "group", prefix + name) for name in GROUPS)
        yield from (Acl(principal, "Delete", "topic", prefix + name) for name in DEAD_LETTERS)
    if principal in _READERS:
        yield Acl(principal, "Read", "group", principal, is_prefix=True)
    if principal == "codewell-operator":
        made = [*(prefix + topic.name for topic in topics.TOPICS), *named]
        yield from (Acl(principal, "Create", "topic", name) for name in made)


def commands(bootstrap: str, wanted: Sequence[Acl]) -> list[str]:
    """Commands of Kafka's own tool that add these permissions, one for each principal, operation and kind."""
    lines = []
    for (principal, operation, resource, is_prefix), group in groupby(
        wanted, lambda acl: (acl.principal, acl.operation, acl.resource, acl.is_prefix)
    ):
        names = [word for acl in group for word in (f"--{resource}", acl.name)]
        pattern = ["--resource-pattern-type", "prefixed"] if is_prefix else []
        words = ["kafka-acls.sh", "--bootstrap-server", bootstrap, "--command-config", "admin.properties", "--add"]
        lines.append(
            shlex.join([*words, "--allow-principal", f"User:{principal}", "--operation", operation, *pattern, *names])
        )
    return lines
