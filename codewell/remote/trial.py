"""A test request to a remote service, for the person who sets it up: its codes are shown and never kept."""

import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from codewell.errors import RemoteFailed
from codewell.infra.uuid7 import uuid7
from codewell.plurals import counted
from codewell.remote.answer_check import check_answer
from codewell.remote.client import Client, RawAnswer, check_head, signed
from codewell.remote.signing_secrets import SECRET_BYTES, SigningSecret
from schemas.remote import RemoteRequest
from schemas.remote_tests import BODY_CHARACTERS_MAX, RemoteTestResult, SentRequest, TestedAnswer, TestVerdict

TEST_HEADER: Final = "codewell-test"
"""Tells the service that the codes of its answer are not kept; its value is `true`."""
_HEADER_CHARACTERS_MAX: Final = 1_000
_HEADERS_MAX: Final = 50


class RemoteTarget(NamedTuple):
    """A remote service: its URL, the short name of its program, and the keys that sign requests, newest first."""

    url: str
    program: str
    keys: Sequence[bytes]


def new_secret() -> SigningSecret:
    """A secret for a test of a service that no program has yet."""
    return SigningSecret(secrets.token_bytes(SECRET_BYTES), datetime.now(UTC), None)


async def send_test(client: Client, target: RemoteTarget, count: int, fields: dict[str, str]) -> RemoteTestResult:
    """Send one request that says that it is a test, and judge its answer. Raises nothing."""
    request = RemoteRequest(version=1, request_id=uuid7(), program=target.program, count=count, fields=fields)
    sent = signed(target.url, request, target.keys, int(time.time()), {TEST_HEADER: "true"})
    started = time.monotonic()
    answer = None
    try:
        answer = await client.exchange(sent)
        check_head(answer.status, answer.headers)
        verdict = _accepted(len(check_answer(answer.body, request)))
    except RemoteFailed as error:
        verdict = TestVerdict(accepted=False, field=error.field, detail=str(error))
    return RemoteTestResult(
        request=SentRequest(method="POST", url=target.url, headers=dict(sent.headers), body=sent.body.decode()),
        secret=None,
        answer=None if answer is None else _shown(answer),
        took_s=round(time.monotonic() - started, 3),
        verdict=verdict,
    )


def _accepted(count: int) -> TestVerdict:
    detail = f"The service answered as agreed, with {counted(count, 'code')}."
    return TestVerdict(accepted=True, field=None, detail=f"{detail} They are not kept.")


def _shown(answer: RawAnswer) -> TestedAnswer:
    text = answer.body.decode("utf-8", "replace")
    headers = [*answer.headers.items()][:_HEADERS_MAX]
    return TestedAnswer(
        status=answer.status,
        headers={name: value[:_HEADER_CHARACTERS_MAX] for name, value in headers},
        body=text[:BODY_CHARACTERS_MAX],
        cut=len(text) > BODY_CHARACTERS_MAX,
    )
