"""Damage in what was sealed: found, listed, given up on request, and the rest goes on. A lost FORMAT."""

import json
import re
import shutil
import time

import pytest
from botocore.exceptions import ClientError
from siltstone import Server, run, verify
from test_objects import KIB


def object_body(number):
    return bytes([number % 251]) * (8 * KIB)


@pytest.fixture
def stopped(tmp_path):
    """A data directory with forty objects in one sealed segment."""
    server = Server(tmp_path / "data").start()
    client = server.client()
    client.create_bucket(Bucket="sealed")
    for number in range(40):
        client.put_object(Bucket="sealed", Key=f"k{number:02}", Body=object_body(number))
    assert server.stop() == 0
    return tmp_path / "data"


def damage(data, wanted):
    """Flips a byte in the middle of the content of an object, wherever it lies in the log."""
    for segment in sorted((data / "log").glob("*.seg")):
        content = segment.read_bytes()
        at = content.find(object_body(wanted))
        if at >= 0:
            with segment.open("r+b") as file:
                file.seek(at + 1000)
                file.write(bytes([content[at + 1000] ^ 0x10]))
            return
    raise AssertionError("no segment holds the object")


def readable(client, number):
    try:
        return client.get_object(Bucket="sealed", Key=f"k{number:02}")["Body"].read() == object_body(number)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] >= 404
    except Exception as error:  # a body that is cut off in the middle
        assert "Connection" in type(error).__name__ or "Read" in type(error).__name__ or "Incomplete" in str(error)
    return False


def test_damage_in_a_sealed_segment_is_listed_given_up_and_never_spreads(stopped):
    damage(stopped, 7)
    assert run("log", "verify", stopped).returncode == 6
    refused = run("log", "repair", stopped)
    assert refused.returncode == 5 and "cannot be read: position" in refused.stdout, refused
    assert run("log", "verify", stopped).returncode == 6, "nothing was changed"
    repaired = run("log", "repair", stopped, "--accept-loss", "-o", "json")
    assert repaired.returncode == 0, repaired.stderr
    report = json.loads(repaired.stdout)
    assert len(report["emptied"]) == 1 and not report["given_up"]
    verify(stopped)
    again = run("log", "repair", stopped)
    assert again.returncode == 0 and "nothing to repair" in again.stdout
    recorded = run("log", "inspect", stopped, "--event", "LogRepaired")
    assert recorded.stdout.count("LogRepaired") == 1
    server = Server(stopped).start()
    client = server.client()
    assert [number for number in range(40) if not readable(client, number)] == [7]
    client.put_object(Bucket="sealed", Key="k07", Body=object_body(7))
    assert readable(client, 7)
    assert server.stop() == 0
    verify(stopped)


def test_what_a_reader_finds_is_reported_and_remembered(stopped):
    damage(stopped, 9)
    server = Server(stopped).start()
    assert not readable(server.client(), 9)
    assert readable(server.client(), 8)
    for _ in range(2):
        deadline = time.monotonic() + 10
        while "siltstone_log_unreadable_ranges 1" not in server.get("/metrics")[1]:
            assert time.monotonic() < deadline
        while not (stopped / "log" / "QUARANTINE").exists():
            assert time.monotonic() < deadline
        server.client().put_object(Bucket="sealed", Key="more", Body=b"its stream goes on")
        server.kill()
        server.start()
    assert server.stop() == 0
    assert run("log", "repair", stopped, "--accept-loss").returncode == 0
    verify(stopped)


def test_a_lost_format_file_is_made_again_and_a_garbled_one_is_refused(stopped):
    kept = (stopped / "FORMAT").read_text()
    (stopped / "FORMAT").unlink()
    verify(stopped)
    assert not (stopped / "FORMAT").exists()
    server = Server(stopped).start()
    assert readable(server.client(), 3)
    assert server.stop() == 0
    assert (stopped / "FORMAT").read_text() == kept
    (stopped / "FORMAT").write_text("siltstone one\n")
    with pytest.raises(RuntimeError, match="not in this form"):
        Server(stopped).start()


def flip(data, wanted):
    """Flips a byte in the frame of the batch that has `wanted` in it; a second time, it is whole again."""
    for segment in sorted((data / "log").glob("*.seg")):
        content = segment.read_bytes()
        at = content.find(wanted)
        if at >= 0:
            at = at // 4096 * 4096 + 9
            with segment.open("r+b") as file:
                file.seek(at)
                file.write(bytes([content[at] ^ 0x10]))
            return
    raise AssertionError("no segment holds the object")


