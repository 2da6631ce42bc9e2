"""One exchange with a remote service: a signed POST to an allowed address, and an answer within limits."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from typing import Final, NamedTuple

import httpcore
import httpx

from codewell.errors import RemoteFailed
from codewell.remote.addresses import AllowedAddresses
from codewell.remote.answer_check import check_answer
from codewell.remote.settings import Network
from codewell.remote.signing import signature_headers
from schemas.remote import RemoteCode, RemoteRequest

ANSWER_BYTES_MAX: Final = 10_000_000
CONNECT_TIMEOUT_S: Final = 3.0
# Idle connections kept for the next exchange, and for how long (s). Services that close them sooner would cause writes
# to closed connections; few do.
KEEPALIVE_CONNECTIONS_MAX: Final = 64
KEEPALIVE_S: Final = 1.0
# httpcore imports it several times an exchange; a search for a package that is not there costs 0.2 ms each time.
_LIBRARY_GUESSER: Final = "sniffio"
if find_spec(_LIBRARY_GUESSER) is None:
    # Says at once that there is none.
    sys.modules[_LIBRARY_GUESSER] = None  # type: ignore[assignment]
_JSON: Final = "application/json"
_OK: Final = 200
REDIRECTS: Final = (301, 302, 303, 307, 308)
# Network failures, and invalid URLs.
_TRANSPORT_ERRORS: Final = (
    httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.UnsupportedProtocol,
    httpx.InvalidURL,
)  # fmt: skip


class SignedRequest(NamedTuple):
    """A request as it is sent. `headers` lack those of HTTP itself, such as the length."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class RawAnswer(NamedTuple):
    """An answer before it is checked, with its whole body."""

    status: int
    headers: httpx.Headers
    body: bytes


def signed(
    url: str, request: RemoteRequest, keys: Iterable[bytes], stamp_s: int, headers: Mapping[str, str] | None = None
) -> SignedRequest:
    """The request signed with all keys as of `stamp_s` (s since 1970), and with further `headers`."""
    body = request.model_dump_json().encode()
    request_id = str(request.request_id)
    own = {
        "content-type": _JSON,
        "accept": _JSON,
        # A compressed body could decompress to any size.
        "accept-encoding": "identity",
        "idempotency-key": request_id,
        "user-agent": "codewell",
    }
    return SignedRequest(url, signature_headers(request_id, stamp_s, body, keys) | own | dict(headers or {}), body)


class Client:
    """Orders codes from remote services. Keeps connections alive for a moment between exchanges, and no cookies.

    A connection is reused only for the scheme, host and port that it was opened for, at an allowed address.
    """

    def __init__(self, timeout_s: float, allowed: Sequence[Network]) -> None:
        self._timeout_s = timeout_s
        self._connections = httpcore.AsyncConnectionPool(
            # The CAs of certifi or SSL_CERT_FILE; loaded once, as that takes longer than an exchange.
            ssl_context=httpx.create_ssl_context(),
            # Callers limit their concurrent exchanges.
            max_connections=None,
            max_keepalive_connections=KEEPALIVE_CONNECTIONS_MAX,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=AllowedAddresses(allowed),
        )

    async def aclose(self) -> None:
        """Close idle connections, and abort exchanges in progress."""
        await self._connections.aclose()

    async def order(
        self,
        url: str,
        request: RemoteRequest,
        keys: Iterable[bytes],
        stamp_s: int,
        received: Callable[[], Awaitable[None]] | None = None,
    ) -> Sequence[RemoteCode]:
        """Send a request, signed with all keys as of `stamp_s` (s since 1970), and return the codes of its answer.

        `received` is called once the whole answer is there, before it is checked. The timeout covers the exchange,
        however slowly the service sends. Raises RemoteFailed.
        """
        async with self._answer(signed(url, request, keys, stamp_s)) as (status, headers, parts):
            check_head(status, headers)
            body = await _body(parts)
        if received is not None:
            await received()
        return check_answer(body, request)

    async def exchange(self, request: SignedRequest) -> RawAnswer:
        """Send a request and return its answer, whatever it is. Raises RemoteFailed if there is none."""
        async with self._answer(request) as (status, headers, parts):
            return RawAnswer(status, headers, await _body(parts))

    async def notify(self, request: SignedRequest, bytes_max: int) -> RawAnswer:
        """Send a request and return its answer with at most the first bytes of its body; the others are not read.

        Raises RemoteFailed if there is no answer.
        """
        async with self._answer(request) as (status, headers, parts):
            body = bytearray()
            async for part in parts:
                body += part
                if len(body) >= bytes_max:
                    break
            return RawAnswer(status, headers, bytes(body[:bytes_max]))

    @asynccontextmanager
    async def _answer(self, request: SignedRequest) -> AsyncIterator[tuple[int, httpx.Headers, AsyncIterator[bytes]]]:
        """The status, the headers and the parts of the body. What is done with them counts against the timeout."""
        try:
            async with asyncio.timeout(self._timeout_s):
                url = httpx.URL(request.url)
                there = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
                sent = {**request.headers, "host": url.netloc.decode(), "content-length": str(len(request.body))}
                limits = {"connect": CONNECT_TIMEOUT_S, "read": self._timeout_s, "write": self._timeout_s}
                async with self._connections.stream(
                    "POST", there, headers=[*sent.items()], content=request.body, extensions={"timeout": limits}
                ) as answer:
                    yield answer.status, httpx.Headers(answer.headers), answer.aiter_stream()
        except TimeoutError as error:
            raise RemoteFailed(f"The service sent no complete response within {self._timeout_s:g} s.") from error
        except _TRANSPORT_ERRORS as error:
            raise RemoteFailed(
                f"The service cannot be reached or does not speak HTTP ({type(error).__name__})."
            ) from error


def check_head(status: int, headers: httpx.Headers) -> None:
    """Raise RemoteFailed unless the status and the headers of an answer are as agreed."""
    if status != _OK:
        raise _refused(status, headers)
    if headers.get("content-encoding", "identity") != "identity":
        raise RemoteFailed("The response is compressed (content-encoding), which was not requested.", answered=True)
    if headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise RemoteFailed(f"The response's content-type is not {_JSON}.", answered=True)


async def _body(parts: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for part in parts:
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise RemoteFailed(f"The response has more than {ANSWER_BYTES_MAX:,} bytes.", answered=True)
    return bytes(body)


def _refused(status: int, headers: httpx.Headers) -> RemoteFailed:
    """The error for a status other than 200. The service's operator can fix any of them, so the request is retried."""
    if status in REDIRECTS:
        return RemoteFailed(f"The service answered {status}, a redirect, which is not followed.")
    wait_s = retry_after_s(headers.get("retry-after"))
    return RemoteFailed(f"The service answered {status} instead of 200.", wait_s=wait_s)


def retry_after_s(text: str | None) -> float:
    """The wait (s) of a Retry-After header, which RFC 9110 gives as seconds or a date; 0 for anything else."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
