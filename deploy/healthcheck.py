"""Ask the process of this container whether it goes on: exit 0 when /healthz answers 200, else 1 and why.

A worker serves its health on `CODEWELL_HEALTH_PORT`, the console on the port of its API; the first of the two where
something listens decides. Only the standard library is used, as nothing here may depend on what is being checked.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

# Both waits together stay below the time that the image's HEALTHCHECK gives.
_TIMEOUT_S = 3.0


def main() -> str | None:
    """What is wrong, or None."""
    refused = []
    for kind, port_default in (("HEALTH", "0"), ("API", "8080")):
        host = os.environ.get(f"CODEWELL_{kind}_HOST", "127.0.0.1")
        port = int(os.environ.get(f"CODEWELL_{kind}_PORT", port_default))
        if port < 1:
            continue
        try:
            return _asked(host, port)
        except ConnectionRefusedError:
            refused.append(f"{host}:{port}")
    return f"Nothing listens on {' or '.join(refused) or 'a port that is known'}."


def _asked(host: str, port: int) -> str | None:
    # Not urllib: it would ask a proxy that the environment names.
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        said = answer.read(1_000).decode(errors="replace")
    except ConnectionRefusedError:
        raise
    except (OSError, HTTPException) as error:
        return f"{host}:{port} does not answer ({str(error) or type(error).__name__})."
    finally:
        connection.close()
    return None if answer.status == 200 else f"{host}:{port} answers {answer.status}: {said}"


if __name__ == "__main__":
    sys.exit(main())
