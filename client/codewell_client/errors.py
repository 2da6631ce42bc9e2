"""What can go wrong, as types.

CodewellClientError
├── SenderError             a request over Kafka has no answer yet; ask again with the same request
│   ├── KafkaUnavailable    no connection to the brokers, or a topic is missing
│   ├── PublishFailed       Kafka did not acknowledge the request
│   ├── AnswerTimeout       no answer came in time; the request may still be answered
│   └── InvalidAnswer       an answer that this version cannot read
├── Problem                 the HTTP API refused (RFC 9457); `status`, `reason`, `detail`
│   ├── InvalidRequest      400, 413, 415, 422
│   ├── Unauthorized        401
│   ├── Forbidden           403
│   ├── NotFound            404
│   ├── Conflict            409
│   ├── RateLimited         429; `retry_after_s`
│   └── ServiceUnavailable  500 and more, after all attempts; `retry_after_s`
└── ShopTimeout             no response in time, after all attempts; call again with the same `idempotency_key`
"""

from typing import Final

from codewell_client.requests import Request


class CodewellClientError(Exception):
    """The base of all errors here."""


class SenderError(CodewellClientError):
    """A request over Kafka has no answer yet."""


class KafkaUnavailable(SenderError):
    """No connection to the brokers, or a topic is missing; nothing was asked."""


class PublishFailed(SenderError):
    """Kafka did not acknowledge the request; it may be stored all the same. Ask again with `request`: same id."""

    def __init__(self, request: Request, cause: str) -> None:
        super().__init__(f"Kafka did not acknowledge request {request.id}: {cause}. Ask again with the same request.")
        self.request = request


class AnswerTimeout(SenderError):
    """No answer came in time. The request may still be answered, and use up a code: ask again with `request`.

    The same id gets the same answer. With a `deadline`, a request that is decided later is refused instead.
    """

    def __init__(self, request: Request, timeout_s: float, cause: str | None = None) -> None:
        because = "" if cause is None else f" ({cause})"
        super().__init__(
            f"No answer to request {request.id} within {timeout_s:g} s{because}. It may still be answered: ask again "
            "with the same request, which gets the same answer."
        )
        self.request = request
        self.timeout_s = timeout_s


class InvalidAnswer(SenderError):
    """An answer that this version cannot read: update codewell-client."""


class Problem(CodewellClientError):
    """The HTTP API refused a call, or a proxy answered in its place. `detail` says what is wrong and what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str | None = None,
        type_: str = "about:blank",
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.reason = reason
        """A stable word, such as `code_unknown`, to decide by; None where the response has none."""
        self.type = type_
        self.request_id = request_id
        """The value of `X-Request-Id`, by which the operator finds the call in the logs."""
        self.retry_after_s = retry_after_s
        """The wait that the service asks for (s), or None."""


class InvalidRequest(Problem):
    """The call is malformed, too large, or used another call's idempotency key."""


class Unauthorized(Problem):
    """The token is missing or not valid."""


class Forbidden(Problem):
    """The token lacks a scope, or it may not see this."""


class NotFound(Problem):
    """There is no such program or code, or the token may not see it."""


class Conflict(Problem):
    """The state does not allow it: a code that was redeemed before, for example."""


class RateLimited(Problem):
    """Too many unknown codes were asked for: wait `retry_after_s`."""


class ServiceUnavailable(Problem):
    """The service failed at every attempt."""


class ShopTimeout(CodewellClientError):
    """No response in time. The call may have had its effect: call again with the same `idempotency_key`."""

    def __init__(self, sentence: str, idempotency_key: str | None) -> None:
        super().__init__(sentence)
        self.idempotency_key = idempotency_key


_BY_STATUS: Final[dict[int, type[Problem]]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}


def problem_class(status: int) -> type[Problem]:
    """The class for a status."""
    return ServiceUnavailable if status >= 500 else _BY_STATUS.get(status, Problem)
