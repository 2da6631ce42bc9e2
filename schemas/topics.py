"""Every topic: its name, what its key is, which events it carries, how many partitions it has."""

from typing import Final, NamedTuple

from schemas import events

REQUEST_BYTES_MAX: Final = 2 * 1024 * 1024
DEAD_LETTER_BYTES_MAX: Final = 3 * 1024 * 1024


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
_FROM_REQUESTS: Final = (("max.message.bytes", str(DEAD_LETTER_BYTES_MAX)),)

REQUEST_TYPE: Final = {"message-render": events.MESSAGE_RENDER, "scenario-step": events.SCENARIO_STEP}
REQUESTS: Final = tuple(REQUEST_TYPE)
POOL_DEMAND: Final = "pool-demand"
PROGRAM_CHANGED: Final = "program-changed"
PROFILE_CHANGED: Final = "profile-changed"


def reply_to(request_topic: str) -> str:
    """Where answers go unless the request names another topic."""
    return f"{request_topic}.reply"


def retry_of(request_topic: str) -> str:
    """Where requests wait that can't be decided yet."""
    return f"{request_topic}.retry"


def dead_letters_of(request_topic: str) -> str:
    """Where events go that can't be read."""
    return f"{request_topic}.dlq"


TOPICS: Final = (
    *(Topic(name, "profile id", (REQUEST_TYPE[name],), 24, _REQUESTS) for name in REQUESTS),
    *(Topic(reply_to(name), "profile id", _ANSWERS, 24, _FROM_REQUESTS) for name in REQUESTS),
    *(Topic(retry_of(name), "profile id", (REQUEST_TYPE[name],), 24, _FROM_REQUESTS) for name in REQUESTS),
    *(Topic(dead_letters_of(name), "as it came", (), 6, _FROM_REQUESTS) for name in REQUESTS),
    Topic(POOL_DEMAND, "program id", (events.POOL_DEMAND,), 6),
    Topic(PROGRAM_CHANGED, "program id", (events.PROGRAM_CHANGED,), 6, _COMPACTED),
    Topic(PROFILE_CHANGED, "profile id", (events.PROFILE_CHANGED,), 6, _COMPACTED),
)
