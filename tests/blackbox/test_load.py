"""A hundred clients at once: memory stays within its bound, whatever their bodies and whatever their pace."""

import asyncio
import hashlib
import re
import time
from contextlib import closing
from functools import partial

import pytest
from rawsign import EMPTY_SHA256, Signer, request_bytes
from siltstone import heads
from test_objects import KIB, MIB

CLIENTS = 100
BOUND = 256 * MIB
UNSIGNED = "UNSIGNED-PAYLOAD"
SIZES = [0, 4 * KIB, 64 * KIB, 65 * KIB, MIB]


class Client:
    """One kept connection and nothing that costs memory or processor here, so that the server is what is measured."""

    def __init__(self, server):
        self.server, self.slowed = server, 0
        self.address = server.address()

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(*self.address)

    def close(self):
        self.writer.close()

    async def answer(self):
        """(status, headers, body) of the next answer; `None` as status where the connection ends instead."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body

    def head(self, method, path, size, query=""):
        payload = UNSIGNED if size else EMPTY_SHA256
        headers = Signer(self.address).headers(method, path, payload, {"content-length": size}, query)
        return request_bytes(method, f"{path}?{query}" if query else path, headers)

    async def call(self, method, path, body=b"", query=""):
        """One request; one that is told to slow down comes again, as every SDK does."""
        for _ in range(200):
            self.writer.write(self.head(method, path, len(body), query))
            self.writer.write(body)
            await self.writer.drain()
            status, headers, answer = await self.answer()
            if status != 503 or b"<Code>SlowDown</Code>" not in answer:
                assert status == 200, (method, path, status, answer[:300])
                return headers, answer
            self.slowed += 1
            if headers.get("connection") == "close":
                self.close()
                await self.connect()
            await asyncio.sleep(0.05)
        raise AssertionError("told to slow down for ever")


def body_of(number, size):
    seed = hashlib.sha256(f"{number}/{size}".encode()).digest()
    return (seed * (size // 32 + 1))[:size]


async def mixed(server, number):
    client = Client(server)
    await client.connect()
    with closing(client):
        for turn in range(2 * len(SIZES)):
            size = SIZES[(number + turn) % len(SIZES)]
            body = body_of(number, size)
            await client.call("PUT", f"/load/{number}/{size}", body)
            assert (await client.call("GET", f"/load/{number}/{size}"))[1] == body
        if number % 2 == 0:
            await multipart(client, number)
    return client.slowed


async def multipart(client, number):
    path, whole = f"/load/{number}/parts", []
    upload = re.search(rb"<UploadId>(\w+)<", (await client.call("POST", path, query="uploads="))[1])[1].decode()
    document = b"<CompleteMultipartUpload>"
    for part, size in enumerate((5 * MIB, 100 * KIB), 1):
        whole.append(body_of(number, size))
        headers, _ = await client.call("PUT", path, whole[-1], query=f"partNumber={part}&uploadId={upload}")
        document += f"<Part><PartNumber>{part}</PartNumber><ETag>{headers['etag']}</ETag></Part>".encode()
    document += b"</CompleteMultipartUpload>"
    await client.call("POST", path, document, query=f"uploadId={upload}")
    assert (await client.call("GET", path))[1] == b"".join(whole)


async def all_at_once(work, server):
    return await asyncio.gather(*(work(server, number) for number in range(CLIENTS)))


def test_a_hundred_clients_stay_within_the_memory_bound(own_server):
    own_server.client().create_bucket(Bucket="load")
    began = time.monotonic()
    slowed = sum(asyncio.run(asyncio.wait_for(all_at_once(mixed, own_server), 120)))
    peak = own_server.peak_bytes()
    print(f"{peak / MIB:.0f} MiB at most, {slowed} slowed down, {time.monotonic() - began:.1f} s")
    assert peak <= BOUND, f"{peak / MIB:.0f} MiB"


async def slow(server, number, sizes):
    """Announces a large body, sends a little of it, then a few bytes at a time; goes away in the middle."""
    size = sizes[number % len(sizes)]
    client = Client(server)
    await client.connect()
    with closing(client):
        client.writer.write(client.head("PUT", f"/slow/{number}", size) + b"x" * min(size // 2, 3 * MIB))
        answer = asyncio.create_task(client.answer())
        for _ in range(20):
            client.writer.write(b"x" * 10)
            await client.writer.drain()
            done, _ = await asyncio.wait([answer], timeout=0.1)
            if done:
                status, _, body = answer.result()
                # A body for which the volume has no room is refused for that.
                refusals = {503: b"<Code>SlowDown</Code>", 507: b"<Code>InsufficientStorage</Code>"}
                assert status in refusals and refusals[status] in body, (status, body)
                return "refused"
        answer.cancel()
    return "sending"


async def slow_with_others(server, sizes):
    slow_ones = asyncio.create_task(all_at_once(partial(slow, sizes=sizes), server))
    other, waits = Client(server), []
    await other.connect()
    with closing(other):
        while not slow_ones.done():
            began = time.monotonic()
            assert (await other.call("GET", "/slow/good"))[1] == b"good"
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.05)
    return await slow_ones, waits


@pytest.mark.parametrize("sizes,let_in", [
    ([60 * KIB, MIB, 64 * MIB], CLIENTS // 2),
    ([5 * 1024 * MIB], 1),
], ids=["small and large", "5 GiB"])  # fmt: skip
def test_a_hundred_slow_senders_hold_neither_memory_nor_the_others(own_server, sizes, let_in):
    """Of bodies declared as 5 GiB as many are let in as the volume has room for."""
    client = own_server.client()
    client.create_bucket(Bucket="slow")
    client.put_object(Bucket="slow", Key="good", Body=b"good")
    before = heads(own_server.data_dir)
    ends, waits = asyncio.run(asyncio.wait_for(slow_with_others(own_server, sizes), 120))
    peak = own_server.peak_bytes()
    print(f"{peak / MIB:.0f} MiB at most; {ends.count('sending')} were let in; others waited {max(waits):.2f} s at most")
    assert peak <= BOUND, f"{peak / MIB:.0f} MiB"
    assert ends.count("sending") >= let_in, "slow senders were let in, or nothing was tried"
    assert len(waits) > 10 and max(waits) < 5
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket="slow")["Contents"]] == ["good"]
    assert heads(own_server.data_dir) == before, "a body that never came changed a stream"
