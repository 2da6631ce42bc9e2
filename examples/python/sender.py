"""Asks for a code for each profile id that it is given, with codewell_client: python sender.py p-1 p-2."""

import asyncio
import os
import sys

from codewell_client import Attached, MessageRender, Refused, Sender, SenderError

TEMPLATE = "Hello! Your code is {loyalty.SPRING.promocode}"


async def main(profiles: list[str]) -> None:
    """Ask for all, and print the answers as they come."""
    bootstrap = os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092")
    requests = [MessageRender(profile_id=one, campaign_id="spring", template=TEMPLATE) for one in profiles]
    async with Sender(bootstrap, source="/examples/python") as sender:
        async for request, answer in sender.ask_many(requests):
            match answer:
                case Attached(rendered=message):
                    print(f"{request.profile_id}: {message}")
                case Refused(refusals=refusals):
                    print(f"{request.profile_id}: refused: {' '.join(one.detail for one in refusals)}")
                case SenderError():
                    sys.exit(str(answer))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("usage: python sender.py PROFILE...")
    try:
        asyncio.run(main(sys.argv[1:]))
    except SenderError as error:
        sys.exit(str(error))
