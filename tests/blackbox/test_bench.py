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


def test_a_filled_store_is_one_that_serves_and_grows_and_verifies(tmp_path):
    store = tmp_path / "deep" / "store"
    fill = ["bench", "fill", "--dir", store, "--json"]
    first = run(*fill, "--objects", 300, "--progress", "plain")
    assert first.returncode == 0, first.stderr
    assert (json.loads(first.stdout)["written"], json.loads(first.stdout)["objects"]) == (300, 300)
    more = run(*fill, "--objects", 1200)
    assert (json.loads(more.stdout)["written"], json.loads(more.stdout)["objects"]) == (900, 1200)
    again = run(*fill, "--objects", 1200)
    assert json.loads(again.stdout)["written"] == 0
    server = Server(store, environment={
        "SILTSTONE_ROOT_ACCESS_KEY": "bench-root", "SILTSTONE_ROOT_SECRET_KEY": "bench-root-secret"}).start()
    client = server.client("bench-root", "bench-root-secret")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="siltstone-fill")
    keys = [entry["Key"] for page in pages for entry in page["Contents"]]
    assert len(set(keys)) == 1200
    folders = client.list_objects_v2(Bucket="siltstone-fill", Delimiter="/")["CommonPrefixes"]
    assert len(folders) == 100
    body = client.get_object(Bucket="siltstone-fill", Key=keys[700])["Body"].read()
    assert len(body) == 128
    client.put_object(Bucket="siltstone-fill", Key="by a client", Body=b"x")
    assert server.stop() == 0
    assert run("projection", "verify", store).returncode == 0


def test_what_would_fill_the_volume_is_refused_before_anything_is_made(tmp_path):
    refused = run("bench", "fill", "--dir", tmp_path / "store", "--objects", 10**12)
    assert refused.returncode == 5 and "free" in refused.stderr
    assert not (tmp_path / "store").exists()


def test_the_large_store_has_its_rows_in_the_table_and_is_kept(tmp_path):
    arguments = ["--dir", tmp_path / "scratch", "--store", tmp_path / "store", "--objects", 12000]
    done = run("bench", "s3", *arguments, "--seconds", 1, "--rounds", 1, "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["what"]: row for row in json.loads(done.stdout)["rows"]}
    # The small bucket, the large one, and what is left of the one that was thinned.
    assert rows[f"Start, {10_000 + 12_000 + 1_200} objects"]["ours"] > 0
    beside = [f"List {what}" for what in ("1000 keys", "100 prefixes")]
    for what in [f"{page} of 12000" for page in beside] + [f"{page}, 9/10 of 12000 deleted" for page in beside]:
        assert rows[what]["errors"] == 0 and rows[what]["ours"] > 0 and rows[what]["ratio"] > 0, rows[what]
    assert (tmp_path / "store" / "log").is_dir() and not (tmp_path / "scratch").exists()
