"""One exchange with a remote service: a signed POST to an address that may be called, and an answer within limits."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from schemas.remote import RemoteCode, RemoteRequest
from services.errors import RemoteFailed
from services.remote.addresses import Network, resolved
from services.remote.answers import checked
from services.remote.signing import signed

ANSWER_BYTES_MAX: Final = 10_000_000
CONNECT_TIMEOUT_S: Final = 3.0
_JSON: Final = "application/json"
_PORTS: Final = {"http": 80, "https": 443}


class Client:
    """Asks remote services for codes. It keeps nothing between two exchanges: no connection, no cookie."""

    def __init__(self, timeout_s: float, allowed: Sequence[Network]) -> None:
        self._timeout_s = timeout_s
        self._allowed = allowed
        # The authorities are those of certifi, or of SSL_CERT_FILE; to read them takes longer than an exchange.
        self._tls = httpx.create_ssl_context()

    async def order(
        self, url: str, request: RemoteRequest, keys: Iterable[bytes], stamp_s: int
    ) -> Sequence[RemoteCode]:
        """Send a request, signed with all keys as of `stamp_s` (s since 1970), and return the codes of its answer.

        The whole exchange ends within the time limit, however slowly the service talks. Raises RemoteFailed.
        """
        body = request.model_dump_json().encode()
        request_id = str(request.request_id)
        headers = signed(request_id, stamp_s, body, keys) | {
            "content-type": _JSON,
            "accept": _JSON,
            # What is packed can unpack to any size.
            "accept-encoding": "identity",
            "idempotency-key": request_id,
            "user-agent": "codewell",
        }
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._exchange(httpx.URL(url), body, headers)
        except TimeoutError as error:
            raise RemoteFailed(f"The service gave no whole answer within {self._timeout_s:g} s.") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RemoteFailed(f"The service can't be reached or talks no HTTP ({type(error).__name__}).") from error
        return checked(answer, request)

    async def _exchange(self, url: httpx.URL, body: bytes, headers: dict[str, str]) -> bytes:
        host = url.raw_host.decode()
        addresses = await resolved(host, url.port or _PORTS[url.scheme], self._allowed)
        limits = httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S)
        # What the environment says of proxies and passwords is not for addresses that strangers chose.
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=limits) as client:
            for address in addresses:
                # It is called where it was found, and known by its name: to the service, and in its certificate.
                there = client.build_request(
                    "POST", url.copy_with(host=address), content=body,
                    headers={**headers, "host": url.netloc.decode()}, extensions={"sni_hostname": host},
                )  # fmt: skip
                try:
                    answer = await client.send(there, stream=True)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if address == addresses[-1]:
                        raise
                    continue
                try:
                    return await _body(answer)
                finally:
                    await answer.aclose()
        raise RemoteFailed(f"The host {host} has no address: look at the URL.")


async def _body(answer: httpx.Response) -> bytes:
    if answer.status_code != httpx.codes.OK:
        raise _refused(answer)
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise RemoteFailed("The answer is packed (content-encoding), which was not asked for.", answered=True)
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise RemoteFailed(f"The answer's content-type is not {_JSON}.", answered=True)
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > ANSWER_BYTES_MAX:
            raise RemoteFailed(f"The answer has more than {ANSWER_BYTES_MAX:,} bytes.", answered=True)
    return bytes(body)


def _refused(answer: httpx.Response) -> RemoteFailed:
    """Any status but 200 is something that people mend, so the request is worth another try."""
    if answer.is_redirect:
        return RemoteFailed(f"The service answered {answer.status_code}, a redirect, which is not followed.")
    wait_s = _retry_after_s(answer.headers.get("retry-after"))
    return RemoteFailed(f"The service answered {answer.status_code} instead of 200.", wait_s=wait_s)


def _retry_after_s(text: str | None) -> float:
    """How long to wait (s): RFC 9110 has seconds or a date. What is neither says nothing."""
    if text is None:
        return 0.0
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
