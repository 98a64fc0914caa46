"""What a node meets when its folders lie on volumes of their own, or on a device that loses what it took. They need mount,
as root: a machine that lacks it fails here."""

import os
import shutil
import subprocess
import threading
import time

import pytest
from botocore.exceptions import ClientError
from crash_workload import Worker, check, prepare, wait_for
from siltstone import Server, verify
from test_objects import KIB, MIB
from volumes import ThinVolume

SMALL = {"SILTSTONE_SPACE__FLOOR": "64 MiB", "SILTSTONE_LOG__SEGMENT_SIZE": "1 MiB", "SILTSTONE_CONTENT__PACK_SIZE": "8 MiB"}


def until(holds, what):
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def refused(client, key):
    """The HTTP status of a refused PUT; `None` where it stored."""
    try:
        client.put_object(Bucket="full", Key=key, Body=b"x" * (100 * KIB))
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return None


@pytest.mark.parametrize("folder", ["log", "packs", "projections"])
def test_a_folder_that_is_full_on_a_volume_of_its_own_refuses_writes_alone_and_for_as_long(tmp_path, folder):
    volume = tmp_path / "data" / folder
    volume.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", str(volume)], check=True)
    server = Server(tmp_path / "data", environment=SMALL)
    try:
        server.start()
        client = server.client(retries={"total_max_attempts": 1})
        client.create_bucket(Bucket="full")
        for number in range(20):
            client.put_object(Bucket="full", Key=f"k{number:02}", Body=bytes([number]) * (100 * KIB))
        left = os.statvfs(volume)
        with (volume / "other").open("wb") as other:
            os.posix_fallocate(other.fileno(), 0, left.f_bavail * left.f_frsize - 32 * MIB)
        until(lambda: refused(client, "more") == 507, "what does not fit is not refused")
        assert server.get("/readyz")[0] == 503
        for number in range(10):
            assert client.get_object(Bucket="full", Key=f"k{number:02}")["Body"].read() == bytes([number]) * (100 * KIB)
            client.delete_object(Bucket="full", Key=f"k{number:02}")
        added = server.admin("user", "create", "on-a-full-volume")
        assert added.returncode == 0, added.stderr
        assert client.list_objects_v2(Bucket="full", Prefix="k")["KeyCount"] == 10
        (volume / "other").unlink()
        until(lambda: refused(client, "more") is None, "it does not store again by itself")
        assert server.get("/readyz")[0] == 200
        assert server.stop() == 0
        verify(tmp_path / "data")
    finally:
        server.kill()
        subprocess.run(["umount", "-l", str(volume)], check=True)


def test_a_device_that_loses_what_it_took_ends_the_node_and_no_acknowledgement(tmp_path):
    """fsyncgate: the device below the file system fails a write-back once; the file system reports it by one sync, marks the
    pages clean, and from then on shows bytes that are on no disk (Rebello et al., ATC 2020)."""
    with ThinVolume(tmp_path, store=96 * MIB, seen=1500 * MIB) as volume:
        data = volume.path / "data"
        server = Server(data, environment=SMALL)
        try:
            server.start()
            prepare(server.client())
            begun = threading.Event()
            begun.set()
            workers = [Worker(n, n, server.client(retries={"total_max_attempts": 1}), begun) for n in range(4)]
            for worker in workers:
                worker.start()
            assert server.wait(120) == 74
            wait_for(workers, 60)
            assert [worker.failure for worker in workers] == [None] * 4
            volume.heal()
            server.start()
            check(server.client(), workers)
            assert sum(worker.acknowledged for worker in workers) > 50
            assert server.stop() == 0
            verify(data)
        finally:
            server.kill()
            shutil.rmtree(data, ignore_errors=True)
