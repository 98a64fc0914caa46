"""Objects as boto3 sees them."""

import base64
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

KIB, MIB = 1024, 1024 * 1024

ODD_KEYS = [
    "a", "..", "../..", "//", "/leading", "trailing/", "a//b", "a/../b", "sp ace", "plus+plus", "per%cent%2F",
    "ключ/日本/🪨", "back\\slash", "quote\"'&<>", "~!@#$^*()=,;:?[]{}|", ".metadata", "tab\tkey", "k" * 1024,
]


def code_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


@pytest.mark.parametrize("size", [0, 1, 4 * KIB, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, MIB, 9 * MIB + 17])
def test_what_is_put_is_got_back(s3, bucket, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ContentType="text/x", Metadata={"one": "1", "two": "b c"})
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    assert put["ETag"] == got["ETag"] == etag
    assert (got["ContentLength"], got["ContentType"]) == (size, "text/x")
    assert got["Metadata"] == {"one": "1", "two": "b c"}
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["ETag"]) == (size, etag)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys_are_ordinary(s3, bucket, key):
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    listed = s3.list_objects_v2(Bucket=bucket)
    assert [entry["Key"] for entry in listed["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_keys_that_are_too_long_are_refused(s3, bucket):
    assert code_of(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == ("KeyTooLongError", 400)


@pytest.mark.parametrize("size", [1000, 300 * KIB, 5 * MIB])
def test_ranges(s3, bucket, size):
    body = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="k", Body=body)

    def ranged(header):
        answer = s3.get_object(Bucket=bucket, Key="k", Range=header)
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("ContentRange"), answer["Body"].read()

    last = size - 1
    assert ranged("bytes=0-0") == (206, f"bytes 0-0/{size}", body[:1])
    assert ranged("bytes=10-99") == (206, f"bytes 10-99/{size}", body[10:100])
    assert ranged(f"bytes={size // 2}-") == (206, f"bytes {size // 2}-{last}/{size}", body[size // 2 :])
    assert ranged("bytes=-7") == (206, f"bytes {size - 7}-{last}/{size}", body[-7:])
    assert ranged(f"bytes=5-{size * 2}") == (206, f"bytes 5-{last}/{size}", body[5:])
    assert ranged(f"bytes=-{size * 2}") == (206, f"bytes 0-{last}/{size}", body)
    assert ranged("bytes=nonsense") == (200, None, body)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", Range=f"bytes={size}-") == ("InvalidRange", 416)


def test_conditional_reads(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"abc")
    etag = put["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    get = lambda **conditions: s3.get_object(Bucket=bucket, Key="k", **conditions)["Body"].read()
    assert get(IfMatch=etag) == get(IfNoneMatch='"other"') == get(IfUnmodifiedSince=modified) == b"abc"
    assert code_of(get, IfMatch='"other"') == ("PreconditionFailed", 412)
    assert code_of(get, IfNoneMatch=etag) == ("304", 304)
    assert code_of(get, IfModifiedSince=modified) == ("304", 304)
    assert get(IfMatch=etag, IfUnmodifiedSince=modified.replace(year=2001)) == b"abc", "If-Match goes before the date"


def test_conditional_writes(s3, bucket):
    put = lambda **conditions: s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(8), **conditions)["ETag"]
    first = put(IfNoneMatch="*")
    assert code_of(put, IfNoneMatch="*") == ("PreconditionFailed", 412)
    second = put(IfMatch=first)
    assert code_of(put, IfMatch=first) == ("PreconditionFailed", 412)
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"] == second
    missing = lambda: s3.put_object(Bucket=bucket, Key="missing", Body=b"", IfMatch=first)
    assert code_of(missing) == ("NoSuchKey", 404)


@pytest.mark.parametrize("size", [100, 200 * KIB])
def test_racing_creations_have_one_winner(s3, bucket, size):
    def create(number):
        try:
            s3.put_object(Bucket=bucket, Key="race", Body=bytes([number]) * size, IfNoneMatch="*")
            return number
        except ClientError as error:
            assert error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict")
            return None

    with ThreadPoolExecutor(16) as pool:
        winners = [number for number in pool.map(create, range(16)) if number is not None]
    assert len(winners) == 1
    assert s3.get_object(Bucket=bucket, Key="race")["Body"].read() == bytes(winners) * size


def test_a_missing_key_or_bucket_is_named(s3, bucket):
    assert code_of(s3.get_object, Bucket=bucket, Key="none") == ("NoSuchKey", 404)
    assert code_of(s3.head_object, Bucket=bucket, Key="none") == ("404", 404)
    assert code_of(s3.get_object, Bucket="no-such-bucket-here", Key="none") == ("NoSuchBucket", 404)
    assert code_of(s3.put_object, Bucket="no-such-bucket-here", Key="none", Body=b"") == ("NoSuchBucket", 404)
    s3.delete_object(Bucket=bucket, Key="none")


def test_delete_many(s3, bucket):
    keys = [f"dir/{number:04}" for number in range(250)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"), keys))
    objects = [{"Key": key} for key in keys[:200]] + [{"Key": "never was"}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
    assert [entry["Key"] for entry in answer["Deleted"]] == [entry["Key"] for entry in objects]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": keys[200]}], "Quiet": True})
    assert "Deleted" not in quiet and "Errors" not in quiet
    left = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [entry["Key"] for entry in left] == keys[201:]


def test_racing_deletions_of_the_same_keys_all_succeed_and_leave_the_rest(s3, bucket):
    keys = [f"k{number:03}" for number in range(120)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=b"x"), keys))
        overlapping = [keys[start : start + 60] for start in range(0, 60, 10)]
        delete = lambda named: s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in named]})
        for named, answer in zip(overlapping, pool.map(delete, overlapping)):
            assert not answer.get("Errors") and [entry["Key"] for entry in answer["Deleted"]] == named
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]] == keys[110:]


