"""Looks up, attaches and redeems codes over HTTP, and repeats what may be repeated."""

import asyncio
import email.utils
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

from codewell_client.errors import InvalidRequest, Problem, ShopTimeout, problem_class
from codewell_client.uuid7 import uuid7

TIMEOUT_S: Final = 15.0
ATTEMPT_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 0.1
PAUSE_MAX_S: Final = 2.0
# The service is restarting or busy, a proxy lost it, or a copy of the call is in progress.
_TRANSIENT: Final = frozenset({429, 502, 503, 504})
_CONFLICT: Final = 409
_HEADER: Final = re.compile(r"[!-~]([ -~]*[!-~])?")


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """What Codewell knows about a code.

    `state`: pooled, attached, held, activated (used as often as it may be), expired or deleted, or a later one.
    """

    program: str
    code: str
    state: str
    profile_id: str | None
    """The profile that has the code, or had it last."""
    attached_at: datetime | None
    activated_at: datetime | None
    expires_at: datetime | None
    """None where the code lives for ever."""
    fields: Mapping[str, Any]
    given_by: str | None = None
    """From `attach`: the fallback of `program` that the code belongs to. Redeem the code as one of that."""
    fallback: int | None = None
    """Which fallback that is, from 1."""
    uses: int = 0
    """How often it was used, but for uses that were taken back."""
    held_until: datetime | None = None
    """When the last hold of an order ends."""


