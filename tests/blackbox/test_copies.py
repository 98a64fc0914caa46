"""Copies of objects and into parts."""

import base64
import hashlib
import io
import os
from urllib.parse import quote

import pytest
from boto3.s3.transfer import TransferConfig
from siltstone import Server
from test_objects import KIB, MIB, ODD_KEYS, code_of
from test_program import created_key


@pytest.fixture
def other(s3):
    name = Server.unique("other")
    s3.create_bucket(Bucket=name)
    yield name
    for entry in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=entry["Key"])
    s3.delete_bucket(Bucket=name)


def body_of(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("size", [0, 1, 64 * KIB, 64 * KIB + 1, 6 * MIB + 17])
def test_a_copy_has_bytes_metadata_and_tags_of_its_source(s3, bucket, other, size):
    body = os.urandom(size)
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    s3.put_object(
        Bucket=bucket, Key="source", Body=body, ContentType="text/x", Metadata={"m": "1"}, Tagging="a=b",
        ChecksumAlgorithm="SHA256",
    )
    sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
    for target in (bucket, other):
        copied = s3.copy_object(Bucket=target, Key="copy", CopySource={"Bucket": bucket, "Key": "source"})
        result = copied["CopyObjectResult"]
        assert (result["ETag"], result["ChecksumSHA256"], result["ChecksumType"]) == (etag, sha256, "FULL_OBJECT")
        got = s3.get_object(Bucket=target, Key="copy", ChecksumMode="ENABLED")
        assert got["Body"].read() == body
        assert (got["ContentType"], got["Metadata"], got["TagCount"]) == ("text/x", {"m": "1"}, 1)
        assert (got["ETag"], got["ChecksumSHA256"]) == (etag, sha256)
        assert result["LastModified"].replace(microsecond=0) == got["LastModified"]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_copied(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    for source in ({"Bucket": bucket, "Key": key}, f"/{bucket}/{key}", f"{bucket}/{key}"):
        s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
        assert body_of(s3, bucket, "copy") == key.encode()
    s3.delete_object(Bucket=bucket, Key=key)


def test_a_copy_takes_what_its_directives_say(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentType="a/b", Metadata={"m": "1"}, Tagging="a=b")
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(
        Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "2"}, CacheControl="no-store"
    )
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["Metadata"], head["ContentType"], head["CacheControl"]) == ({"n": "2"}, "binary/octet-stream", "no-store")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "b"}]
    s3.copy_object(Bucket=bucket, Key="c", CopySource=source, TaggingDirective="REPLACE", Tagging="c=d")
    assert s3.get_object_tagging(Bucket=bucket, Key="c")["TagSet"] == [{"Key": "c", "Value": "d"}]
    assert s3.head_object(Bucket=bucket, Key="c")["Metadata"] == {"n": "2"}
    itself = lambda **more: s3.copy_object(Bucket=bucket, Key="k", CopySource=source, **more)
    assert code_of(itself) == ("InvalidRequest", 400)
    assert code_of(itself, MetadataDirective="KEEP") == ("InvalidArgument", 400)
    assert code_of(itself, TaggingDirective="KEEP") == ("InvalidArgument", 400)


