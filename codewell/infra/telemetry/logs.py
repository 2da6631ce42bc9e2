"""Structured logs on standard error: one JSON object a line, or columns on a terminal.

No line contains a code or a profile id: `masking` removes the data that error messages quote.
"""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Final

import structlog

from codewell.infra.telemetry.masking import mask, mask_arguments

log = structlog.get_logger()

# While a broker is unavailable, its clients log seventy messages a second.
_LIMITED_LOGGERS: Final = "aiokafka"
_REPEAT_INTERVAL_S: Final = 10.0
# Routine at each start and stop of another worker, which aiokafka logs as a warning.
_REBALANCE: Final = "because it is rebalancing"


def configure(service: str, level: str) -> None:
    """Configure logging of this process, with the libraries' warnings and uncaught exceptions in the same format."""

    def add_service(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"service": service, **event}

    shared: list[structlog.typing.Processor] = [
        add_service,
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        mask,
    ]
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(mask_arguments)
    handler.addFilter(_RepeatLimiter())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
        )
    )
    # Libraries log from WARNING up: their routine messages are not for operators, and some describe single records.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: log.error("unraisable", exc_info=args.exc_value)


class _RepeatLimiter(logging.Filter):
    """Limits repeats of a Kafka client's message, and logs the number of suppressed ones with the next.

    What it says of each rebalance is left out: workers log what they are assigned.
    """

    def __init__(self) -> None:
        super().__init__()
        self._due: dict[str, float] = {}
        self._suppressed_counts: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record. Repeats are recognized by the unformatted message."""
        if not record.name.startswith(_LIMITED_LOGGERS):
            return True
        text, now = str(record.msg), time.monotonic()
        if _REBALANCE in text:
            return False
        if now < self._due.get(text, now):
            self._suppressed_counts[text] = self._suppressed_counts.get(text, 0) + 1
            return False
        self._due[text] = now + _REPEAT_INTERVAL_S
        if left_out := self._suppressed_counts.pop(text, 0):
            record.msg = f"{text} ({left_out} more since it was last said)"
        return True


def _log_uncaught(kind: type[BaseException], error: BaseException | None, traceback: TracebackType | None) -> None:
    """Log an uncaught exception; Python's own hook would write its full text, data included."""
    if issubclass(kind, KeyboardInterrupt):
        return
    error = error or kind()
    log.critical("died", exc_info=error.with_traceback(traceback))
