"""A remote code service with a fixed delay. It checks signatures and issues consecutive codes."""

import asyncio
import hmac
import json
import os
from base64 import b64decode, b64encode
from itertools import count
from typing import Final

from codewell.infra.process.lifecycle import run
from services.standalone.ports import LOOPBACK

PORT_VARIABLE: Final = "BENCH_PORT"
SECRETS_VARIABLE: Final = "BENCH_SECRETS"
ANSWER_MS_VARIABLE: Final = "BENCH_ANSWER_MS"
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105  the prefix of a secret


class SlowService:
    """Answers any number of concurrent requests, each after `answer_s` (s)."""

    def __init__(self, keys: list[bytes], answer_s: float) -> None:
        self._keys = keys
        self._answer_s = answer_s
        self._numbers = count()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                due = asyncio.get_running_loop().time() + self._answer_s
                status, answer = self._answer(headers, body)
                await asyncio.sleep(due - asyncio.get_running_loop().time())
                writer.write(f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\n"
                             f"content-length: {len(answer)}\r\n\r\n".encode() + answer)  # fmt: skip
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            # The client closed the connection after its answers.
            pass
        finally:
            writer.close()

    def _answer(self, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        if not self._is_signed(headers, body):
            return "401 Unauthorized", b"{}"
        asked = json.loads(body)
        codes = ",".join([f'{{"code":"R{next(self._numbers):011}"}}' for _ in range(asked["count"])])
        answer = f'{{"version":1,"request_id":"{asked["request_id"]}","codes":[{codes}]}}'
        return "200 OK", answer.encode()

    def _is_signed(self, headers: dict[str, str], body: bytes) -> bool:
        if "webhook-signature" not in headers:
            # Nothing but a look whether the service answers.
            return False
        content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        right = ["v1," + b64encode(hmac.digest(key, content, "sha256")).decode() for key in self._keys]
        return any(hmac.compare_digest(one, given) for one in right for given in headers["webhook-signature"].split())


async def main(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    keys = [b64decode(secret.removeprefix(_SECRET_PREFIX)) for secret in os.environ[SECRETS_VARIABLE].split(",")]
    service = SlowService(keys, float(os.environ[ANSWER_MS_VARIABLE]) / 1_000)
    server = await asyncio.start_server(service.serve, LOOPBACK, int(os.environ[PORT_VARIABLE]))
    try:
        await stop.wait()
    finally:
        server.close()


if __name__ == "__main__":
    run(main)
