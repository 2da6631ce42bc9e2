"""Cancels work at a chosen await, once what it awaited has happened: the latest moment at which it can be cancelled."""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, Final


class CancelledAt:
    """Awaits a coroutine and cancels it at its n-th await, from 0. Returns whether it ended before."""

    def __init__(self, work: Coroutine[Any, Any, object], number: int) -> None:
        self._work: Final = work
        self._number: Final = number

    def __await__(self) -> Generator[Any, None, bool]:
        number, raised = 0, None
        while True:
            try:
                awaited = self._work.send(None) if raised is None else self._work.throw(raised)
            except StopIteration:
                return number <= self._number
            except asyncio.CancelledError:
                return False
            raised = None
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001  raised where the work awaits
                raised = error
            if number == self._number:
                raised = asyncio.CancelledError()
            number += 1
