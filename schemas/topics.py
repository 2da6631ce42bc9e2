"""Every topic: its name, what its key is, which events it carries, how many partitions it has."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from schemas import events, lifecycle

REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024
DEAD_LETTER_BYTES_MAX: Final = 3 * 1024 * 1024
REPLY_PARTITIONS: Final = 24
PARTITIONS_ON_ONE_MACHINE: Final = 6
"""Enough where all workers are on one machine: a broker syncs files of each partition to the disk at each start."""
REPLICAS: Final = 3
IN_SYNC_MIN: Final = 2
"""Replicas that must have a record before it is acknowledged, where a topic has `REPLICAS`: one broker may be lost."""


class Topic(NamedTuple):
    """A topic as the contract names it; a deployment may put one prefix before all names."""

    name: str
    key: str
    types: tuple[str, ...]
    partitions: int
    config: tuple[tuple[str, str], ...] = ()


_ANSWERS: Final = (events.CODES_ATTACHED, events.CODES_REFUSED)
# The broker limits the uncompressed size of a request: a larger record could be read, but neither answered nor stored
# as a dead letter, and would block its partition for ever.
_REQUESTS: Final = (("max.message.bytes", str(REQUEST_BYTES_MAX)), ("compression.type", "uncompressed"))
# Records derived from a request: the original with some headers of ours, or a smaller answer.
_COMPACTED: Final = (("cleanup.policy", "compact"),)
# Readers build tables from the beginning. A deployment may keep less: an epoch's snapshot is a beginning too.
_KEPT: Final = (("retention.ms", "-1"),)
_LIFECYCLE: Final = (*lifecycle.DATA_OF_TYPE, events.PROGRAM_CHANGED)
_FROM_REQUESTS: Final = (("max.message.bytes", str(DEAD_LETTER_BYTES_MAX)),)

REQUEST_TYPE: Final = {"message-render": events.MESSAGE_RENDER, "scenario-step": events.SCENARIO_STEP}
REQUESTS: Final = tuple(REQUEST_TYPE)
# Events that say what happened elsewhere. Those that are answered take the same ways as a request.
DELIVERY: Final = "delivery"
ORDERS: Final = "orders"
REPORT_TYPES: Final = {DELIVERY: (events.SEND_FAILED, events.SEND_DELIVERED), ORDERS: (events.ORDER_CHANGED,)}
REPORT_ANSWER: Final = {DELIVERY: events.CODES_RETURNED}
REPORTS: Final = tuple(REPORT_TYPES)
ANSWERED_REPORTS: Final = tuple(REPORT_ANSWER)
DECIDED: Final = (*REQUESTS, *REPORTS)
"""Topics whose events issuers decide. Each has a topic for dead letters."""
ANSWERED: Final = (*REQUESTS, *ANSWERED_REPORTS)
"""Those whose events are answered, or have to wait. Each has a topic for replies and one for retries as well."""
POOL_DEMAND: Final = "pool-demand"
PROGRAM_CHANGED: Final = "program-changed"
PROFILE_CHANGED: Final = "profile-changed"
RESERVATIONS: Final = "reservations"
ALERTS: Final = "alerts"
CODE_LIFECYCLE: Final = "code-lifecycle"


def partitions_of(topic: Topic, most: int | None) -> int:
    """How many partitions it gets where no topic needs more than `most`; that of the stream has its number for ever."""
    return topic.partitions if most is None or topic.name == CODE_LIFECYCLE else min(topic.partitions, most)


def reply_to(request_topic: str) -> str:
    """Where answers go unless the request names another topic."""
    return f"{request_topic}.reply"


def retry_of(request_topic: str) -> str:
    """Where requests wait that can't be decided yet."""
    return f"{request_topic}.retry"


def dead_letters_of(request_topic: str) -> str:
    """Where events go that can't be read."""
    return f"{request_topic}.dlq"


_KEYS: Final = {DELIVERY: "profile id", ORDERS: "order id"}
TOPICS: Final = (
    *(Topic(name, "profile id", (REQUEST_TYPE[name],), 24, _REQUESTS) for name in REQUESTS),
    *(Topic(reply_to(name), "profile id", _ANSWERS, REPLY_PARTITIONS, _FROM_REQUESTS) for name in REQUESTS),
    *(Topic(retry_of(name), "profile id", (REQUEST_TYPE[name],), 24, _FROM_REQUESTS) for name in REQUESTS),
    *(Topic(name, _KEYS[name], REPORT_TYPES[name], 24, _REQUESTS) for name in REPORTS),
    *(
        Topic(reply_to(name), "profile id", (REPORT_ANSWER[name],), REPLY_PARTITIONS, _FROM_REQUESTS)
        for name in ANSWERED_REPORTS
    ),
    *(Topic(retry_of(name), "profile id", REPORT_TYPES[name], 24, _FROM_REQUESTS) for name in ANSWERED_REPORTS),
    *(Topic(dead_letters_of(name), "as it came", (), 6, _FROM_REQUESTS) for name in DECIDED),
    Topic(POOL_DEMAND, "program id", (events.POOL_DEMAND,), 6),
    Topic(PROGRAM_CHANGED, "program id", (events.PROGRAM_CHANGED,), 6, _COMPACTED),
    Topic(PROFILE_CHANGED, "profile id", (events.PROFILE_CHANGED,), 6, _COMPACTED),
    Topic(RESERVATIONS, "program id", (events.RESERVATION_CHANGED,), 6),
    Topic(ALERTS, "program id", (events.ALERT_RAISED, events.ALERT_CLEARED), 6),
    Topic(CODE_LIFECYCLE, "code's place", _LIFECYCLE, lifecycle.PARTITIONS, _KEPT),
)


def wanted_topics(prefix: str, reply_topics: Iterable[str]) -> dict[str, Topic]:
    """Our topics, and those that senders name for their answers, by full name.

    Those of senders have as many partitions as our own, as an answer goes to its request's partition.
    """
    named = {name: Topic(name, "profile id", (), REPLY_PARTITIONS) for name in reply_topics}
    return named | {prefix + topic.name: topic for topic in TOPICS}
