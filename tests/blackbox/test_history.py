"""The history window: what is overwritten and deleted is kept for a while, within bounds of bytes, and counted."""

import os
import re
import time
import urllib.request

import pytest
from siltstone import Server
from test_objects import MIB

PACK = 16 * MIB
SIZE = 1 * MIB
LIMIT = 6 * MIB


@pytest.fixture
def bounded(tmp_path):
    """A server that keeps few bytes of history."""
    environment = {"SILTSTONE_CONTENT__PACK_SIZE": "16MiB", "SILTSTONE_HISTORY__MAX_BYTES": "6MiB"}
    server = Server(tmp_path / "data", environment=environment).start()
    server.client().create_bucket(Bucket="soak")
    yield server
    server.kill()


def metric(server, name):
    with urllib.request.urlopen(f"{server.ready['metrics']}/metrics", timeout=10) as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found.group(1)) if found else None


def content(server, kind):
    return metric(server, f'siltstone_content_bytes{{kind="{kind}"}}') or 0


def expired_bytes(server):
    return metric(server, 'siltstone_history_expired_bytes_total{reason="bytes"}') or 0


def packs_bytes(server):
    return sum(file.stat().st_blocks * 512 for file in (server.data_dir / "packs").iterdir())


def eventually(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.1)


def test_overwriting_settles_at_a_bounded_disk_use_and_harms_nothing_that_lives(bounded):
    server, client = bounded, bounded.client()
    kept = os.urandom(SIZE)
    client.put_object(Bucket="soak", Key="kept", Body=kept)
    # Live content, history, and two packs that are open and preallocated.
    bound = 5 * SIZE + LIMIT + 2 * PACK + MIB
    last = {}
    for round_ in range(12):
        for key in range(4):
            last[key] = os.urandom(SIZE)
            client.put_object(Bucket="soak", Key=f"k{key}", Body=last[key])
        if round_ % 4 == 3:
            # Every version that was replaced is counted, or gone.
            replaced = 4 * round_ * SIZE
            settled = lambda: 0 < content(server, "history") <= LIMIT and (
                expired_bytes(server) + content(server, "history") == replaced) and packs_bytes(server) <= bound
            eventually(settled, lambda: (
                expired_bytes(server), content(server, "history"), packs_bytes(server) / MIB))
    assert content(server, "live") == 5 * SIZE, "live content is counted apart from history"
    assert metric(server, 'siltstone_history_window_shortened_total{reason="bytes"}') >= 1
    for _ in range(2):
        client = server.client()
        assert client.get_object(Bucket="soak", Key="kept")["Body"].read() == kept
        for key, body in last.items():
            assert client.get_object(Bucket="soak", Key=f"k{key}")["Body"].read() == body
        assert server.stop() == 0
        # Nothing is open any more: what is left is what is kept.
        assert packs_bytes(server) <= 5 * SIZE + LIMIT + 2 * MIB
        server.start()


def test_what_a_deleted_bucket_held_leaves_the_history_too(bounded):
    server, client = bounded, bounded.client()
    client.create_bucket(Bucket="gone")
    for key in range(10):
        client.put_object(Bucket="gone", Key=f"k{key}", Body=os.urandom(SIZE))
    for key in range(10):
        client.delete_object(Bucket="gone", Key=f"k{key}")
    client.delete_bucket(Bucket="gone")
    eventually(lambda: content(server, "history") == LIMIT, lambda: content(server, "history"))
    assert content(server, "live") == 0


def test_without_days_nothing_is_kept(tmp_path):
    server = Server(tmp_path / "data", environment={"SILTSTONE_HISTORY__WINDOW_DAYS": "0"}).start()
    try:
        client = server.client()
        client.create_bucket(Bucket="soak")
        for _ in range(3):
            client.put_object(Bucket="soak", Key="k", Body=b"x" * SIZE)
        name = 'siltstone_history_expired_versions_total{reason="window"}'
        eventually(lambda: metric(server, name) == 2, lambda: metric(server, name))
        assert metric(server, 'siltstone_history_window_shortened_total{reason="window"}') is None
        assert client.get_object(Bucket="soak", Key="k")["Body"].read() == b"x" * SIZE
    finally:
        server.kill()
