"""Sends test requests to remote services: so many a minute for a token, and so many at once in a console."""

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

from codewell.remote.client import Client
from codewell.remote.settings import Network
from codewell.remote.trial import RemoteTarget, send_test
from schemas.remote_tests import RemoteTestOfProgram, RemoteTestResult
from services.console.http.problems import try_later

TESTS_PER_MINUTE: Final = 10
TESTS_AT_ONCE: Final = 4
_MINUTE_S: Final = 60.0
_RETRY_AFTER_S: Final = 5


class RemoteTests:
    """The test requests of one console."""

    def __init__(self, timeout_s: float, allowed: Sequence[Network]) -> None:
        self._timeout_s = timeout_s
        self._allowed = allowed
        self._sent_at: dict[int, deque[float]] = {}
        self._running = 0

    @contextmanager
    def slot(self, token_id: int) -> Iterator[None]:
        """Hold a slot. Raises HttpProblem: 429 when the token has sent too many, 503 when the console runs too many."""
        now = time.monotonic()
        self._forget(now)
        sent = self._sent_at.get(token_id, deque())
        if len(sent) >= TESTS_PER_MINUTE:
            wait_s = math.ceil(sent[0] + _MINUTE_S - now)
            sentence = f"This token may send {TESTS_PER_MINUTE} test requests a minute: try again in {wait_s} s."
            raise try_later("tests_exhausted", sentence, max(1, wait_s))
        if self._running >= TESTS_AT_ONCE:
            raise try_later("unavailable", "Too many test requests run on this console: try again.", _RETRY_AFTER_S)
        self._sent_at.setdefault(token_id, sent).append(now)
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1

    async def send(self, target: RemoteTarget, wanted: RemoteTestOfProgram) -> RemoteTestResult:
        """Send one test request; hold a slot. Raises nothing."""
        async with aclosing(Client(self._timeout_s, self._allowed)) as client:
            return await send_test(client, target, wanted.count, wanted.fields)

    def _forget(self, now: float) -> None:
        """Forget what was sent more than a minute ago."""
        for token_id, sent in [*self._sent_at.items()]:
            while sent and now - sent[0] >= _MINUTE_S:
                sent.popleft()
            if not sent:
                del self._sent_at[token_id]
