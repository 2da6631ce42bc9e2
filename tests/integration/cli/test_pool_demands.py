"""Commands that take codes from a pool ask the generator to fill it."""

import json
from pathlib import Path

import pytest

from codewell.codes import listing
from codewell.codes.lookup import START
from codewell.codes.program_codes import ProgramCodes
from codewell.pool.minter_cache import Minters
from tests.integration.issuer.conftest import site
from tests.support.commands import environment
from tests.support.in_process import codewell
from tests.support.site import Site

__all__ = ["site"]


@pytest.mark.parametrize("command", ["attach", "attach CODE", "update", "delete"])
async def test_a_command_that_takes_a_code_tells_the_generator(site: Site, tmp_path: Path, command: str) -> None:
    made = await site.program("SPRING", 2, campaign_can_create=True, pool_max=2)
    page = await listing.page(ProgramCodes(site.database, Minters(None), made.id), START, 1)
    code = page.codes[0].code
    words = {
        "attach": ("SPRING", "p-1"),
        "attach CODE": ("SPRING", "p-1", code),
        "update": ("SPRING", code, "--expires-at", "2020-01-01T00:00:00Z"),
        "delete": ("SPRING", code),
    }[command]
    env = environment(
        CODEWELL_POSTGRES_URL=site.postgres_url,
        CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
        CODEWELL_TOPIC_PREFIX=site.prefix,
    )
    said = await codewell("code", command.split(maxsplit=1)[0], *words, env=env, cwd=tmp_path)
    assert said.is_done().err == ""
    [demand] = await site.came("pool-demand", 1)
    assert demand.key == str(made.id).encode()
    assert json.loads(demand.value) == {"program_id": made.id, "pooled": 1}


async def test_without_kafka_the_code_is_attached_and_the_loss_is_said(site: Site, tmp_path: Path) -> None:
    await site.program("SPRING", 2, campaign_can_create=True, pool_max=2)
    env = environment(CODEWELL_POSTGRES_URL=site.postgres_url, CODEWELL_KAFKA_BOOTSTRAP="127.0.0.1:1")
    said = await codewell("code", "attach", "SPRING", "p-1", env=env, cwd=tmp_path)
    assert said.status == 0
    assert "next sweep fills the pool" in said.err
