"""The API is what its OpenAPI document says: schemathesis asks everything, and nothing comes that is not in it.

With CODEWELL_DOCUMENT_EXAMPLES, the random requests for each operation, come those of the phase that covers each value
which the document names, too.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.integration.console.test_api import console
from tests.support.consoles import settings
from tests.support.site import Site

_SEED = "20261123"
_EXAMPLES_MAX = os.environ.get("CODEWELL_DOCUMENT_EXAMPLES", "2")
_PHASES = "examples,coverage,fuzzing" if "CODEWELL_DOCUMENT_EXAMPLES" in os.environ else "examples,fuzzing"
_TIMEOUT_S = 600.0
# A program's rules refuse much that has the right shape: a template that can be guessed, a cursor that nobody gave.
_NOT_PROMISED = "positive_data_acceptance"


@pytest.mark.timeout(_TIMEOUT_S + 60)
async def test_nothing_breaks_and_every_answer_is_documented(site: Site, tmp_path: Path) -> None:
    async with console(site, misses_per_minute=1_000_000) as client:
        await client.post("/api/v1/programs", json=settings(fields=[{"name": "discount"}]))
        await client.post("/api/v1/programs/SPRING/codes:generate", json={"count": 10})
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("schemathesis")), "run", f"{client.base_url}/openapi.json",
            "--header", f"Authorization: {client.headers['authorization']}",
            "--seed", _SEED, "--max-examples", _EXAMPLES_MAX, "--no-color",
            "--phases", _PHASES, "--exclude-checks", _NOT_PROMISED,
            # It would revoke the token that all other requests need.
            "--exclude-operation-id", "revokeToken",
            cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            out, _ = await asyncio.wait_for(process.communicate(), _TIMEOUT_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, out.decode()
