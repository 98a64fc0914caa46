"""Reads by part and attributes of objects."""

import base64
import hashlib
import os

import pytest
from test_objects import MIB, code_of

SIZES = [5 * MIB + 1, 5 * MIB, 7]
KINDS = [
    ("CRC32", "COMPOSITE"), ("CRC32C", "COMPOSITE"), ("SHA1", "COMPOSITE"), ("SHA256", "COMPOSITE"),
    ("CRC32", "FULL_OBJECT"), ("CRC32C", "FULL_OBJECT"), ("CRC64NVME", "FULL_OBJECT"),
]
EVERYTHING = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]


@pytest.fixture
def s3(shared_server):
    """A client that leaves checksums to the server: it cannot compute all of them itself."""
    return shared_server.client(request_checksum_calculation="when_required")


def checksum_of(s3, bucket, body, algorithm):
    """What S3 makes of a body: a copy may ask for any checksum."""
    s3.put_object(Bucket=bucket, Key="sum", Body=body)
    copied = s3.copy_object(Bucket=bucket, Key="sum copy", CopySource=f"{bucket}/sum", ChecksumAlgorithm=algorithm)
    return copied["CopyObjectResult"][f"Checksum{algorithm}"]


def upload(s3, bucket, algorithm, kind, key="k"):
    """Uploads an object of three parts; gives its body, its parts and the answer."""
    made = s3.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    bodies, parts = [os.urandom(size) for size in SIZES], []
    for number, body in enumerate(bodies, 1):
        where = {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"], "PartNumber": number}
        given = {}
        if kind == "COMPOSITE":
            assert code_of(s3.upload_part, **where, Body=body) == ("InvalidRequest", 400), "its parts' are needed"
            given = {f"Checksum{algorithm}": checksum_of(s3, bucket, body, algorithm)}
        part = s3.upload_part(**where, Body=body, **given)
        value = part[f"Checksum{algorithm}"]
        parts.append({"PartNumber": number, "ETag": part["ETag"], f"Checksum{algorithm}": value})
    done = s3.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=made["UploadId"], MultipartUpload={"Parts": parts}
    )
    return bodies, parts, done


@pytest.mark.parametrize("algorithm, kind", KINDS)
def test_checksums_of_uploads_parts_and_copies(s3, bucket, algorithm, kind):
    field = f"Checksum{algorithm}"
    bodies, parts, done = upload(s3, bucket, algorithm, kind)
    assert done["ChecksumType"] == kind
    assert done[field].endswith("-3") == (kind == "COMPOSITE")
    whole = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (whole[field], whole["ChecksumType"]) == (done[field], kind)
    assert field not in s3.head_object(Bucket=bucket, Key="k")
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED", PartNumber=2)
    assert got["Body"].read() == bodies[1]
    assert got[field] == parts[1][field]
    attributes = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=EVERYTHING)
    assert (attributes["Checksum"][field], attributes["Checksum"]["ChecksumType"]) == (done[field], kind)
    shown = attributes["ObjectParts"]["Parts"]
    assert [(part["PartNumber"], part["Size"], part[field]) for part in shown] == [
        (number, size, part[field]) for number, (size, part) in enumerate(zip(SIZES, parts), 1)
    ]
    copied = s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")["CopyObjectResult"]
    s3.put_object(Bucket=bucket, Key="plain", Body=b"".join(bodies))
    plain = s3.copy_object(
        Bucket=bucket, Key="plain copy", CopySource=f"{bucket}/plain", ChecksumAlgorithm=algorithm
    )["CopyObjectResult"]
    assert (copied[field], copied["ChecksumType"], copied["ETag"]) == (plain[field], "FULL_OBJECT", plain["ETag"])
    if algorithm.startswith("SHA"):
        digest = hashlib.new(algorithm, b"".join(bodies)).digest()
        assert base64.b64decode(copied[field]) == digest
    if kind == "FULL_OBJECT":
        assert plain[field] == done[field]


def test_parts_are_read_by_number(s3, bucket):
    bodies, _, _ = upload(s3, bucket, "CRC32", "COMPOSITE")
    first = 0
    for number, body in enumerate(bodies, 1):
        for call in (s3.get_object, s3.head_object):
            got = call(Bucket=bucket, Key="k", PartNumber=number)
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
            assert (got["ContentLength"], got["PartsCount"]) == (len(body), 3)
            assert got["ContentRange"] == f"bytes {first}-{first + len(body) - 1}/{sum(SIZES)}"
        assert s3.get_object(Bucket=bucket, Key="k", PartNumber=number)["Body"].read() == body
        first += len(body)
    read = lambda **more: s3.get_object(Bucket=bucket, Key="k", **more)
    assert code_of(read, PartNumber=4) == ("InvalidPartNumber", 416)
    assert code_of(read, PartNumber=0) == ("InvalidArgument", 400)
    assert code_of(read, PartNumber=10_001) == ("InvalidArgument", 400)
    assert code_of(read, PartNumber=1, Range="bytes=0-1") == ("InvalidRequest", 400)
    assert code_of(s3.head_object, Bucket=bucket, Key="k", PartNumber=4) == ("416", 416)


def test_an_object_without_parts_is_its_own_first_part(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"hello")
    got = s3.get_object(Bucket=bucket, Key="k", PartNumber=1)
    assert (got["Body"].read(), got["ContentRange"], "PartsCount" in got) == (b"hello", "bytes 0-4/5", False)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", PartNumber=2) == ("InvalidPartNumber", 416)


def test_attributes_are_those_asked_for(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm="SHA1")
    ask = lambda *names, key="k", **more: s3.get_object_attributes(
        Bucket=bucket, Key=key, ObjectAttributes=list(names), **more
    )
    answer = ask(*EVERYTHING)
    assert answer["ETag"] == put["ETag"].strip('"')
    assert answer["Checksum"] == {"ChecksumSHA1": put["ChecksumSHA1"], "ChecksumType": "FULL_OBJECT"}
    assert (answer["StorageClass"], answer["ObjectSize"], "ObjectParts" in answer) == ("STANDARD", 5, False)
    assert answer["LastModified"] == s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    only = ask("ObjectSize")
    assert "ETag" not in only and "Checksum" not in only and only["ObjectSize"] == 5
    assert code_of(ask, key="none") == ("InvalidRequest", 400), "no attribute is asked for"
    assert code_of(lambda: ask("Colour")) == ("InvalidArgument", 400)
    assert code_of(lambda: ask("ETag", key="none")) == ("NoSuchKey", 404)
    assert code_of(lambda: ask("ETag", VersionId="0" * 32)) == ("NoSuchVersion", 404)


def test_attributes_page_through_parts(s3, bucket):
    upload(s3, bucket, "CRC32C", "COMPOSITE")
    found, marker = [], 0
    while True:
        parts = s3.get_object_attributes(
            Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"], MaxParts=2, PartNumberMarker=marker
        )["ObjectParts"]
        assert (parts["TotalPartsCount"], parts["MaxParts"], parts["PartNumberMarker"]) == (3, 2, marker)
        found += [part["PartNumber"] for part in parts["Parts"]]
        marker = parts["NextPartNumberMarker"]
        if not parts["IsTruncated"]:
            break
    assert found == [1, 2, 3]
    assert base64.b64decode(parts["Parts"][0]["ChecksumCRC32C"])
