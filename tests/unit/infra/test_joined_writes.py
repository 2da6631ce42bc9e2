"""What is written within one turn of the loop is one write, and nothing waits for longer."""

import asyncio
from typing import Any, cast

from codewell.infra.http.joined_writes import JOINED_BYTES_MAX, JoinedWrites


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        assert not self.closing
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True


def joined() -> tuple[Transport, JoinedWrites]:
    transport = Transport()
    return transport, JoinedWrites(cast("Any", transport), asyncio.get_running_loop())


async def test_a_flush_writes_all_at_once() -> None:
    transport, writes = joined()
    writes.write(b"head")
    writes.write(b"body")
    assert transport.written == []
    writes.flush()
    assert transport.written == [b"headbody"]
    await asyncio.sleep(0)
    assert transport.written == [b"headbody"]


async def test_nothing_waits_for_longer_than_a_turn() -> None:
    transport, writes = joined()
    writes.write(b"head of a stream")
    await asyncio.sleep(0)
    assert transport.written == [b"head of a stream"]
    writes.write(b"piece")
    await asyncio.sleep(0)
    assert transport.written == [b"head of a stream", b"piece"]


async def test_much_is_written_at_once_so_that_the_transport_can_pause_its_writer() -> None:
    transport, writes = joined()
    writes.write(b"head")
    writes.write(bytes(JOINED_BYTES_MAX))
    assert [len(one) for one in transport.written] == [JOINED_BYTES_MAX + 4]


async def test_a_closed_transport_has_got_all_and_gets_no_more() -> None:
    transport, writes = joined()
    writes.write(b"last words")
    writes.close()
    assert (transport.written, transport.closing) == ([b"last words"], True)
    writes.write(b"more")
    writes.flush()
    assert writes.is_closing()
    assert transport.written == [b"last words"]
