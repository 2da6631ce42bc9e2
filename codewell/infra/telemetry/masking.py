"""Masks errors in the log: keeps their class and traceback, removes the data that they quote.

Postgres quotes duplicate keys and refused rows in DETAIL, pydantic quotes the invalid input, Python quotes missing keys
and invalid texts. These quotes can contain codes and profile ids.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Final

from structlog.typing import EventDict

from codewell.errors import StackUnavailable

# Errors whose messages name only hosts, files and brokers.
_SAFE_ERRORS: Final = (OSError, StackUnavailable)
_SAFE_MODULES: Final = ("aiokafka.errors",)
# A second line of defence for texts that other code made from an error, such as asyncio's report of a failed task:
# removes the data up to the end of the line or value.
_DATA_PATTERN: Final = re.compile(
    r"(?P<pydantic>input_value=).*?(?=, input_type=|\n|$)"
    r"|(?P<task>\b(?:exception|result)=).*?(?=\n|$)"
    r"|(?P<detail>\b(?:DETAIL|CONTEXT|Failing row contains|Key \()).*?(?=\n|$)"
)
# A text without any of them does not match: to see that takes a tenth of the time of the pattern.
_MARKS: Final = ("input_value=", "exception=", "result=", "DETAIL", "CONTEXT", "Failing row contains", "Key (")
_MASKED: Final = "***"


def redacted(error: BaseException) -> str:
    """Describe an error without its data: its class, and for Postgres errors also SQLSTATE and constraint."""
    kind = type(error)
    facts = [str(fact) for name in ("sqlstate", "constraint_name") if (fact := getattr(error, name, None))]
    if facts:
        return f"{kind.__name__} ({', '.join(facts)})"
    if isinstance(error, _SAFE_ERRORS) or kind.__module__ in _SAFE_MODULES:
        return masked(f"{kind.__name__}: {error}")
    return kind.__name__


def masked(text: str) -> str:
    """Return the text without the parts in which errors quote data."""
    if not any(map(text.__contains__, _MARKS)):
        return text
    return _DATA_PATTERN.sub(lambda found: f"{found['pydantic'] or found['task'] or ''}{_MASKED}", text)


def mask(_: object, __: str, event: EventDict) -> EventDict:
    """A structlog processor: replaces errors with their `redacted` text and formats tracebacks the same way."""
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
    """A logging filter that passes every record, with errors among the message's arguments redacted."""
    if isinstance(record.args, tuple):
        record.args = tuple(redacted(one) if isinstance(one, BaseException) else one for one in record.args)
    return True


def _error_of(given: object) -> BaseException | None:
    """Return the error of an `exc_info`, in any of the forms that logging accepts."""
    if isinstance(given, tuple):
        given = given[1]
    elif given and not isinstance(given, BaseException):
        given = sys.exc_info()[1]
    return given if isinstance(given, BaseException) else None


def _traceback_lines(error: BaseException) -> Iterator[str]:
    """Format the traceback as Python does, causes first, with each error redacted."""
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