class Shop:
    """The HTTP API with one token, in the block that opens it.

    A call is repeated while the service is unreachable or busy, for `timeout_s` (s) in all. Every POST carries an
    idempotency key, a new one unless you give yours, so that a repeated call has one effect. Give the order's id with
    the step (`order-7:activate`) to repeat a call after a crash of your own process.

    Every method raises Problem or one of its classes, and ShopTimeout; ValueError for a URL, a token or a key that HTTP
    can't carry. `http` replaces the HTTP client, for proxies and certificates; it is not closed then.
    """

    def __init__(
        self, url: str, token: str, *, timeout_s: float = TIMEOUT_S, http: httpx.AsyncClient | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError("url must begin with http:// or https://.")
        self._api = f"{url.rstrip('/')}/api/v1"
        _check_header("The token", token)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._timeout_s = timeout_s
        self._owns_http = http is None
        self._http = httpx.AsyncClient(timeout=ATTEMPT_TIMEOUT_S) if http is None else http

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connections."""
        if self._owns_http:
            await self._http.aclose()

    async def look_up(self, program: str, code: str, *, context: str | None = None) -> CodeRecord:
        """The facts of a code. Needs a token with the scope `read` or `redeem`.

        `context` (1 to 200 characters): who typed the code, such as a customer's number or a till. Unknown codes are
        limited for each context by itself: RateLimited.
        """
        query = "" if context is None else f"?context={_part(context)}"
        return await self._call("GET", f"/programs/{_part(program)}/codes/{_part(code)}{query}")

    async def attach(
        self, program: str, profile_id: str, *, code: str | None = None, idempotency_key: str | None = None
    ) -> CodeRecord:
        """Attach the pool's next code, or this one, to a profile. Needs the scope `write`."""
        return await self._post(program, "attach", {"profile_id": profile_id, "code": code}, idempotency_key)

    async def activate(
        self, program: str, code: str, *, profile_id: str | None = None, order_id: str | None = None,
        context: str | None = None, idempotency_key: str | None = None,
    ) -> CodeRecord:  # fmt: skip
        """Redeem an attached code, for a profile and an order. Needs the scope `redeem`.

        The same order uses a code once: a repeated call changes nothing. `context` is as in `look_up`, and stored with
        the use. Raises Conflict for a code that was used as often as it may be, or that another order holds. A refusal
        is kept under the key too: to try again after the cause is gone, use a new key.
        """
        body = {"code": code, "profile_id": profile_id, "order_id": order_id, "context": context}
        return await self._post(program, "activate", body, idempotency_key)

    async def hold(
        self, program: str, code: str, order_id: str, *, profile_id: str | None = None, context: str | None = None,
        ttl: timedelta | None = None, idempotency_key: str | None = None,
    ) -> CodeRecord:  # fmt: skip
        """Keep a use of an attached code for an order while it is paid. Needs the scope `redeem`.

        `ttl`: how long, 30 minutes by default and at most a day. The same order renews its hold. Raises Conflict as
        `activate` does.
        """
        length = None if ttl is None else f"PT{ttl.total_seconds()}S"
        body = {"code": code, "order_id": order_id, "profile_id": profile_id, "context": context, "ttl": length}
        return await self._post(program, "hold", body, idempotency_key)

    async def release(
        self, program: str, code: str, order_id: str, *, idempotency_key: str | None = None
    ) -> CodeRecord:
        """End an order's hold of a code; one that has passed is no error. Needs the scope `redeem`."""
        return await self._post(program, "release", {"code": code, "order_id": order_id}, idempotency_key)

    async def deactivate(
        self, program: str, code: str, *, order_id: str | None = None, idempotency_key: str | None = None
    ) -> CodeRecord:
        """Take back the use of an order, such as of a cancelled one. Needs the scope `redeem`.

        Without `order_id`: the code's only use, or the last one that named no order.
        """
        return await self._post(program, "deactivate", {"code": code, "order_id": order_id}, idempotency_key)

    async def reissue(
        self, program: str, code: str, reason: str, *, expires: str = "same", context: str | None = None,
        idempotency_key: str | None = None,
    ) -> CodeRecord:  # fmt: skip
        """Delete a code, and attach the pool's next code to its profile; returns the new one. Needs `support`.

        `expires`: `same`, the old code's expiry, or `fresh`, that of a code that is attached now. `context` as in
        `look_up`.
        """
        body = {"code": code, "reason": reason, "expires": expires, "context": context}
        return await self._post(program, "reissue", body, idempotency_key)

    async def _post(self, program: str, step: str, body: Mapping[str, str | None], key: str | None) -> CodeRecord:
        path = f"/programs/{_part(program)}/codes:{step}"
        given = {name: value for name, value in body.items() if value is not None}
        return await self._call("POST", path, given, key if key is not None else str(uuid7()))

    async def _call(
        self, method: str, path: str, body: Mapping[str, str] | None = None, key: str | None = None
    ) -> CodeRecord:
        headers = self._headers
        if key is not None:
            _check_header("idempotency_key", key)
            headers = headers | {"Idempotency-Key": key}
        ends = time.monotonic() + self._timeout_s
        pause_s = PAUSE_S
        while True:
            failure: Problem | httpx.RequestError | TimeoutError
            try:
                # The limits of an HTTP client are for each wait: of a response that comes in drops, for each drop.
                async with asyncio.timeout(ends - time.monotonic()):
                    response = await self._http.request(method, self._api + path, json=body, headers=headers)
                if response.is_success:
                    return _record(response)
                failure = _problem(response)
                if not _may_repeat(failure):
                    raise failure
            except (httpx.RequestError, TimeoutError) as error:
                # It may be a response that a proxy has garbled.
                failure = error
            except httpx.InvalidURL as error:
                raise InvalidRequest(414, "This is too long for a program, a code or a context.") from error
            asked_s = failure.retry_after_s if isinstance(failure, Problem) else None
            wait_s = random.uniform(pause_s / 2, pause_s) if asked_s is None else asked_s  # noqa: S311
            if time.monotonic() + wait_s > ends:
                break
            await asyncio.sleep(wait_s)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        if isinstance(failure, Problem):
            raise failure
        sentence = f"No response from {self._api} within {self._timeout_s:g} s: {failure!r}."
        raise ShopTimeout(sentence, key) from failure


def _part(text: str) -> str:
    # Dots alone would lead to another path.
    return text.replace(".", "%2E") if text in {".", ".."} else quote(text, safe="")


def _check_header(name: str, text: str) -> None:
    if _HEADER.fullmatch(text) is None:
        raise ValueError(f"{name} must be printable ASCII without spaces around it, as HTTP carries it in a header.")


def _may_repeat(problem: Problem) -> bool:
    # A conflict with Retry-After is about a copy of this call that is in progress, any other about the code.
    return problem.status in _TRANSIENT or (problem.status == _CONFLICT and problem.retry_after_s is not None)


def _problem(response: httpx.Response) -> Problem:
    try:
        said = response.json()
    except ValueError:
        said = None
    if not isinstance(said, dict):
        # Not of Codewell: of a proxy in between.
        said = {"detail": response.text[:200] or response.reason_phrase}
    return problem_class(response.status_code)(
        response.status_code,
        str(said.get("detail", response.reason_phrase)),
        reason=said.get("reason"),
        type_=str(said.get("type", "about:blank")),
        request_id=response.headers.get("x-request-id"),
        retry_after_s=_retry_after_s(response.headers.get("retry-after")),
    )


def _retry_after_s(text: str | None) -> float | None:
    """Seconds, or the seconds until a date."""
    if text is None:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _record(response: httpx.Response) -> CodeRecord:
    try:
        return _record_of(response.json())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        # Not of Codewell: of a proxy in between, such as its page to sign in.
        sentence = f"This is no response of Codewell, and the call may have had its effect: {response.text[:200]}"
        raise Problem(response.status_code, sentence) from error


def _record_of(said: Mapping[str, Any]) -> CodeRecord:
    moments = {
        name: None if said.get(name) is None else datetime.fromisoformat(said[name])
        for name in ("attached_at", "activated_at", "expires_at", "held_until")
    }
    return CodeRecord(
        program=said["program"],
        code=said["code"],
        state=said["state"],
        profile_id=said["profile_id"],
        fields=said["fields"],
        given_by=said.get("from"),
        fallback=said.get("fallback"),
        uses=said.get("uses", 0),
        **moments,
    )
