"""A full disk and a failed fsync. They need mount and ptrace, as root: a machine that lacks them fails here."""

import os
import subprocess
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from siltstone import Server, verify
from test_objects import KIB, MIB


@pytest.fixture
def small_volume(tmp_path):
    """A file system of 700 MiB that is really full when it is full."""
    volume = tmp_path / "volume"
    volume.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700m", "tmpfs", str(volume)], check=True)
    yield volume
    subprocess.run(["umount", "-l", str(volume)], check=True)


def wait_until_it_stores(client):
    deadline = time.monotonic() + 30
    while True:
        try:
            client.put_object(Bucket="full", Key="after", Body=b"x" * MIB)
            break
        except ClientError:
            assert time.monotonic() < deadline, "the server did not recover by itself"


def test_a_full_disk_refuses_writes_and_lets_the_rest_go_on(small_volume):
    server = Server(small_volume / "data").start()
    try:
        client = server.client()
        client.create_bucket(Bucket="full")
        stored, refused = [], None
        for number in range(400):
            try:
                client.put_object(Bucket="full", Key=f"k{number:04}", Body=os.urandom(4 * MIB))
                stored.append(number)
            except ClientError as error:
                refused = error.response
                break
        assert refused is not None and len(stored) > 20
        assert refused["ResponseMetadata"]["HTTPStatusCode"] in (503, 507), refused
        assert len(client.get_object(Bucket="full", Key="k0000")["Body"].read()) == 4 * MIB
        client.delete_object(Bucket="full", Key="k0000")
        added = server.admin("user", "create", "still-works")
        assert added.returncode == 0, added.stderr
        assert client.list_objects_v2(Bucket="full")["KeyCount"] == len(stored) - 1
        # Segments and packs that are allocated ahead leave the floor to the projections.
        left = os.statvfs(small_volume)
        assert left.f_bavail * left.f_frsize > 128 * MIB
        # Space that comes back from outside is used again without a restart.
        subprocess.run(["mount", "-o", "remount,size=1400m", str(small_volume)], check=True)
        wait_until_it_stores(client)
        assert server.stop() == 0
        verify(small_volume / "data")
    finally:
        server.kill()


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_restart_on_a_full_volume_still_deletes_and_administers(small_volume, how):
    server = Server(small_volume / "data").start()
    try:
        client = server.client()
        client.create_bucket(Bucket="full")
        for number in range(20):
            client.put_object(Bucket="full", Key=f"k{number:02}", Body=os.urandom(KIB))
        server.stop() if how == "stop" else server.kill()
        # Something else takes all but what a start and a few deletes need.
        left = os.statvfs(small_volume)
        with (small_volume / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, left.f_bavail * left.f_frsize - 24 * MIB)
        server.start()
        client = server.client()
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket="full", Key="more", Body=b"x")
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (503, 507)
        for number in range(10):
            client.delete_object(Bucket="full", Key=f"k{number:02}")
        added = server.admin("user", "create", "on-a-full-volume")
        assert added.returncode == 0, added.stderr
        assert client.list_objects_v2(Bucket="full")["KeyCount"] == 10
        (small_volume / "other").unlink()
        wait_until_it_stores(client)
        assert server.stop() == 0
        verify(small_volume / "data")
    finally:
        server.kill()


@pytest.mark.parametrize("size", [4 * KIB, 200 * KIB], ids=["log", "pack"])
def test_after_a_failed_fsync_nothing_is_acknowledged_and_the_process_ends(tmp_path, size):
    data = tmp_path / "data"
    server = Server(data).start()
    server.client().create_bucket(Bucket="fsync")
    process = server.process
    trace = tmp_path / "trace"
    tracer = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=20+",
         "-p", str(process.pid)],
        stderr=subprocess.PIPE,
    )
    acknowledged = []
    try:
        client = server.client()
        for number in range(2000):
            try:
                client.put_object(Bucket="fsync", Key=f"k{number}", Body=bytes([number % 256]) * size)
            except (ClientError, BotoCoreError):
                break
            acknowledged.append(number)
        assert server.wait(30) == 74
    finally:
        tracer.terminate()
        tracer.wait()
        server.kill()
    assert "EIO" in trace.read_text() and len(acknowledged) < 1999
    server = Server(data).start()
    client = server.client()
    for number in acknowledged:
        assert client.get_object(Bucket="fsync", Key=f"k{number}")["Body"].read() == bytes([number % 256]) * size
    assert server.stop() == 0
    verify(data)
