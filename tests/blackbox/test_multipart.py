"""Multipart uploads."""

import datetime
import hashlib
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from rawsign import Signer, request_bytes
from test_objects import KIB, MIB, code_of


@pytest.fixture
def upload(s3, bucket):
    return s3.create_multipart_upload(Bucket=bucket, Key="k", ContentType="x/y", Metadata={"m": "1"})["UploadId"]


def put_part(s3, bucket, upload, number, body):
    answer = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3, bucket, upload, parts, key="k"):
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def test_parts_become_an_object(s3, bucket, upload):
    bodies = [os.urandom(5 * MIB), os.urandom(6 * MIB + 1), os.urandom(10)]
    parts = [put_part(s3, bucket, upload, number, body) for number, body in zip((1, 5, 10_000), bodies)]
    put_part(s3, bucket, upload, 7, b"left out")
    listed = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)["Parts"]
    assert [part["PartNumber"] for part in listed] == [1, 5, 7, 10_000]
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == ("404", 404)
    done = complete(s3, bucket, upload, parts)
    md5s = b"".join(hashlib.md5(body).digest() for body in bodies)
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-3"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(bodies)
    assert (got["ContentType"], got["Metadata"], got["ETag"]) == ("x/y", {"m": "1"}, done["ETag"])
    across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MIB - 3}-{5 * MIB + 3}")["Body"].read()
    assert across == b"".join(bodies)[5 * MIB - 3 : 5 * MIB + 4]
    assert complete(s3, bucket, upload, parts)["ETag"] == done["ETag"], "a repeated Complete answers the same"
    another = lambda: complete(s3, bucket, "0" * 32, parts)
    assert code_of(another) == ("NoSuchUpload", 404), "an upload that never was is no repetition"
    assert code_of(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload) == ("NoSuchUpload", 404)


def test_the_transfer_manager_with_its_default_checksums(s3, bucket, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(23 * MIB))
    config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=5 * MIB, max_concurrency=4)
    s3.upload_file(str(source), bucket, "big", Config=config)
    s3.download_file(bucket, "big", str(target), Config=config)
    assert source.read_bytes() == target.read_bytes()


def test_a_part_can_be_sent_again(s3, bucket, upload):
    put_part(s3, bucket, upload, 1, os.urandom(100 * KIB))
    body = os.urandom(200 * KIB)
    part = put_part(s3, bucket, upload, 1, body)
    complete(s3, bucket, upload, [part])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def test_wrong_completions_are_refused_and_change_nothing(s3, bucket, upload):
    s3.put_object(Bucket=bucket, Key="k", Body=b"old")
    small = put_part(s3, bucket, upload, 1, b"small")
    last = put_part(s3, bucket, upload, 2, b"last")
    refused = lambda parts, key="k", upload=upload: code_of(complete, s3=s3, bucket=bucket, upload=upload, parts=parts, key=key)
    assert refused([small, last]) == ("EntityTooSmall", 400)
    assert refused([last, small]) == ("InvalidPartOrder", 400)
    assert refused([{**last, "ETag": small["ETag"]}]) == ("InvalidPart", 400)
    assert refused([{**last, "PartNumber": 3}]) == ("InvalidPart", 400)
    assert refused([last], key="another key") == ("NoSuchUpload", 404)
    assert refused([last], upload="0" * 32) == ("NoSuchUpload", 404)
    assert refused([])[0] == "MalformedXML"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"
    complete(s3, bucket, upload, [last])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"last"


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_have_bounds(s3, bucket, upload, number):
    call = lambda: s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=b"")
    assert code_of(call) == ("InvalidArgument", 400)


