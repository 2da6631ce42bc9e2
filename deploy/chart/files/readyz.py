"""Ask /readyz of each pod behind the addresses that are given as host:port; exit 1 unless all are ready."""

import socket
import sys
import time
from http.client import HTTPConnection, HTTPException

_TIMEOUT_S = 5.0
_TRIES = 12
_PAUSE_S = 5.0


def answer(host: str, port: int) -> str | None:
    """What is wrong with the pods of one service, or None."""
    try:
        pods = sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
    except OSError as error:
        return f"{host} has no pods ({error})"
    for pod in pods:
        connection = HTTPConnection(pod, port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", "/readyz")
            got = connection.getresponse()
            said = got.read(2_000).decode(errors="replace").strip()
        except (OSError, HTTPException) as error:
            return f"{host} ({pod}) does not answer ({str(error) or type(error).__name__})"
        finally:
            connection.close()
        if got.status != 200:
            return f"{host} ({pod}) answers {got.status}: {said}"
    print(f"{host}: {len(pods)} ready", flush=True)  # noqa: T201  its output is what `helm test --logs` shows
    return None


def main() -> int:
    """0 when all are ready, 1 otherwise; a pod that starts is waited for."""
    is_ready = True
    for place in sys.argv[1:]:
        host, _, port = place.rpartition(":")
        wrong = answer(host, int(port))
        for _ in range(_TRIES - 1):
            if wrong is None:
                break
            time.sleep(_PAUSE_S)
            wrong = answer(host, int(port))
        if wrong is not None:
            is_ready = False
            print(wrong, flush=True)  # noqa: T201
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
