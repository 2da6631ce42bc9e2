"""Fallbacks by command: set, shown, used and refused."""

import re
from pathlib import Path

from tests.integration.issuer.conftest import site
from tests.support.commands import environment
from tests.support.in_process import codewell
from tests.support.site import Site

__all__ = ["site"]


async def test_a_fallback_is_set_used_and_kept_from_removal(site: Site, tmp_path: Path) -> None:
    env = environment(
        CODEWELL_POSTGRES_URL=site.postgres_url,
        CODEWELL_KAFKA_BOOTSTRAP=site.bootstrap,
        CODEWELL_TOPIC_PREFIX=site.prefix,
    )

    async def run(*words: str) -> tuple[int, str, str]:
        said = await codewell(*words, env=env, cwd=tmp_path)
        return said.status, said.out, said.err

    fixed = ("--template", "FOR-ALL", "--shared", "--codes-max", "1")
    assert (await run("program", "create", "FIXED", *fixed))[0] == 0
    own = ("--template", "{safe 12}", "--codes-max", "5", "--fallback", "FIXED", "--fallback-on", "pool_empty")
    assert (await run("program", "create", "SPRING", *own))[0] == 0
    assert (await run("code", "generate", "FIXED", "1"))[0] == 0
    _, shown, _ = await run("program", "show", "SPRING")
    assert re.search(r"^fallback +FIXED$", shown, re.MULTILINE), shown
    status, given, note = await run("code", "attach", "SPRING", "p-1")
    assert (status, "FOR-ALL" in given) == (0, True)
    assert "SPRING has no code to give: this one is of its fallback FIXED." in note
    status, _, why = await run("program", "remove", "FIXED", "--yes")
    assert (status, "FIXED is a fallback of SPRING" in why) == (1, True), why
    status, _, why = await run("program", "update", "FIXED", "--fallback", "SPRING")
    assert (status, "lead in a circle, FIXED to SPRING to FIXED" in why) == (1, True)
    status, _, why = await run("program", "update", "SPRING", "--fallback-after", "PT5S")
    assert (status, "leave --fallback-after out" in why) == (1, True), why
