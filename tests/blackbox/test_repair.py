"""Damage in what was sealed: found, listed, given up on request, and the rest goes on. A lost FORMAT."""

import json
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
    assert refused.returncode == 5 and "cannot be read: positions" in refused.stdout, refused
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
