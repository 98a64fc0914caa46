"""Space on disk: what is given up is given back, and what will not fit is refused before it is sent."""

import shutil
import time

import pytest
from rawsign import Signer, put, read_answer, request_bytes
from siltstone import Server, heads
from test_objects import MIB

PACK = 16 * MIB


@pytest.fixture
def small_packs(tmp_path):
    """A server whose packs are so small that a few uploads fill several."""
    server = Server(tmp_path / "data", environment={"SILTSTONE_CONTENT__PACK_SIZE": "16MiB"}).start()
    server.client().create_bucket(Bucket="raw")
    yield server
    server.kill()


def settles_below(server, limit):
    """Waits until the data directory costs no more; the server learns of a closed connection a moment later."""
    deadline = time.monotonic() + 5
    while (used := server.allocated_bytes()) > limit and time.monotonic() < deadline:
        time.sleep(0.02)
    return used


def test_space_of_a_body_that_stops_in_the_middle_is_given_back_at_once(small_packs):
    server = small_packs
    put(server, "first", b"x" * MIB)
    before, history = server.allocated_bytes(), heads(server.data_dir)
    for round_ in range(8):
        put(server, "never", b"y" * 12 * MIB, declared=24 * MIB, payload_hash="UNSIGNED-PAYLOAD")
        # At most one more pack is open, preallocated and empty.
        used = settles_below(server, before + PACK)
        assert used <= before + PACK, f"round {round_}: {(used - before) / MIB:.0f} MiB are kept"
    assert heads(server.data_dir) == history
    assert server.client().get_object(Bucket="raw", Key="first")["Body"].read() == b"x" * MIB
    assert server.stop() == 0
    packs = sum(file.stat().st_blocks * 512 for file in (server.data_dir / "packs").iterdir())
    assert packs < 2 * MIB, "a stopped server keeps what it stores and nothing more"


def test_space_of_a_body_that_is_refused_at_its_end_is_given_back_at_once(small_packs):
    server = small_packs
    put(server, "first", b"x" * MIB)
    before = server.allocated_bytes()
    for _ in range(8):
        status, _, body = put(server, "never", b"y" * 12 * MIB, payload_hash="0" * 64)
        assert (status, b"XAmzContentSHA256Mismatch" in body) == (400, True)
        used = settles_below(server, before + PACK)
        assert used <= before + PACK, f"{(used - before) / MIB:.0f} MiB are kept"


@pytest.fixture
def no_room(tmp_path):
    """A store that was filled with room to spare, and an upload that is under way; now the whole volume is the reserve."""
    data = tmp_path / "data"
    server = Server(data).start()
    client = server.client()
    client.create_bucket(Bucket="raw")
    client.put_object(Bucket="raw", Key="kept", Body=b"kept")
    server.upload = client.create_multipart_upload(Bucket="raw", Key="k")["UploadId"]
    assert server.stop() == 0
    server.environment["SILTSTONE_SPACE__FLOOR"] = f"{shutil.disk_usage(data).total}B"
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("size", [1, 10 * MIB])
@pytest.mark.parametrize("multipart", [False, True], ids=["object", "part"])
def test_without_room_a_body_is_refused_before_it_is_asked_for(no_room, size, multipart):
    server, client = no_room, no_room.client()
    history, used = heads(server.data_dir), server.allocated_bytes()
    query = f"partNumber=1&uploadId={server.upload}" if multipart else ""
    headers = Signer(server.address()).headers(
        "PUT", "/raw/k", "UNSIGNED-PAYLOAD", {"content-length": size, "expect": "100-continue"}, query=query)
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", f"/raw/k?{query}" if query else "/raw/k", headers))
        status, _, body = read_answer(connection)
        # The first line is the answer itself, and not `100 Continue`.
        assert status == 507 and b"<Code>InsufficientStorage</Code>" in body, (status, body)
    assert client.get_object(Bucket="raw", Key="kept")["Body"].read() == b"kept"
    assert client.list_objects_v2(Bucket="raw")["KeyCount"] == 1
    assert heads(server.data_dir) == history and server.allocated_bytes() <= used + MIB
    client.delete_object(Bucket="raw", Key="kept")
    client.abort_multipart_upload(Bucket="raw", Key="k", UploadId=server.upload)
    assert server.admin("user", "create", "still-works").returncode == 0
