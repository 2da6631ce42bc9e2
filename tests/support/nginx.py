"""A real nginx with TLS before a console, configured as docs/console.md says."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.support.certificates import Authority
from tests.support.running import until

PAGE: Final = Path(__file__).parents[2] / "docs" / "console.md"
_STOP_TIMEOUT_S: Final = 10.0
_MAIN: Final = """
daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    {server}
}}
"""


def nginx() -> str | None:
    """The program, if this machine has one."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@asynccontextmanager
async def proxying(console_url: str, port: int, folder: Path) -> AsyncIterator[None]:
    """Serve the console at https://localhost:PORT during the block."""
    program = nginx()
    assert program is not None
    certificate = Authority(folder).issue("localhost")
    configuration = folder / "nginx.conf"
    configuration.write_text(_MAIN.format(folder=folder, server=_documented(console_url, port, certificate)))
    process = await asyncio.create_subprocess_exec(program, "-c", str(configuration), "-p", str(folder))
    try:

        async def is_listening() -> bool:
            assert process.returncode is None, (folder / "error.log").read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(is_listening, "nginx")
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)


def _documented(console_url: str, port: int, certificate: tuple[Path, Path]) -> str:
    """The server of the page for operators, with this test's addresses and files."""
    found = re.search(r"```nginx\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    server = found[1]
    chain, key = certificate
    for theirs, ours in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server_name codes.example.com;", "server_name localhost;"),
        ("/etc/ssl/codes.pem", str(chain)),
        ("/etc/ssl/codes.key", str(key)),
        ("http://127.0.0.1:8080", console_url),
    ):
        assert theirs in server
        server = server.replace(theirs, ours)
    return server