def test_conditions_on_source_and_target(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    copy = lambda key="c", **more: s3.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": "k"}, **more)
    failed = ("PreconditionFailed", 412)
    assert code_of(copy, CopySourceIfMatch='"other"') == failed
    assert code_of(copy, CopySourceIfNoneMatch=etag) == failed
    assert code_of(copy, CopySourceIfModifiedSince=modified) == failed
    assert code_of(copy, CopySourceIfUnmodifiedSince="2009-10-12T17:50:30Z") == failed
    assert code_of(s3.head_object, Bucket=bucket, Key="c") == ("404", 404)
    copy(CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince="2009-10-12T17:50:30Z")
    assert code_of(copy, CopySourceIfNoneMatch=etag, CopySourceIfModifiedSince="2009-10-12T17:50:30Z") == failed
    assert code_of(copy, IfNoneMatch="*") == failed
    assert code_of(copy, IfMatch='"other"') == failed
    assert code_of(copy, key="none", IfMatch=etag) == ("NoSuchKey", 404)
    copy(IfMatch=etag)


@pytest.mark.parametrize(
    "source, expected",
    [
        ("{bucket}/none", ("NoSuchKey", 404)),
        ("no-such-bucket/k", ("NoSuchBucket", 404)),
        ("Wrong_Bucket/k", ("InvalidArgument", 400)),
        ("{bucket}", ("InvalidArgument", 400)),
        ("{bucket}/k?versionId=nonsense", ("InvalidArgument", 400)),
        ("{bucket}/k?versionId=" + "0" * 32, ("NoSuchVersion", 404)),
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k", ("NotImplemented", 501)),
    ],
)
def test_sources_that_are_none(s3, bucket, source, expected):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    call = lambda: s3.copy_object(Bucket=bucket, Key="c", CopySource=source.format(bucket=bucket))
    assert code_of(call) == expected
    assert code_of(s3.head_object, Bucket=bucket, Key="c") == ("404", 404)


def test_what_this_server_does_not_do_is_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    copy = lambda **more: s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k", **more)
    key = base64.b64encode(b"k" * 32).decode()
    assert code_of(copy, CopySourceSSECustomerAlgorithm="AES256", CopySourceSSECustomerKey=key) == ("InvalidRequest", 400)
    assert code_of(copy, ServerSideEncryption="aws:kms")[1] in (400, 501)
    assert code_of(copy, ChecksumAlgorithm="MD4") == ("InvalidRequest", 400)
    assert code_of(copy, ExpectedSourceBucketOwner="nobody") == ("AccessDenied", 403)
    assert code_of(s3.put_object, Bucket=bucket, Key="c", Body=b"x", WriteOffsetBytes=0) == ("NotImplemented", 501)
    rename = lambda: s3.rename_object(Bucket=bucket, Key="c", RenameSource=f"/{bucket}/k")
    assert code_of(rename) == ("NotImplemented", 501)
    assert code_of(s3.head_object, Bucket=bucket, Key="c") == ("404", 404)


def test_a_source_that_the_caller_may_not_read_is_not_copied(own_server):
    root = own_server.client()
    root.create_bucket(Bucket="private")
    root.put_object(Bucket="private", Key="k", Body=b"secret")
    upload = root.create_multipart_upload(Bucket="private", Key="m")["UploadId"]
    own_server.admin("user", "create", "writer")
    assert own_server.admin("policy", "attach", "writeonly", "--user", "writer").returncode == 0
    key = created_key(own_server.admin("key", "create", "--user", "writer", "--json"))
    writer = own_server.client(key["access_key"], key["secret_key"])
    writer.put_object(Bucket="private", Key="mine", Body=b"x")
    copy = lambda: writer.copy_object(Bucket="private", Key="c", CopySource="private/k")
    part = lambda: writer.upload_part_copy(
        Bucket="private", Key="m", UploadId=upload, PartNumber=1, CopySource="private/k"
    )
    assert code_of(copy) == code_of(part) == ("AccessDenied", 403)
    assert own_server.admin("policy", "attach", "readwrite", "--user", "writer").returncode == 0
    copy()
    assert body_of(root, "private", "c") == b"secret"


def test_copies_share_their_bytes_within_a_bucket(own_server):
    s3 = own_server.client()
    s3.create_bucket(Bucket="space")
    body = os.urandom(20 * MIB)
    s3.put_object(Bucket="space", Key="k", Body=body)
    before = own_server.allocated_bytes()
    for number in range(10):
        s3.copy_object(Bucket="space", Key=f"copy-{number}", CopySource="space/k")
    assert own_server.allocated_bytes() < before + 10 * MIB
    s3.delete_object(Bucket="space", Key="k")
    own_server.kill()
    own_server.start()
    assert body_of(own_server.client(), "space", "copy-7") == body


def test_parts_are_copied(s3, bucket, other):
    body = os.urandom(11 * MIB)
    s3.upload_fileobj(
        io.BytesIO(body), bucket, "source",
        Config=TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB),
    )
    for target in (bucket, other):
        upload = s3.create_multipart_upload(Bucket=target, Key="k", ChecksumAlgorithm="CRC32C")["UploadId"]
        copy = lambda number, **more: s3.upload_part_copy(
            Bucket=target, Key="k", UploadId=upload, PartNumber=number, CopySource={"Bucket": bucket, "Key": "source"}, **more
        )
        ranges = [(3, 5 * MIB + 2), (0, 5 * MIB - 1), (11 * MIB - 1, 11 * MIB - 1)]
        parts = []
        for number, (first, last) in enumerate(ranges, 1):
            result = copy(number, CopySourceRange=f"bytes={first}-{last}")["CopyPartResult"]
            assert result["ETag"] == f'"{hashlib.md5(body[first : last + 1]).hexdigest()}"'
            parts.append({"PartNumber": number, "ETag": result["ETag"], "ChecksumCRC32C": result["ChecksumCRC32C"]})
        result = copy(4)["CopyPartResult"]
        for wrong in ("bytes=0-", "bytes=-5", "0-5", "bytes=5-4", f"bytes=0-{11 * MIB}", "bytes=0-1,3-4"):
            assert code_of(copy, number=5, CopySourceRange=wrong) == ("InvalidArgument", 400), wrong
        assert code_of(copy, number=0) == ("InvalidArgument", 400)
        assert code_of(copy, number=5, CopySourceIfMatch='"x"') == ("PreconditionFailed", 412)
        done = s3.complete_multipart_upload(Bucket=target, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
        assert done["ETag"].endswith('-3"')
        assert body_of(s3, target, "k") == b"".join(body[first : last + 1] for first, last in ranges)
    gone = lambda: s3.upload_part_copy(Bucket=bucket, Key="k", UploadId="0" * 32, PartNumber=1, CopySource=f"{bucket}/source")
    assert code_of(gone) == ("NoSuchUpload", 404)


def test_the_transfer_manager_copies_in_parts(s3, bucket, other):
    body = os.urandom(17 * MIB)
    s3.put_object(Bucket=bucket, Key="source", Body=body)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    for target in (bucket, other):
        s3.copy({"Bucket": bucket, "Key": "source"}, target, "k", Config=config)
        assert body_of(s3, target, "k") == body


def test_a_copy_of_an_upload_has_the_md5_of_its_bytes(s3, bucket):
    body = os.urandom(6 * MIB)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.upload_fileobj(io.BytesIO(body), bucket, "source", Config=config)
    assert s3.head_object(Bucket=bucket, Key="source")["ETag"].endswith('-2"')
    result = s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/source")["CopyObjectResult"]
    assert result["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert result["ChecksumType"] == "FULL_OBJECT"
    assert body_of(s3, bucket, "c") == body


def test_raw_sources_are_decoded_as_a_query_is(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b+c", Body=b"x")
    source = f"{bucket}/{quote('a b+c', safe='')}"
    assert "%2B" in source and "%20" in source
    s3.copy_object(Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "a b+c"})
    assert body_of(s3, bucket, "c") == b"x"
