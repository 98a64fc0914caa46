"""Content whose record a crash cut off. Needs ptrace, as root: a machine that lacks it fails here."""

import os
import struct
import subprocess
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from siltstone import Server, verify
from test_objects import MIB


def pack_bytes(server):
    return sum(file.stat().st_blocks * 512 for file in (server.data_dir / "packs").iterdir())


def metric(server, name):
    page = server.get("/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in page if line.startswith(f"siltstone_{name} "))


def wait_for(condition, what):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def last_batch_is_a_marker(segment):
    """Whether the newest batch of a segment (docs/architecture.md, Batch) has no records: an idle log's last one."""
    pages = segment.read_bytes()
    frames = [pages[at : at + 42] for at in range(0, len(pages), 4096) if pages.startswith(b"SBAT", at)]
    _, records = max(struct.unpack_from("<Q16xH", frame, 16) for frame in frames)
    return records == 0


def test_content_whose_record_a_kill_cut_off_is_given_back_after_the_next_start(tmp_path):
    server = Server(tmp_path / "data").start()
    client = server.client(retries={"total_max_attempts": 1})
    client.create_bucket(Bucket="sweep")
    named = os.urandom(3 * MIB)
    client.put_object(Bucket="sweep", Key="named", Body=named)
    # The content is durable when the server turns to the log. The write does not happen, and the process ends there. The
    # log writes nothing else before: its marker is there, and it is far from its next segment.
    [segment] = (tmp_path / "data" / "log").glob("*.seg")
    wait_for(lambda: last_batch_is_a_marker(segment), "an idle log is not marked")
    tracer = subprocess.Popen(
        ["strace", "-f", "-P", str(segment), "-e", "trace=pwritev", "-e", "inject=pwritev:error=EIO:signal=SIGKILL",
         "-p", str(server.process.pid)],
        stderr=subprocess.PIPE, text=True,
    )
    assert "attached" in tracer.stderr.readline()
    try:
        with pytest.raises((ClientError, BotoCoreError)):
            client.put_object(Bucket="sweep", Key="lost", Body=os.urandom(9 * MIB))
        assert server.wait(30) == -9
    finally:
        tracer.kill()
        tracer.communicate()
        server.kill()
    server.start()
    try:
        wait_for(lambda: metric(server, "sweep_complete") == 1, "the sweep does not end")
        assert (metric(server, "swept_blobs_total"), metric(server, "swept_bytes_total")) == (1, 9 * MIB)
        wait_for(lambda: pack_bytes(server) <= 3 * MIB + MIB // 4, "packs keep what nothing names")
        assert server.client().get_object(Bucket="sweep", Key="named")["Body"].read() == named
        assert server.stop() == 0
        server.start()
        wait_for(lambda: metric(server, "sweep_complete") == 1, "the sweep does not end")
        assert metric(server, "swept_blobs_total") == 0
        assert server.client().get_object(Bucket="sweep", Key="named")["Body"].read() == named
        assert server.stop() == 0
    finally:
        server.kill()
    verify(tmp_path / "data")
