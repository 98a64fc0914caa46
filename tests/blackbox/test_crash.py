"""kill -9 under load, with a journal of what was acknowledged. Rounds: SILTSTONE_CRASH_ROUNDS (20)."""

import os
import random
import shutil
import threading
import time

import pytest
from crash_workload import Worker, check, prepare, wait_for
from siltstone import Server, digest, run, verify

ROUNDS = int(os.environ.get("SILTSTONE_CRASH_ROUNDS", "20"))
WORKERS = 6


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path):
    seed = int(os.environ.get("SILTSTONE_CRASH_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"SILTSTONE_CRASH_SEED={seed}")
    dice = random.Random(seed)
    server = Server(tmp_path / "data").start()
    workers = [Worker(number, dice.random()) for number in range(WORKERS)]
    prepare(server.client())
    acknowledged = 0
    for _ in range(ROUNDS):
        killed = threading.Event()
        # No retries: each answer is seen, and a repeated call would blur which one was acknowledged.
        workers = [
            Worker(before.number, dice.random(), server.client(retries={"total_max_attempts": 1}), killed, before)
            for before in workers
        ]
        for worker in workers:
            worker.start()
        failed_early = wait_for(workers, dice.uniform(0.2, 1.5))
        assert server.process.poll() is None, f"the server ended by itself:\n{''.join(server.log)}"
        killed.set()
        server.kill()
        for worker in workers:
            worker.join(120)
            assert not worker.is_alive(), f"{worker.name} hangs"
            if worker.failure is not None:
                raise AssertionError(f"{worker.name}, before the kill") from worker.failure
        assert not failed_early, f"{failed_early} ended before the kill"
        acknowledged += sum(worker.acknowledged for worker in workers)
        began = time.monotonic()
        server.start()
        print(f"ready again after {time.monotonic() - began:.2f} s")
        check(server.client(), workers)
    print(f"{ROUNDS} rounds, {acknowledged} acknowledged, 0 lost")
    assert acknowledged > ROUNDS * WORKERS
    assert server.stop() == 0
    verify(tmp_path / "data")
    checked = run("projection", "verify", tmp_path / "data")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def fill(server, count=300):
    client = server.client()
    client.create_bucket(Bucket="crash")
    for number in range(count):
        body = bytes([number % 256]) * (number * 400)
        client.put_object(Bucket="crash", Key=f"k{number % 200:03}", Body=body)
    for number in range(0, 200, 7):
        client.delete_object(Bucket="crash", Key=f"k{number:03}")


def fill_with_history(server):
    """All that a fold can get wrong: overwrites, deletes, uploads completed, aborted and under way, parts sent twice,
    buckets deleted and made again under the same name, users and keys that came and went."""
    fill(server)
    client = server.client()
    for turn in range(2):
        client.create_bucket(Bucket="again")
        for number in range(5):
            client.put_object(Bucket="again", Key=f"k{number}", Body=bytes([turn]) * (number * 40_000))
        upload = client.create_multipart_upload(Bucket="again", Key="cut-short")["UploadId"]
        client.upload_part(Bucket="again", Key="cut-short", UploadId=upload, PartNumber=1, Body=b"x" * 100_000)
        if turn == 0:
            # The first incarnation ends with an upload under way, which ends with it.
            for number in range(5):
                client.delete_object(Bucket="again", Key=f"k{number}")
            client.delete_bucket(Bucket="again")
    for key, end in (("done", "complete"), ("given-up", "abort"), ("under-way", None), ("done", "complete")):
        where = {"Bucket": "crash", "Key": key}
        where["UploadId"] = client.create_multipart_upload(**where, Metadata={"end": str(end)})["UploadId"]
        parts = []
        for number, size in ((1, 5 << 20), (1, 5 << 20), (2, 70_000)):
            etag = client.upload_part(**where, PartNumber=number, Body=os.urandom(size))["ETag"]
            parts = [part for part in parts if part["PartNumber"] != number] + [{"PartNumber": number, "ETag": etag}]
        if end == "complete":
            client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        elif end == "abort":
            client.abort_multipart_upload(**where)
    for words in (("user", "create", "gone"), ("key", "create", "--user", "gone"), ("policy", "attach", "readonly", "--user", "gone"),
                  ("user", "rm", "gone", "--yes"), ("user", "create", "stays")):
        done = server.admin(*words)
        assert done.returncode == 0, (words, done.stderr)


def everything_seen(server):
    """What clients can see of all buckets and uploads."""
    client, seen = server.client(), {}
    for bucket in (entry["Name"] for entry in client.list_buckets()["Buckets"]):
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        parts = [client.list_parts(Bucket=bucket, Key=each["Key"], UploadId=each["UploadId"])["Parts"] for each in uploads]
        seen[bucket] = client.list_objects_v2(Bucket=bucket).get("Contents"), uploads, parts
    return seen


@pytest.mark.parametrize("killed", [True, False])
def test_deleted_projections_come_back_to_the_same_digest(own_server, killed):
    fill_with_history(own_server)
    seen = everything_seen(own_server)
    assert [len(seen[bucket][1]) for bucket in ("again", "crash")] == [1, 1]
    own_server.kill() if killed else own_server.stop()
    before = digest(own_server.data_dir)
    shutil.rmtree(own_server.data_dir / "projections")
    own_server.start()
    assert everything_seen(own_server) == seen
    own_server.stop()
    after = digest(own_server.data_dir)
    # The start itself is a record in `system`; what the buckets hold must be the same to the bit.
    assert after["state"] == before["state"]
    assert run("projection", "verify", own_server.data_dir).returncode == 0


def test_everything_but_log_packs_and_keys_can_be_deleted(own_server):
    fill(own_server, 100)
    listing = own_server.client().list_objects_v2(Bucket="crash")["Contents"]
    own_server.kill()
    for name in ("projections", "snapshots"):
        shutil.rmtree(own_server.data_dir / name, ignore_errors=True)
    for witness in ("CHECKPOINT", "QUARANTINE"):
        (own_server.data_dir / "log" / witness).unlink(missing_ok=True)
    own_server.start()
    client = own_server.client()
    assert client.list_objects_v2(Bucket="crash")["Contents"] == listing
    for entry in listing:
        assert len(client.get_object(Bucket="crash", Key=entry["Key"])["Body"].read()) == entry["Size"]


def test_a_flipped_bit_in_the_log_is_found_and_never_truncated(own_server):
    fill(own_server)
    own_server.stop()
    segment = sorted((own_server.data_dir / "log").glob("*.seg"))[0]
    size = segment.stat().st_size
    with segment.open("r+b") as file:
        file.seek(size // 3)
        byte = file.read(1)[0]
        file.seek(size // 3)
        file.write(bytes([byte ^ 0x10]))
    found = run("log", "verify", own_server.data_dir)
    assert found.returncode == 6, found.stdout + found.stderr
    try:
        own_server.start()
        own_server.stop()
    except RuntimeError:
        pass  # refusing to start is right too; losing bytes is not
    assert segment.exists() and segment.stat().st_size == size
    assert run("log", "verify", own_server.data_dir).returncode == 6
