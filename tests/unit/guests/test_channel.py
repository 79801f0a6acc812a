"""The channel between the agent and a guest's runner, at its end."""

from __future__ import annotations

import asyncio
import socket

from ofctl.guests.channel import ControlChannel, Json


async def test_the_last_words_of_a_guest_that_had_not_read_everything_are_heard() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    heard: asyncio.Queue[Json] = asyncio.Queue()
    channel = ControlChannel(ours, on_message=heard.put_nowait)
    await channel.send({"news": 1})
    theirs.send(b'{"status": {"fatal": "why"}}')
    theirs.close()
    async with asyncio.timeout(5):
        assert await heard.get() == {"status": {"fatal": "why"}}
    channel.close()