def test_an_etag_that_must_not_be_there_is_refused(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    put = lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfNoneMatch=etag)
    copy = lambda: s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", IfNoneMatch=etag)
    assert code_of(put) == code_of(copy) == ("NotImplemented", 501)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    assert code_of(s3.head_object, Bucket=bucket, Key="copy") == ("404", 404)


@pytest.mark.parametrize("encoding", ["gzip, br", "gzip,br", "gzip , br"])
def test_the_encoding_comes_back_as_it_was_sent(s3, bucket, encoding):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ContentEncoding=encoding)
    assert s3.head_object(Bucket=bucket, Key="k")["ContentEncoding"] == encoding


@pytest.mark.parametrize("listing", ["list_objects", "list_objects_v2", "list_object_versions"])
def test_listings_know_which_attributes_they_can_tell(s3, bucket, listing):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    told = getattr(s3, listing)(Bucket=bucket, OptionalObjectAttributes=["RestoreStatus"])
    entry = told["Versions" if listing == "list_object_versions" else "Contents"][0]
    assert entry["Key"] == "k" and "RestoreStatus" not in entry, "nothing here was ever archived"
    unknown = lambda: getattr(s3, listing)(Bucket=bucket, OptionalObjectAttributes=["Colour"])
    assert code_of(unknown) == ("InvalidArgument", 400)


def test_content_md5_is_verified(s3, bucket):
    md5 = lambda body: base64.b64encode(hashlib.md5(body).digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=b"good", ContentMD5=md5(b"good"))
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"bad", ContentMD5=md5(b"x")) == ("BadDigest", 400)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"bad", ContentMD5="!!") == ("InvalidDigest", 400)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"good"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_checksums_are_stored_and_returned(s3, bucket, algorithm, size):
    put = s3.put_object(Bucket=bucket, Key="k", Body=os.urandom(size), ChecksumAlgorithm=algorithm)
    field = f"Checksum{algorithm}"
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head[field] == put[field] and head["ChecksumType"] == "FULL_OBJECT"
    assert field not in s3.head_object(Bucket=bucket, Key="k")
    s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read()


@pytest.mark.parametrize("field,value", [("ChecksumCRC32", "AAAAAA=="), ("ChecksumSHA256", base64.b64encode(bytes(32)).decode()), ("ChecksumCRC64NVME", base64.b64encode(bytes(8)).decode())])
def test_a_wrong_checksum_stores_nothing(s3, bucket, field, value):
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"body", **{field: value}) == ("BadDigest", 400)
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == ("404", 404)


@pytest.mark.parametrize("arguments", [
    {"ServerSideEncryption": "AES256"}, {"ACL": "public-read"}, {"StorageClass": "GLACIER"},
    {"ObjectLockLegalHoldStatus": "ON"}, {"WebsiteRedirectLocation": "/x"},
])
def test_what_would_promise_more_than_is_done_is_refused(s3, bucket, arguments):
    code, status = code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", **arguments)
    assert 400 <= status <= 501 and code not in ("InternalError", "AccessDenied")
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == ("404", 404)


def test_overwrites_are_seen_at_once(s3, bucket):
    for number in range(30):
        body = f"{number}".encode() * (1 + number * 5000)
        s3.put_object(Bucket=bucket, Key="k", Body=body)
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body


def test_a_reader_keeps_what_it_began_with(s3, bucket):
    old, new = os.urandom(8 * MIB), os.urandom(8 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=old)
    stream = s3.get_object(Bucket=bucket, Key="k")["Body"]
    head = stream.read(64 * KIB)
    s3.put_object(Bucket=bucket, Key="k", Body=new)
    assert head + stream.read() == old
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == new
