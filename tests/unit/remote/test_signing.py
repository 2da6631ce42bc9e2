"""Signatures are those of Standard Webhooks, byte for byte."""

import runpy
import time
from base64 import b64decode
from pathlib import Path

import pytest

from codewell.remote.signing import signature_headers

# The vector of the specification's own libraries.
KEY = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, STAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
EXAMPLE = Path(__file__).parents[3] / "examples" / "remote_service.py"
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_specification() -> None:
    assert signature_headers(ID, STAMP, BODY, [KEY]) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_each_secret_gives_a_signature_of_its_own() -> None:
    new, old = signature_headers(ID, STAMP, BODY, [b"n" * 32, KEY])["webhook-signature"].split(" ")
    assert old == SIGNATURE
    assert new.startswith("v1,")
    assert new != old


def test_a_signature_is_of_id_moment_and_body() -> None:
    signatures = {
        signature_headers(request_id, stamp, body, [KEY])["webhook-signature"]
        for request_id in (ID, "other")
        for stamp in (STAMP, STAMP + 1)
        for body in (BODY, b"{}")
    }
    assert len(signatures) == 8


@pytest.mark.parametrize(("age_s", "is_right"), [(0, True), (240, True), (360, False), (-360, False)])
def test_an_old_stamp_is_refused_by_who_checks_it(monkeypatch: pytest.MonkeyPatch, age_s: int, is_right: bool) -> None:
    """As the example does, which services are told to begin with."""
    monkeypatch.setattr("sys.argv", ["", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    is_signed = runpy.run_path(str(EXAMPLE))["is_signed"]
    headers = signature_headers(ID, int(time.time()) - age_s, BODY, [KEY])

    assert is_signed(headers, BODY) is is_right
    assert not is_signed(headers, BODY + b" ")
