"""The image's health check, run as the Dockerfile has it against servers of every kind."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from tests.deploy.deployment import ROOT, final, instructions, seconds

# Nothing listens there, and no proxy is to be asked about one's own process.
DEAD_PROXY = "http://127.0.0.1:9"


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve /healthz with this status while the block runs, and give the port; any other path is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the name is the library's
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that is taken, so that no other process gets it, and on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def check(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run the check with this Python, the script where it comes from, and the time that the image gives it."""
    (instruction,) = final("HEALTHCHECK")
    (copied,) = (one.value.split() for one in instructions() if one.name == "COPY" and one.value.endswith(".py"))
    source, target = copied
    python, *words = instruction.words
    assert python == "python"
    assert words[-1] == target
    timeout = re.search(r"--timeout=(\S+)", instruction.value)
    assert timeout is not None
    return subprocess.run(
        [sys.executable, *words[:-1], ROOT / source],
        env={"PATH": os.defpath, "http_proxy": DEAD_PROXY, "HTTP_PROXY": DEAD_PROXY, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds(timeout[1]),
    )


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1), (404, 1)])
def test_a_worker_is_as_healthy_as_it_says(status: int, exit_status: int, silent_port: int) -> None:
    with answering(status) as port:
        asked = check(CODEWELL_HEALTH_PORT=str(port), CODEWELL_API_PORT=str(silent_port))
    assert (asked.returncode, asked.stdout) == (exit_status, "")
    assert (str(status) in asked.stderr) == (exit_status == 1)


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
def test_a_console_is_asked_on_the_port_of_its_api(status: int, exit_status: int, silent_port: int) -> None:
    with answering(status) as port:
        asked = check(CODEWELL_HEALTH_PORT=str(silent_port), CODEWELL_API_PORT=str(port), CODEWELL_API_HOST="0.0.0.0")
    assert asked.returncode == exit_status


def test_a_worker_that_is_not_well_is_not_saved_by_another_port() -> None:
    with answering(503) as port, answering(200) as other:
        asked = check(CODEWELL_HEALTH_PORT=str(port), CODEWELL_API_PORT=str(other))
    assert asked.returncode == 1


@pytest.mark.parametrize("health_port", ["-1", "0", None])
def test_nothing_that_listens_is_not_healthy(health_port: str | None, silent_port: int) -> None:
    asked = check(CODEWELL_HEALTH_PORT=health_port or str(silent_port), CODEWELL_API_PORT=str(silent_port))
    assert asked.returncode == 1
    assert "Nothing listens" in asked.stderr


def test_a_worker_that_hangs_is_not_healthy_within_the_time_that_docker_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        asked = check(CODEWELL_HEALTH_PORT=str(hanging.getsockname()[1]))
    assert asked.returncode == 1
    assert "does not answer" in asked.stderr
