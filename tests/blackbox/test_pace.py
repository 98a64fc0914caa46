"""Slow senders: cut for lack of progress (under 1 KiB/s over a minute), never by a total time. The minute is real."""

import asyncio
import time
from contextlib import closing

from siltstone import heads
from test_load import Client
from test_objects import KIB, MIB


async def send(server, key, size, piece, pause):
    """Sends the pieces one by one until the body is whole or the answer is there; (seconds, status, answer)."""
    client, began = Client(server), time.monotonic()
    await client.connect()
    with closing(client):
        client.writer.write(client.head("PUT", f"/pace/{key}", size))
        answer = asyncio.create_task(client.answer())
        sent = 0
        while sent < size and not answer.done():
            client.writer.write(b"x" * min(piece, size - sent))
            sent += piece
            await asyncio.wait([answer], timeout=pause)
        status, _, body = await asyncio.wait_for(answer, 90)
        return time.monotonic() - began, status, body


async def headers_without_end(server):
    """A head that never ends, a header a second; seconds until the connection is closed or refused."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection(*server.address())
    with closing(writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n")
        closed = asyncio.create_task(reader.read())
        while not closed.done() and time.monotonic() - began < 60:
            writer.write(b"x-a: b\r\n")
            await asyncio.wait([closed], timeout=1)
        return time.monotonic() - began, closed.done()


async def all_paces(server):
    return await asyncio.gather(
        send(server, "never", MIB, 1, 1),
        send(server, "never", 40 * MIB, 40 * MIB - 1, 200),
        send(server, "steady", 150 * KIB, 2 * KIB, 0.9),
        headers_without_end(server),
    )


def test_senders_are_cut_for_lack_of_progress_and_not_for_the_time_they_take(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="pace")
    before = heads(own_server.data_dir)
    byte_a_second, silent_before_the_end, steady, endless_head = asyncio.run(all_paces(own_server))
    for seconds, status, body in (byte_a_second, silent_before_the_end):
        assert (status, b"<Code>RequestTimeout</Code>" in body) == (400, True), (status, body)
        assert 50 < seconds < 80, seconds
    assert steady[:2] == (steady[0], 200) and steady[0] > 61, steady
    assert endless_head[1] and endless_head[0] < 20, endless_head
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket="pace")["Contents"]] == ["steady"]
    grown = {stream for stream, head in heads(own_server.data_dir).items() if before.get(stream) != head}
    assert len(grown) == 1, "only the bucket of the sender that made progress"
