"""The load generator against a real server: its figures are there, and it leaves nothing behind."""

import json

import pytest

from siltstone import ACCESS_KEY, SECRET_KEY, Server, run

CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def bench(server, operation, *arguments, credentials=CREDENTIALS):
    endpoint = ["--endpoint", server.ready["s3"], "--server-pid", server.process.pid]
    return run("bench", operation, *endpoint, *arguments, environment=credentials)


@pytest.mark.parametrize("operation", ["put", "get", "mixed", "list", "delete"])
def test_each_load_succeeds_and_leaves_nothing(shared_server, s3, operation):
    name = Server.unique("bench")
    done = bench(
        shared_server, operation, "--bucket", name, "--requests", 40, "--clients", 4, "--objects", 40, "--json"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["operation"], report["requests"], report["errors"]) == (operation, 40, {})
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    assert sum(bar["requests"] for bar in report["distribution"]) == 40
    assert report["server_cpu_micros_per_request"] >= 0
    assert name not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def test_what_was_there_before_stays(shared_server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="mine", Body=b"x")
    done = bench(shared_server, "put", "--bucket", bucket, "--requests", 5, "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 requests" in done.stdout and "#" in done.stdout
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 6
    assert bench(shared_server, "delete", "--bucket", bucket, "--requests", 5, "--objects", 5).returncode == 0
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 6


def test_refusals_are_counted_by_their_code(shared_server, bucket):
    wrong = {**CREDENTIALS, "AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    done = bench(shared_server, "put", "--bucket", bucket, "--requests", 5, credentials=wrong)
    assert done.returncode == 1 and "403" in done.stderr, done.stdout + done.stderr
    too_large = 5 * 2**30 + 1
    assert run("bench", "put", "--endpoint", "nowhere", "--size", too_large, environment=CREDENTIALS).returncode == 2


def test_a_server_that_is_gone_shows_as_errors_and_not_as_a_success():
    done = run("bench", "put", "--endpoint", "http://127.0.0.1:1", "--requests", 1, environment=CREDENTIALS)
    assert done.returncode == 1 and "ConnectionError" in done.stderr, done.stdout + done.stderr
