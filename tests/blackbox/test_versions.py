"""Versions, delete markers, tags: through boto3, as clients use them."""

import random

import pytest
from botocore.exceptions import ClientError
from siltstone import Server
from test_objects import code_of


def purge(s3, name):
    """Deletes every version of a bucket, then the bucket."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=name, PaginationConfig={"PageSize": 3}):
        entries = page.get("Versions", []) + page.get("DeleteMarkers", [])
        named = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in entries]
        if named:
            assert "Errors" not in s3.delete_objects(Bucket=name, Delete={"Objects": named})
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def versioned(s3):
    name = Server.unique("versioned")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    yield name
    purge(s3, name)


def test_versioning_is_set_and_told(s3, bucket):
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    refused = lambda **wanted: code_of(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=wanted)
    assert refused(Status="Off") == ("MalformedXML", 400)
    assert refused() == ("IllegalVersioningConfigurationException", 400)
    assert refused(Status="Enabled", MFADelete="Enabled") == ("NotImplemented", 501)
    wanted = {"Status": "Enabled"}
    missing = code_of(s3.put_bucket_versioning, Bucket="no-such-bucket-here", VersioningConfiguration=wanted)
    assert missing == ("NoSuchBucket", 404)


def test_versions_are_read_listed_and_deleted(s3, versioned):
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=str(n).encode())["VersionId"] for n in range(3)]
    s3.put_object(Bucket=versioned, Key="dir/other", Body=b"x")
    marker = s3.delete_object(Bucket=versioned, Key="k")
    assert marker["DeleteMarker"] is True
    assert code_of(s3.get_object, Bucket=versioned, Key="k") == ("NoSuchKey", 404)
    assert code_of(s3.head_object, Bucket=versioned, Key="k") == ("404", 404)
    marked = {"Bucket": versioned, "Key": "k", "VersionId": marker["VersionId"]}
    assert code_of(s3.get_object, **marked) == ("MethodNotAllowed", 405)
    assert code_of(s3.head_object, **marked) == ("405", 405)
    with pytest.raises(s3.exceptions.ClientError) as refused:
        s3.get_object(**marked)
    headers = refused.value.response["ResponseMetadata"]["HTTPHeaders"]
    assert (headers["x-amz-delete-marker"], headers["allow"]) == ("true", "DELETE")
    assert headers["x-amz-version-id"] == marker["VersionId"] and "last-modified" in headers
    for n, version in enumerate(ids):
        read = s3.get_object(Bucket=versioned, Key="k", VersionId=version)
        assert (read["Body"].read(), read["VersionId"]) == (str(n).encode(), version)
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=versioned)["Contents"]] == ["dir/other"]
    page = s3.list_object_versions(Bucket=versioned, Delimiter="/")
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["dir/"]
    assert [entry["VersionId"] for entry in page["Versions"]] == ids[::-1]
    assert [entry["IsLatest"] for entry in page["Versions"]] == [False] * 3
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in page["DeleteMarkers"]] == [(marker["VersionId"], True)]
    assert s3.delete_object(**marked)["DeleteMarker"] is True
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"2"
    assert s3.delete_object(Bucket=versioned, Key="k", VersionId=ids[2])["VersionId"] == ids[2]
    assert s3.get_object(Bucket=versioned, Key="k")["Body"].read() == b"1"
    gone = {"Bucket": versioned, "Key": "k", "VersionId": ids[2]}
    assert code_of(s3.get_object, **gone) == ("NoSuchVersion", 404)
    assert s3.delete_object(**gone)["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert code_of(s3.get_object, Bucket=versioned, Key="k", VersionId="x") == ("InvalidArgument", 400)


def test_pages_of_versions_join_without_gap_or_repetition(s3, versioned):
    for n in range(4):
        for key in ("a", "b/1", "b/2", "c ä&"):
            s3.put_object(Bucket=versioned, Key=key, Body=b"x")
    whole = s3.list_object_versions(Bucket=versioned)["Versions"]
    seen = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=versioned, PaginationConfig={"PageSize": 3}):
        assert len(page["Versions"]) <= 3
        seen += page["Versions"]
    assert seen == whole and len(whole) == 16
    empty = s3.list_object_versions(Bucket=versioned, MaxKeys=0)
    assert (empty.get("Versions"), empty["IsTruncated"]) == (None, False)
    first = s3.list_object_versions(Bucket=versioned, MaxKeys=1)
    rest = s3.list_object_versions(
        Bucket=versioned, KeyMarker=first["NextKeyMarker"], VersionIdMarker=first["NextVersionIdMarker"]
    )
    assert rest["Versions"] == whole[1:]
    behind = s3.list_object_versions(Bucket=versioned, KeyMarker="b/1", Prefix="b/")
    assert [entry["Key"] for entry in behind["Versions"]] == ["b/2"] * 4
    for wrong in ({"VersionIdMarker": "null"}, {"KeyMarker": "a", "VersionIdMarker": "x"}):
        assert code_of(s3.list_object_versions, Bucket=versioned, **wrong) == ("InvalidArgument", 400)


def test_many_versions_are_deleted_at_once(s3, versioned):
    ids = [s3.put_object(Bucket=versioned, Key="k", Body=b"x")["VersionId"] for _ in range(2)]
    named = [{"Key": "k", "VersionId": ids[0]}, {"Key": "k"}, {"Key": "k", "VersionId": "nonsense"}]
    done = s3.delete_objects(Bucket=versioned, Delete={"Objects": named})
    assert [(entry["Key"], entry.get("VersionId"), entry.get("DeleteMarker")) for entry in done["Deleted"]] == [
        ("k", ids[0], None),
        ("k", None, True),
    ]
    assert [entry["Code"] for entry in done["Errors"]] == ["NoSuchVersion"]
    page = s3.list_object_versions(Bucket=versioned)
    assert [entry["VersionId"] for entry in page["Versions"]] == [ids[1]]
    assert page["DeleteMarkers"][0]["VersionId"] == done["Deleted"][1]["DeleteMarkerVersionId"]


def test_a_suspended_bucket_writes_null_versions(s3, versioned):
    kept = s3.put_object(Bucket=versioned, Key="k", Body=b"kept")["VersionId"]
    s3.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Suspended"})
    for body in (b"one", b"two"):
        assert s3.put_object(Bucket=versioned, Key="k", Body=body)["VersionId"] == "null"
    listed = s3.list_object_versions(Bucket=versioned)["Versions"]
    assert [entry["VersionId"] for entry in listed] == ["null", kept]
    assert s3.get_object(Bucket=versioned, Key="k", VersionId="null")["Body"].read() == b"two"
    assert s3.delete_object(Bucket=versioned, Key="k")["VersionId"] == "null"
    assert code_of(s3.delete_bucket, Bucket=versioned) == ("BucketNotEmpty", 409)


def test_objects_and_their_versions_have_tags(s3, versioned):
    tags = lambda **pairs: {"TagSet": [{"Key": key, "Value": value} for key, value in pairs.items()]}
    first = s3.put_object(Bucket=versioned, Key="k", Body=b"1", Tagging="a=1&b=x%20y%2B")["VersionId"]
    second = s3.put_object(Bucket=versioned, Key="k", Body=b"2")["VersionId"]
    found = s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=first)
    assert (found["TagSet"], found["VersionId"]) == (tags(a="1", b="x y+")["TagSet"], first)
    assert s3.get_object(Bucket=versioned, Key="k", VersionId=first)["TagCount"] == 2
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == []
    assert s3.put_object_tagging(Bucket=versioned, Key="k", Tagging=tags(c="3"))["VersionId"] == second
    assert s3.get_object_tagging(Bucket=versioned, Key="k")["TagSet"] == tags(c="3")["TagSet"]
    s3.delete_object_tagging(Bucket=versioned, Key="k", VersionId=first)
    assert s3.get_object_tagging(Bucket=versioned, Key="k", VersionId=first)["TagSet"] == []
    refused = lambda tagging, **more: code_of(
        s3.put_object_tagging, Bucket=versioned, Key=more.pop("Key", "k"), Tagging=tagging, **more
    )
    assert refused(tags(**{f"k{n}": "" for n in range(11)})) == ("BadRequest", 400)
    assert refused({"TagSet": [{"Key": "a", "Value": "1"}] * 2}) == ("InvalidTag", 400)
    assert refused(tags(**{"k" * 129: ""})) == ("InvalidTag", 400)
    assert refused(tags(k="v" * 257)) == ("InvalidTag", 400)
    assert refused(tags(**{"aws:k": ""})) == ("InvalidTag", 400)
    assert refused(tags(k="a<b")) == ("InvalidTag", 400)
    assert refused(tags(), Key="absent") == ("NoSuchKey", 404)
    assert refused(tags(), VersionId="0" * 32) == ("NoSuchVersion", 404)
    for wrong, code in (("a=1&a=2", "InvalidArgument"), ("a=%FF", "InvalidArgument"), ("aws:a=1", "InvalidTag")):
        assert code_of(s3.put_object, Bucket=versioned, Key="n", Body=b"", Tagging=wrong) == (code, 400), wrong
    upload = s3.create_multipart_upload(Bucket=versioned, Key="m", Tagging="u=1")["UploadId"]
    etag = s3.upload_part(Bucket=versioned, Key="m", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket=versioned, Key="m", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object_tagging(Bucket=versioned, Key="m")["TagSet"] == tags(u="1")["TagSet"]


def test_a_delete_marker_has_no_tags_and_every_way_to_them_says_so(s3, versioned):
    s3.put_object(Bucket=versioned, Key="gone", Body=b"x")
    marker = s3.delete_object(Bucket=versioned, Key="gone")["VersionId"]
    key, tagging = {"Bucket": versioned, "Key": "gone"}, {"TagSet": [{"Key": "a", "Value": "1"}]}
    for named, status in (({}, 404), ({"VersionId": marker}, 405)):
        answers = []
        for call in (
            lambda: s3.get_object_tagging(**key, **named),
            lambda: s3.put_object_tagging(**key, **named, Tagging=tagging),
            lambda: s3.delete_object_tagging(**key, **named),
        ):
            with pytest.raises(ClientError) as refused:
                call()
            answer, error = refused.value.response["ResponseMetadata"], refused.value.response["Error"]
            assert answer["HTTPStatusCode"] == status
            headers = answer["HTTPHeaders"]
            assert (headers["x-amz-delete-marker"], headers["x-amz-version-id"]) == ("true", marker)
            answers.append((error["Code"], error.get("ResourceType"), "Method" in error))
        assert len(set(answers)) == 1, answers


def test_a_bucket_has_tags(s3, bucket):
    tagging = lambda count: {"TagSet": [{"Key": f"k{n}", "Value": "ä b"} for n in range(count)]}
    assert code_of(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tagging(50))
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tagging(50)["TagSet"]
    assert code_of(s3.put_bucket_tagging, Bucket=bucket, Tagging=tagging(51)) == ("BadRequest", 400)
    s3.delete_bucket_tagging(Bucket=bucket)
    assert code_of(s3.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)


def test_versions_and_tags_survive_a_kill(own_server):
    own_server_client = own_server.client()
    own_server_client.create_bucket(Bucket="bkt")
    own_server_client.put_bucket_tagging(Bucket="bkt", Tagging={"TagSet": [{"Key": "t", "Value": "1"}]})
    own_server_client.put_bucket_versioning(Bucket="bkt", VersioningConfiguration={"Status": "Enabled"})
    first = own_server_client.put_object(Bucket="bkt", Key="k", Body=b"1", Tagging="a=1")["VersionId"]
    own_server_client.delete_object(Bucket="bkt", Key="k")
    own_server.kill()
    s3 = own_server.start().client()
    assert s3.get_bucket_versioning(Bucket="bkt")["Status"] == "Enabled"
    assert s3.get_bucket_tagging(Bucket="bkt")["TagSet"] == [{"Key": "t", "Value": "1"}]
    assert code_of(s3.get_object, Bucket="bkt", Key="k") == ("NoSuchKey", 404)
    assert s3.get_object(Bucket="bkt", Key="k", VersionId=first)["TagCount"] == 1


def prepare(s3, status):
    """A bucket with two keys that have versions; what each version is called in a test, by its id."""
    name = Server.unique("turns")
    s3.create_bucket(Bucket=name)
    labels, etags = {"null": "null"}, []
    for setting in ("Unversioned", "Enabled", status):
        if setting != "Unversioned":
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": setting})
        for key in "ab" if setting != "Suspended" else "a":
            body = f"{setting}-{key}".encode()
            put = s3.put_object(Bucket=name, Key=key, Body=body)
            etags.append(put["ETag"])
            if put.get("VersionId", "null") != "null":
                labels[put["VersionId"]] = f"{key}{len(labels)}"
    return name, labels, etags


def outcome_of(answer, labels):
    """What became of each entry; ids of new markers differ from run to run."""
    deleted = [
        (it["Key"], labels.get(it.get("VersionId"), it.get("VersionId")), it.get("DeleteMarker"))
        for it in answer.get("Deleted", [])
    ]
    return sorted(map(str, deleted)), sorted((it["Key"], it["Code"]) for it in answer.get("Errors", []))


def versions_of(s3, name, labels):
    found = s3.list_object_versions(Bucket=name)
    shown = lambda kind: [
        (it["Key"], labels.get(it["VersionId"], "new"), it["IsLatest"]) for it in found.get(kind, [])
    ]
    return shown("Versions"), shown("DeleteMarkers")


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
@pytest.mark.parametrize("seed", range(12))
def test_one_request_deletes_as_the_same_entries_one_by_one(s3, status, seed):
    draw = random.Random(f"{status}{seed}")
    choices = [(draw.choice("ab"), draw.choice(["plain", "id", "id", "null", "etag"]), draw.random()) for _ in range(5)]
    results = []
    for together in (True, False):
        name, labels, etags = prepare(s3, status)
        ids = sorted((label, version) for version, label in labels.items() if label != "null")
        entries = []
        for key, kind, which in choices:
            entry = {"Key": key}
            own = [version for label, version in ids if label.startswith(key)]
            if kind == "id":
                entry["VersionId"] = own[int(which * len(own))]
            elif kind == "null":
                entry["VersionId"] = "null"
            elif kind == "etag":
                entry["ETag"] = etags[int(which * len(etags))]
            entries.append(entry)
        requests = [entries] if together else [[entry] for entry in entries]
        outcomes = [outcome_of(s3.delete_objects(Bucket=name, Delete={"Objects": it}), labels) for it in requests]
        merged = tuple(sorted(sum((list(part[at]) for part in outcomes), [])) for at in (0, 1))
        # A marker's own id is drawn anew; that there is one is told by the third part.
        results.append((len(merged[0]), merged[1], versions_of(s3, name, labels)))
        purge(s3, name)
    assert results[0] == results[1], choices
