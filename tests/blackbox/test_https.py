"""SDKs over https, as they come. There they sign no body: it is sent in unsigned chunks with a checksum behind them."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import SSLError
from certificates import issue
from rawsign import Signer, read_answer, request_bytes
from siltstone import ACCESS_KEY, SECRET_KEY, Server, heads
from test_bad_input import UNSIGNED_TRAILER, code
from test_objects import KIB, MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("https")
    server = Server(folder / "data", tls=issue(folder))
    server.start()
    server.client().create_bucket(Bucket="tls")
    yield server
    server.stop()


@pytest.mark.parametrize("size", [0, 1, 64 * KIB + 1, 9 * MIB + 17])
def test_boto3_sends_unsigned_chunks_with_a_trailer_over_http_1(server, size):
    s3, sent, body = server.client(), [], random.Random(size).randbytes(size)
    s3.meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))
    put = s3.put_object(Bucket="tls", Key="k", Body=body)
    assert sent[0]["x-amz-content-sha256"] == UNSIGNED_TRAILER.encode()
    assert sent[0]["x-amz-trailer"] == b"x-amz-checksum-crc32"
    got = s3.get_object(Bucket="tls", Key="k", ChecksumMode="ENABLED")
    assert got["Body"]._raw_stream.version == 11, "HTTP/1.1"
    assert got["Body"].read() == body
    assert (got["ChecksumCRC32"], "ContentEncoding" in got) == (put["ChecksumCRC32"], False)


def aws(server, folder, *words, bundle=True):
    """The AWS CLI with nothing but its endpoint and, unless it shall not believe it, its authority."""
    bundle = ["--ca-bundle", str(server.tls.authority)] if bundle else []
    return subprocess.run(
        [Path(sys.executable).parent / "aws", "--endpoint-url", server.ready["s3"], *bundle, *map(str, words)],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
             "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_aws_cli_with_a_bundle_of_authorities(server, tmp_path):
    source, target, body = tmp_path / "source", tmp_path / "target", random.Random(7).randbytes(20 * MIB)
    source.write_bytes(body)
    put = aws(server, tmp_path, "--debug", "s3", "cp", source, "s3://tls/parts")
    assert put.returncode == 0, put.stderr[-2000:]
    # Each of the parts, and nothing signed beside them.
    framings = re.findall(r"'X-Amz-Content-SHA256': b?'([\w-]+)'", put.stderr)
    assert framings.count(UNSIGNED_TRAILER) >= 3, set(framings)
    got = aws(server, tmp_path, "s3", "cp", "s3://tls/parts", target)
    assert got.returncode == 0 and target.read_bytes() == body, got.stderr
    head = aws(server, tmp_path, "s3api", "head-object", "--bucket", "tls", "--key", "parts", "--checksum-mode", "ENABLED")
    head = json.loads(head.stdout)
    assert (head["ContentLength"], head["ETag"].strip('"')[-2:]) == (20 * MIB, "-3")


def test_clients_that_do_not_know_the_authority_send_nothing(server, tmp_path):
    before = heads(server.data_dir)
    done = aws(server, tmp_path, "s3", "mb", "s3://unseen", bundle=False)
    assert done.returncode != 0 and "certificate verify failed" in done.stderr, done.stderr
    known, server.tls = server.tls, None
    try:
        with pytest.raises(SSLError):
            server.client().create_bucket(Bucket="unseen")
    finally:
        server.tls = known
    assert heads(server.data_dir) == before


@pytest.mark.parametrize("trailer,expected", [
    (b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
    (b"\r\n", "MalformedTrailerError"),
    (b"", "IncompleteBody"),
])
def test_a_wrong_or_missing_trailer_stores_nothing(server, trailer, expected):
    """TLS delivers what was sent; the trailer shows whether that was what was meant."""
    before, body = heads(server.data_dir), b"9\r\nxxxxxxxxx\r\n0\r\n" + trailer
    headers = {
        "content-length": len(body), "content-encoding": "aws-chunked", "x-amz-decoded-content-length": 9,
        "x-amz-trailer": "x-amz-checksum-crc32",
    }  # fmt: skip
    signed = Signer(server.address()).headers("PUT", "/tls/never", UNSIGNED_TRAILER, headers)
    with server.connect() as plain, server.trust().wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(request_bytes("PUT", "/tls/never", signed, body))
        status, _, answer = read_answer(connection)
    assert (status, code(answer)) == (400, expected)
    assert heads(server.data_dir) == before
