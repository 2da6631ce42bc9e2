"""Masks errors for the log: their class and traceback stay, the data that they quote is removed.

Postgres tells in DETAIL which key was there already or how the row looked that it refused, pydantic what came instead
of what it wanted, Python which key or text it could not use. Codes and profile ids are among all of these.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Final

from structlog.typing import EventDict

from codewell.errors import StackUnavailable

# What their errors say is of hosts, files and brokers.
_SAFE_ERRORS: Final = (OSError, StackUnavailable)
_SAFE_MODULES: Final = ("aiokafka.errors",)
# The second net, for texts that somebody else has made of an error, asyncio of a task's among them: to the end of the
# line, or of the value.
_DATA_PATTERN: Final = re.compile(
    r"(?P<pydantic>input_value=).*?(?=, input_type=|\n|$)"
    r"|(?P<task>\b(?:exception|result)=).*?(?=\n|$)"
    r"|(?P<detail>\b(?:DETAIL|CONTEXT|Failing row contains|Key \()).*?(?=\n|$)"
)
_MASKED: Final = "***"


def redacted(error: BaseException) -> str:
    """An error without what it says of data: its kind, and of Postgres' errors their number and constraint."""
    kind = type(error)
    facts = [str(fact) for name in ("sqlstate", "constraint_name") if (fact := getattr(error, name, None))]
    if facts:
        return f"{kind.__name__} ({', '.join(facts)})"
    if isinstance(error, _SAFE_ERRORS) or kind.__module__ in _SAFE_MODULES:
        return masked(f"{kind.__name__}: {error}")
    return kind.__name__


def masked(text: str) -> str:
    """The text without the parts in which errors repeat data."""
    return _DATA_PATTERN.sub(lambda found: f"{found['pydantic'] or found['task'] or ''}{_MASKED}", text)


def mask(_: object, __: str, event: EventDict) -> EventDict:
    """A step of structlog's: errors become what `redacted` says of them, and their tracebacks text."""
    given = event.pop("exc_info", None)
    error = _error_of(given)
    if error is not None:
        event["exception"] = "".join(_traceback_lines(error))
    for name, value in event.items():
        if isinstance(value, BaseException):
            event[name] = redacted(value)
        elif isinstance(value, str):
            event[name] = masked(value)
    return event


def mask_arguments(record: logging.LogRecord) -> bool:
    """A filter of logging's that lets all through, with errors among a message's arguments described."""
    if isinstance(record.args, tuple):
        record.args = tuple(redacted(one) if isinstance(one, BaseException) else one for one in record.args)
    return True


def _error_of(given: object) -> BaseException | None:
    """The error of an `exc_info`, in any of the ways in which it may be given."""
    if isinstance(given, tuple):
        given = given[1]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None


def _traceback_lines(error: BaseException) -> Iterator[str]:
    """The traceback as Python has it, causes first, each error described."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        yield from _traceback_lines(cause)
        yield "\nwhich led to:\n\n"
    yield from traceback.format_tb(error.__traceback__)
    yield redacted(error)
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield "\n\none of them:\n\n"
            yield from _traceback_lines(one)
