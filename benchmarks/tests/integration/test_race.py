"""A run counts only if each request got a code: refusals would be answers too."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.contenders import PRODUCT
from benchmarks.race import Heat, check_given
from codewell.errors import CodewellError


@pytest.mark.parametrize(("given", "passes"), [(100, True), (None, True), (99, False), (101, False), (0, False)])
async def test_as_many_codes_as_requests_or_no_figure(database_url: str, given: int | None, passes: bool) -> None:
    async def count(_connection: object, _name: str) -> int | None:
        return given

    servers: Any = SimpleNamespace(postgres=SimpleNamespace(url=database_url))
    heat = Heat(replace(PRODUCT, given=count), 1, 100, 5, 200, "HEAT")
    if passes:
        await check_given(heat, servers)
        return
    with pytest.raises(CodewellError, match=f"codewell has given {given} codes for 100 requests"):
        await check_given(heat, servers)
