"""An answer is right in all of it, or refused with the field that is wrong."""

import json
from typing import Any
from uuid import UUID

import pytest

from codewell.errors import RemoteFailed
from codewell.remote.answer_check import check_answer
from schemas.remote import RemoteRequest

# Fixed, as they are in the names of tests, which all workers of a run have to agree on.
ASKED = UUID("019a0000-0000-7000-8000-000000000001")
ANOTHER = UUID("019a0000-0000-7000-8000-000000000002")
REQUEST = RemoteRequest(version=1, request_id=ASKED, program="SPRING", count=3, fields={"discount": "10"})


def body(codes: object = ("A",), **changed: Any) -> bytes:
    listed = [{"code": one} if isinstance(one, str) else one for one in codes] if isinstance(codes, tuple) else codes
    answer = {"version": 1, "request_id": str(REQUEST.request_id), "codes": listed, **changed}
    return json.dumps({name: value for name, value in answer.items() if value != "LEFT OUT"}).encode()


def test_a_good_answer() -> None:
    full = {"code": "Ü 1/2", "expires_at": "2099-01-01T00:00:00Z", "fields": {"discount": "15"}}
    codes = check_answer(body(("A", full)), REQUEST)
    assert [one.code for one in codes] == ["A", "Ü 1/2"]
    assert (codes[0].expires_at, codes[0].fields) == (None, None)
    assert codes[1].fields == {"discount": "15"}
    assert codes[1].expires_at is not None
    assert check_answer(body(()), REQUEST) == ()


def test_what_other_serializers_write_is_read() -> None:
    unset = {"code": "A", "expires_at": None, "fields": None}
    [code] = check_answer(b"\xef\xbb\xbf" + body((unset,)), REQUEST)
    assert (code.code, code.expires_at, code.fields) == ("A", None, None)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "The answer: is not valid JSON: it ends too early"),
        (b"[]", "The answer: "),
        (b"\xff\xfe", "The answer: "),
        (b"[" * 100_000, "The answer: "),
        (body(version=2), "version: "),
        (body(version="1"), "version: "),
        (body(version="LEFT OUT"), "version: give a value"),
        (body(request_id=str(ANOTHER)), "request_id: must be that of the request"),
        (body(request_id=7), "request_id: "),
        (body("LEFT OUT"), "codes: give a value"),
        (body(None), "codes: "),
        (body({}), "codes: "),
        (body(("A", "B", "C", "D")), "codes: 4 were delivered, but 3 were requested"),
        (body(("A", "B", "A")), "codes.2.code: is the same as codes.0.code"),
        (body(("A", "")), "codes.1.code: "),
        (body(("x" * 201,)), "codes.0.code: "),
        (body((" A",)), "codes.0.code: must be"),
        (body(("A\u00a0",)), "codes.0.code: must be"),
        (body(("A\nB",)), "codes.0.code: must be"),
        (body(("A\u0000",)), "codes.0.code: must be"),
        (body(("A\u200b",)), "codes.0.code: must be"),
        (body(({"code": 7},)), "codes.0.code: "),
        (body(({"code": "A", "expires_at": 4_000_000_000},)), "codes.0.expires_at: "),
        (body(({"code": "A", "expires_at": "2099-01-01T00:00:00"},)), "codes.0.expires_at: "),
        (body(({"code": "A", "expires_at": "9999-01-01T00:00:00Z"},)), "codes.0.expires_at: must be between the years"),
        (body(({"code": "A", "fields": {"discount": 15}},)), "codes.0.fields.discount: "),
        (body(({"code": "A", "fields": {"a b": "1"}},)), "codes.0.fields."),
        (body(({"code": "A", "fields": {"discount": "\u0000"}},)), "codes.0.fields.discount: "),
        (body(({"code": "A", "price": 1},)), "codes.0.price: "),
        (body(more=1), "more: "),
        (body(**{"\u001b[31m": 1}), r"'\x1b[31m': "),
    ],
)
def test_what_is_wrong_is_named(given: bytes, says: str) -> None:
    with pytest.raises(RemoteFailed) as refused:
        check_answer(given, REQUEST)
    assert str(refused.value).startswith(says)
    assert str(refused.value).isprintable()
    assert refused.value.answered
    assert len(str(refused.value)) <= 301


def test_no_code_is_in_what_is_said() -> None:
    secret = "SECRET-CODE"
    for codes in ((secret, secret), (secret + "\n",), ({"code": secret, "x": secret},), (secret * 30,)):
        with pytest.raises(RemoteFailed) as refused:
            check_answer(body(codes), REQUEST)
        assert secret not in str(refused.value)
