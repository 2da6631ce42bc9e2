"""A small remote service to try remote programs with: `python examples/remote_service.py whsec_... [PORT]`.

It takes any number of secrets, checks the signature as Standard Webhooks has it, and remembers what it answered, so
that a request that comes again gets the same codes again. A real service keeps that in its database.
"""

import base64
import hmac
import json
import secrets
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ALPHABET = "23456789BCDFGHJKMNPQRSTVWXYZ"
STAMP_AGE_MAX_S = 300
KEYS = [base64.b64decode(one.removeprefix("whsec_")) for one in sys.argv[1:] if one.startswith("whsec_")]
ANSWERS: dict[str, bytes] = {}


def is_signed(headers: dict[str, str], body: bytes) -> bool:
    """Whether one of the signatures is of one of our secrets, and the request is no old one sent again."""
    request_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > STAMP_AGE_MAX_S:
        return False
    content = f"{request_id}.{stamp}.".encode() + body
    right = ["v1," + base64.b64encode(hmac.digest(key, content, "sha256")).decode() for key in KEYS]
    given = headers.get("webhook-signature", "").split()
    return any(hmac.compare_digest(one.encode(), other.encode()) for one in given for other in right)


def answer_to(body: bytes) -> bytes:
    """New codes, as many as are asked for."""
    asked = json.loads(body)
    codes = ["".join(secrets.choice(ALPHABET) for _ in range(12)) for _ in range(asked["count"])]
    answer = {"version": 1, "request_id": asked["request_id"], "codes": [{"code": code} for code in codes]}
    return json.dumps(answer).encode()


class Handler(BaseHTTPRequestHandler):
    """Answers POSTs to any path."""

    def do_POST(self) -> None:
        """Give codes to callers that have the secret."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if not is_signed(headers, body):
            self.send_error(401, "The signature is not of my secret")
            return
        answer = ANSWERS.setdefault(headers["idempotency-key"], answer_to(body))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


if __name__ == "__main__":
    if not KEYS:
        sys.exit("Give the secrets that codewell program secret NAME shows.")
    port = next((int(one) for one in sys.argv[1:] if one.isdigit()), 8099)
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(f"Codes at http://127.0.0.1:{server.server_address[1]}/", flush=True)
    server.serve_forever()
