"""Signatures are those of Standard Webhooks, byte for byte."""

from base64 import b64decode

from services.remote.signing import signed

# The vector of the specification's own libraries.
KEY = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ID, STAMP, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_vector_of_the_specification() -> None:
    assert signed(ID, STAMP, BODY, [KEY]) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_each_secret_gives_a_signature_of_its_own() -> None:
    new, old = signed(ID, STAMP, BODY, [b"n" * 32, KEY])["webhook-signature"].split(" ")
    assert old == SIGNATURE
    assert new.startswith("v1,")
    assert new != old


def test_a_signature_is_of_id_moment_and_body() -> None:
    signatures = {
        signed(request_id, stamp, body, [KEY])["webhook-signature"]
        for request_id in (ID, "other")
        for stamp in (STAMP, STAMP + 1)
        for body in (BODY, b"{}")
    }
    assert len(signatures) == 8