def refusal(call, **arguments):
    with pytest.raises(ClientError) as error:
        call(Bucket="sealed", **arguments)
    return error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_an_end_that_the_log_lost_is_remembered_until_it_is_given_up(stopped):
    """What was acknowledged and then lost from the log: the projections keep it, and nothing is written upon it."""
    large = b"x" * (300 * KIB)
    early = set((stopped / "log").iterdir())
    server = Server(stopped).start()
    server.client().put_object(Bucket="sealed", Key="late-large", Body=large)
    server.client().put_object(Bucket="sealed", Key="late-small", Body=b"y" * 1000)
    assert server.stop() == 0
    for file in set((stopped / "log").iterdir()) - early:
        file.unlink()
    (stopped / "log" / "CHECKPOINT").unlink()
    verified = run("log", "verify", stopped)
    assert verified.returncode == 6 and "durable once" in verified.stdout and "log repair" in verified.stdout, verified
    for _ in range(2):
        server.start()
        client = server.client()
        assert client.get_object(Bucket="sealed", Key="late-large")["Body"].read() == large
        assert client.head_object(Bucket="sealed", Key="late-small")["ContentLength"] == 1000
        assert readable(client, 3)
        assert refusal(client.put_object, Key="late-small", Body=b"z") == 503
        assert refusal(client.delete_object, Key="late-large") == 503
        assert server.stop() == 0
        assert not list(stopped.glob("projections.bad-*"))
    listed = run("log", "repair", stopped)
    assert listed.returncode == 5 and "cannot be read: positions" in listed.stdout, listed
    assert "records of any stream" in listed.stdout
    give_up_and_go_on(stopped)


def test_a_rotten_end_after_a_kill_is_no_torn_append(stopped):
    server = Server(stopped).start()
    server.client().put_object(Bucket="sealed", Key="late-small", Body=b"y" * 1000)
    server.kill()
    flip(stopped, b"late-small")
    assert run("log", "verify", stopped).returncode == 6, "the projections speak of what the log has lost"
    server.start()
    assert readable(server.client(), 3)
    assert refusal(server.client().put_object, Key="late-small", Body=b"z") == 503
    server.kill()
    assert any("siltstone log repair" in line for line in server.log), server.log
    give_up_and_go_on(stopped)


def give_up_and_go_on(data):
    repaired = run("log", "repair", data, "--accept-loss", "-o", "json")
    assert repaired.returncode == 0, repaired.stderr
    assert json.loads(repaired.stdout)["given_up"], repaired.stdout
    verify(data)
    server = Server(data).start()
    client = server.client()
    keys = [found["Key"] for found in client.list_objects_v2(Bucket="sealed")["Contents"]]
    assert keys == [f"k{number:02}" for number in range(40)], "what was given up is gone, and nothing else"
    client.put_object(Bucket="sealed", Key="late-small", Body=b"z")
    assert client.get_object(Bucket="sealed", Key="late-small")["Body"].read() == b"z"
    assert server.stop() == 0
    verify(data)
    assert run("projection", "verify", data).returncode == 0


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("offline", [False, True])
def test_rows_that_are_built_past_damage_are_written_upon_only_after_a_repair(stopped, goes_on, offline):
    """A copy whose record cannot be read for a while keeps its bytes although nobody knows of it meanwhile."""
    large = b"x" * (300 * KIB)
    server = Server(stopped).start()
    client = server.client()
    client.create_bucket(Bucket="beside")
    client.put_object(Bucket="sealed", Key="origin", Body=large)
    client.copy_object(Bucket="sealed", Key="the-copy", CopySource="sealed/origin")
    if goes_on:
        client.put_object(Bucket="sealed", Key="behind", Body=b"b")
    assert server.stop() == 0
    flip(stopped, b"the-copy")
    shutil.rmtree(stopped / "projections")
    if offline:
        assert run("projection", "rebuild", stopped).returncode == 0
    for _ in range(2):
        server.start()
        client = server.client()
        assert client.get_object(Bucket="sealed", Key="origin")["Body"].read() == large
        assert refusal(client.head_object, Key="the-copy") == 404
        assert refusal(client.delete_object, Key="origin") == 503
        client.put_object(Bucket="beside", Key="k", Body=b"its stream goes on")
        assert server.stop() == 0
        (stopped / "log" / "QUARANTINE").unlink()  # anybody may: the rows say it too
    flip(stopped, b"the-copy")  # the disk has come to its senses
    assert run("log", "repair", stopped, "--accept-loss").returncode == 0
    verify(stopped)
    server.start()
    client = server.client()
    client.delete_object(Bucket="sealed", Key="origin")
    assert client.get_object(Bucket="sealed", Key="the-copy")["Body"].read() == large
    assert server.stop() == 0
    assert run("projection", "verify", stopped).returncode == 0


def missing_blobs(server):
    found = re.search(r"^siltstone_content_missing_blobs (\d+)$", server.get("/metrics")[1], re.MULTILINE)
    return int(found[1])


def test_a_pack_that_is_gone_is_reported_after_the_start(stopped):
    large = b"x" * (300 * KIB)
    server = Server(stopped).start()
    server.client().put_object(Bucket="sealed", Key="large", Body=large)
    assert server.stop() == 0
    (pack,) = (stopped / "packs").glob("*.pack")
    kept = pack.rename(stopped.parent / "kept")
    server.start()
    deadline = time.monotonic() + 30
    while missing_blobs(server) != 1:
        assert time.monotonic() < deadline
    with pytest.raises(ClientError) as failed:
        server.client().get_object(Bucket="sealed", Key="large")
    assert failed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert readable(server.client(), 3)
    assert server.stop() == 0
    assert any("a pack is gone" in line and pack.name in line for line in server.log), server.log
    kept.rename(pack)
    server.start()
    assert server.client().get_object(Bucket="sealed", Key="large")["Body"].read() == large
    assert server.stop() == 0
