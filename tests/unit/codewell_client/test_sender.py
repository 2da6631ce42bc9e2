"""What a sender refuses before it asks anything."""

import asyncio

import pytest

from codewell_client import MessageRender, Sender


@pytest.mark.parametrize("most", [0, -1])
async def test_many_requests_of_which_none_may_be_open_are_refused(most: int) -> None:
    request = MessageRender(profile_id="p-1", campaign_id="c", programs=["A"])
    async with asyncio.timeout(5):
        with pytest.raises(ValueError, match="at least 1"):
            await anext(Sender("localhost:9092").ask_many([request], in_flight_max=most))
