"""Buckets, configurations that do not exist yet, and listings."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from siltstone import Server
from test_objects import code_of


def test_the_life_of_a_bucket(s3):
    name = Server.unique("life")
    s3.create_bucket(Bucket=name)
    assert code_of(s3.create_bucket, Bucket=name)[0] in ("BucketAlreadyOwnedByYou",)
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert name in [entry["Name"] for entry in s3.list_buckets()["Buckets"]]
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    s3.put_object(Bucket=name, Key="k", Body=b"")
    assert code_of(s3.delete_bucket, Bucket=name) == ("BucketNotEmpty", 409)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    assert code_of(s3.head_bucket, Bucket=name) == ("404", 404)
    assert code_of(s3.delete_bucket, Bucket=name) == ("NoSuchBucket", 404)
    s3.create_bucket(Bucket=name)
    assert s3.list_objects_v2(Bucket=name)["KeyCount"] == 0
    s3.delete_bucket(Bucket=name)


def test_a_bucket_with_an_upload_under_way_can_be_deleted_and_made_again(s3):
    name = Server.unique("uploading")
    s3.create_bucket(Bucket=name)
    upload = s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    s3.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x" * 100_000)
    s3.delete_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)
    assert code_of(s3.list_parts, Bucket=name, Key="k", UploadId=upload) == ("NoSuchUpload", 404)
    s3.delete_bucket(Bucket=name)


def test_racing_creations_of_a_bucket_make_one(s3):
    name = Server.unique("race")

    def create(_):
        try:
            s3.create_bucket(Bucket=name)
            return "made"
        except s3.exceptions.ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))
    assert answers.count("made") == 1, answers
    assert set(answers) <= {"made", "BucketAlreadyOwnedByYou", "OperationAborted"}
    s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("name", ["UPPER", "a_b", "192.168.5.4", "xn--abc", "abc-s3alias"])
def test_bad_bucket_names_are_refused(s3, name):
    assert code_of(s3.create_bucket, Bucket=name) == ("InvalidBucketName", 400)


NONE_ANSWERS = [
    ("get_bucket_policy", "NoSuchBucketPolicy"),
    ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
    ("get_bucket_cors", "NoSuchCORSConfiguration"),
    ("get_bucket_tagging", "NoSuchTagSet"),
    ("get_bucket_website", "NoSuchWebsiteConfiguration"),
    ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
    ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
]


@pytest.mark.parametrize("method,code", NONE_ANSWERS)
def test_a_configuration_that_does_not_exist_is_none(s3, bucket, method, code):
    assert code_of(getattr(s3, method), Bucket=bucket) == (code, 404)


def test_empty_configurations_and_the_private_acl(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    acl = s3.get_bucket_acl(Bucket=bucket)
    assert [grant["Permission"] for grant in acl["Grants"]] == ["FULL_CONTROL"]
    assert acl["Owner"]["ID"] == acl["Grants"][0]["Grantee"]["ID"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"", ACL="private")
    assert s3.get_object_acl(Bucket=bucket, Key="k")["Grants"] == acl["Grants"]
    refused = code_of(s3.put_bucket_request_payment, Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert refused == ("NotImplemented", 501)


KEYS = sorted(
    ["a", "a/1", "a/2/x", "a/2/y", "b", "b!", "b/", "b/c", "c%d", "d e", "é", "日本/x", "日本/y"],
    key=lambda key: key.encode(),
)


@pytest.fixture
def listed(s3, bucket):
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return bucket


def naive(prefix="", delimiter=""):
    """What a listing holds, by its definition."""
    entries = []
    for key in KEYS:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            entry = key if cut < 0 else key[: cut + len(delimiter)]
            if entry not in entries or cut < 0:
                entries.append(entry)
    return entries


@pytest.mark.parametrize("prefix", ["", "a", "a/", "b", "日本/", "zzz"])
@pytest.mark.parametrize("delimiter", ["", "/", "2/", "!"])
@pytest.mark.parametrize("page", [1, 3, 1000])
@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_pages_join_to_the_whole_listing(s3, listed, prefix, delimiter, page, version):
    seen = []
    arguments = {"Bucket": listed, "Prefix": prefix, "Delimiter": delimiter}
    for answer in s3.get_paginator(version).paginate(**arguments, PaginationConfig={"PageSize": page}):
        entries = [entry["Key"] for entry in answer.get("Contents", [])]
        entries += [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
        assert len(entries) <= page
        seen += sorted(entries, key=lambda key: key.encode())
    assert seen == naive(prefix, delimiter)


def test_list_details(s3, listed):
    page = s3.list_objects_v2(Bucket=listed, MaxKeys=2, StartAfter="a/1", FetchOwner=True)
    assert [entry["Key"] for entry in page["Contents"]] == ["a/2/x", "a/2/y"]
    assert page["IsTruncated"] and page["KeyCount"] == 2 and page["Contents"][0]["Owner"]["ID"]
    none = s3.list_objects_v2(Bucket=listed, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"]) == (0, False)
    assert code_of(s3.list_objects_v2, Bucket=listed, ContinuationToken="forged") == ("InvalidArgument", 400)
    assert code_of(s3.list_objects_v2, Bucket=listed, MaxKeys=-1) == ("InvalidArgument", 400)


def test_buckets_are_listed_in_pages(s3):
    prefix = Server.unique("paged")
    names = [f"{prefix}-{n}" for n in range(5)]
    for name in names:
        s3.create_bucket(Bucket=name)
    try:
        pages = list(s3.get_paginator("list_buckets").paginate(Prefix=prefix, PaginationConfig={"PageSize": 2}))
        assert [len(page["Buckets"]) for page in pages] == [2, 2, 1]
        assert [entry["Name"] for page in pages for entry in page["Buckets"]] == names
        assert {entry["BucketRegion"] for page in pages for entry in page["Buckets"]} == {"us-east-1"}
        assert all(page["Prefix"] == prefix for page in pages)
        assert s3.list_buckets(Prefix=prefix, BucketRegion="eu-west-1")["Buckets"] == []
        assert len(s3.list_buckets(Prefix=prefix, BucketRegion="us-east-1")["Buckets"]) == 5
        assert code_of(s3.list_buckets, MaxBuckets=10001) == ("InvalidArgument", 400)
        assert code_of(s3.list_buckets, ContinuationToken="forged") == ("InvalidArgument", 400)
    finally:
        for name in names:
            s3.delete_bucket(Bucket=name)


def test_uploads_and_parts_are_listed_in_pages(s3, bucket):
    begin = lambda key: s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    uploads = {(key, begin(key)) for key in ("a", "a", "dir/b", "dir/c", "e ä")}
    seen = []
    paginator = s3.get_paginator("list_multipart_uploads")
    for page in paginator.paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}):
        assert len(page.get("Uploads", [])) <= 2
        seen += [(entry["Key"], entry["UploadId"]) for entry in page.get("Uploads", [])]
    assert len(seen) == 5 and set(seen) == uploads and [key for key, _ in seen] == sorted(key for key, _ in seen)
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Prefix"] for entry in rolled["CommonPrefixes"]] == ["dir/"]
    assert [entry["Key"] for entry in rolled["Uploads"]] == ["a", "a", "e ä"]
    behind = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="a", Prefix="d")
    assert [entry["Key"] for entry in behind["Uploads"]] == ["dir/b", "dir/c"]
    second = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="a", UploadIdMarker=seen[0][1], MaxUploads=1)
    assert (second["Uploads"][0]["UploadId"], second["IsTruncated"]) == (seen[1][1], True)
    for wrong in ({"MaxUploads": -1}, {"KeyMarker": "a", "UploadIdMarker": "x"}):
        assert code_of(s3.list_multipart_uploads, Bucket=bucket, **wrong) == ("InvalidArgument", 400)
    key, upload = seen[-1]
    named = {"Bucket": bucket, "Key": key, "UploadId": upload}
    for number in (3, 1, 7):
        s3.upload_part(**named, PartNumber=number, Body=b"x" * number)
    parts = [part for page in s3.get_paginator("list_parts").paginate(**named, PaginationConfig={"PageSize": 1}) for part in page["Parts"]]
    assert [(part["PartNumber"], part["Size"]) for part in parts] == [(1, 1), (3, 3), (7, 7)]
    page = s3.list_parts(**named, PartNumberMarker=1, MaxParts=1)
    assert (page["NextPartNumberMarker"], page["IsTruncated"], page["Parts"][0]["PartNumber"]) == (3, True, 3)
    assert s3.list_parts(**named, PartNumberMarker=7).get("Parts") is None
    assert code_of(s3.list_parts, **named, MaxParts=-1) == ("InvalidArgument", 400)
    assert code_of(s3.list_parts, **{**named, "Key": "other"}) == ("NoSuchUpload", 404)


@pytest.mark.parametrize("name", ["a.-b", "a-.b"])
def test_a_hyphen_beside_a_dot_names_no_new_bucket(s3, name):
    assert code_of(s3.create_bucket, Bucket=name) == ("InvalidBucketName", 400)
    assert code_of(s3.head_bucket, Bucket=name) == ("404", 404)


def test_a_bucket_of_another_namespace_is_refused(s3):
    name = "another-namespace"
    make = lambda: s3.create_bucket(Bucket=name, BucketNamespace="account-regional")
    assert code_of(make) == ("NotImplemented", 501)
    assert code_of(s3.head_bucket, Bucket=name) == ("404", 404)