def test_an_aborted_upload_is_gone(s3, bucket, upload):
    put_part(s3, bucket, upload, 1, os.urandom(MIB))
    assert [entry["UploadId"] for entry in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    assert code_of(put_part, s3=s3, bucket=bucket, upload=upload, number=1, body=b"") == ("NoSuchUpload", 404)
    gone = lambda: s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert code_of(gone) == ("NoSuchUpload", 404)


def test_space_of_aborted_uploads_is_given_back_at_once(own_server):
    s3 = own_server.client()
    s3.create_bucket(Bucket="space")
    packs = own_server.data_dir / "packs"
    used = lambda: sum(file.stat().st_blocks * 512 for file in packs.iterdir())
    upload = s3.create_multipart_upload(Bucket="space", Key="k")["UploadId"]
    put_part(s3, "space", upload, 1, os.urandom(MIB))
    before = used()
    for _ in range(3):
        for number in range(2, 12):
            put_part(s3, "space", upload, number, os.urandom(6 * MIB))
        s3.abort_multipart_upload(Bucket="space", Key="k", UploadId=upload)
        upload = s3.create_multipart_upload(Bucket="space", Key="k")["UploadId"]
        s3.put_object(Bucket="space", Key="flush", Body=b"x")
    written = 3 * 10 * 6 * MIB
    assert used() < before + written / 4


def test_of_racing_uploads_that_want_to_be_the_first_one_is(s3, bucket):
    bodies = [os.urandom(100) for _ in range(8)]
    uploads = [s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"] for _ in bodies]
    parts = [put_part(s3, bucket, upload, 1, body) for upload, body in zip(uploads, bodies)]

    def finish(number):
        try:
            s3.complete_multipart_upload(
                Bucket=bucket, Key="k", UploadId=uploads[number], MultipartUpload={"Parts": [parts[number]]}, IfNoneMatch="*")
            return number
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")
            return None

    with ThreadPoolExecutor(len(bodies)) as pool:
        winners = [number for number in pool.map(finish, range(len(bodies))) if number is not None]
    assert len(winners) == 1
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bodies[winners[0]]
    left = {entry["UploadId"] for entry in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])}
    assert left == {upload for number, upload in enumerate(uploads) if number not in winners}


def test_an_upload_that_is_completed_at_once_with_different_parts_becomes_one_of_them(s3, bucket, upload):
    bodies = {1: os.urandom(5 * MIB), 2: os.urandom(5 * MIB), 3: os.urandom(10)}
    parts = {number: put_part(s3, bucket, upload, number, body) for number, body in bodies.items()}
    lists = [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3), (1, 2, 3)]

    def finish(numbers):
        try:
            return complete(s3, bucket, upload, [parts[number] for number in numbers])["ETag"]
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchUpload"
            return None

    with ThreadPoolExecutor(len(lists)) as pool:
        etags = list(pool.map(finish, lists))
    won = {numbers for numbers, etag in zip(lists, etags) if etag}
    assert len(won) == 1 and len({etag for etag in etags if etag}) == 1
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == b"".join(bodies[number] for number in next(iter(won)))
    assert got["ETag"] in etags


def test_an_abort_may_name_when_its_upload_began(s3, bucket, upload):
    began = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    abort = lambda at: s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, IfMatchInitiatedTime=at)
    wrong = lambda: abort(began - datetime.timedelta(seconds=1))
    assert code_of(wrong) == ("PreconditionFailed", 412)
    s3.list_parts(Bucket=bucket, Key="k", UploadId=upload)
    abort(began)
    assert code_of(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload) == ("NoSuchUpload", 404)


def test_a_completion_that_takes_long_is_answered_with_white_space_first(own_server):
    """The disk is slow for once: a sync takes longer than a client is left without a word."""
    s3 = own_server.client()
    s3.create_bucket(Bucket="slow")
    upload = s3.create_multipart_upload(Bucket="slow", Key="k")["UploadId"]
    part = put_part(s3, "slow", upload, 1, b"slow")
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part['ETag']}</ETag></Part></CompleteMultipartUpload>"
    body, query = document.encode(), f"uploadId={upload}"
    path = "/slow/k"
    signed = Signer(own_server.address()).headers(
        "POST", path, hashlib.sha256(body).hexdigest(), {"content-length": len(body)}, query=query)
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=7s:when=1",
         "-p", str(own_server.process.pid)],
        stderr=subprocess.PIPE, text=True,
    )
    try:
        assert "attached" in tracer.stderr.readline()
        with own_server.connect(seconds=60) as connection:
            connection.sendall(request_bytes("POST", f"{path}?{query}", signed, body))
            stream = connection.makefile("rb")
            assert stream.readline().split()[1] == b"200"
            head = b"".join(iter(stream.readline, b"\r\n"))
            assert b"transfer-encoding: chunked" in head.lower()
            pieces = []
            while size := int(stream.readline(), 16):
                pieces.append(stream.read(size))
                stream.readline()
    finally:
        tracer.terminate()
        tracer.wait()
    answer = b"".join(pieces)
    assert len(pieces) > 1 and re.match(rb"<\?xml[^>]*\?>\s*<CompleteMultipartUploadResult", answer), answer
    assert s3.get_object(Bucket="slow", Key="k")["Body"].read() == b"slow"
