"""The coverage page calls operations built: each of them succeeds here, so that the page cannot claim too much."""

import re

import pytest
from siltstone import ROOT, Server

ROW = re.compile(r"^\| Built \| (\d+) \| (.*) \|$", re.M)


@pytest.fixture
def own_server(tmp_path):
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.stop()


def call_everything(s3):
    """Every built operation at least once, as boto3 makes it."""
    tags = {"TagSet": [{"Key": "k", "Value": "v"}]}
    s3.create_bucket(Bucket="all")
    s3.head_bucket(Bucket="all")
    s3.list_buckets()
    s3.get_bucket_location(Bucket="all")
    s3.put_bucket_acl(Bucket="all", ACL="private")
    s3.get_bucket_acl(Bucket="all")
    s3.put_bucket_tagging(Bucket="all", Tagging=tags)
    assert s3.get_bucket_tagging(Bucket="all")["TagSet"] == tags["TagSet"]
    s3.delete_bucket_tagging(Bucket="all")
    s3.put_bucket_versioning(Bucket="all", VersioningConfiguration={"Status": "Enabled"})
    s3.get_bucket_versioning(Bucket="all")

    s3.put_object(Bucket="all", Key="k", Body=b"body")
    s3.get_object(Bucket="all", Key="k")["Body"].read()
    s3.head_object(Bucket="all", Key="k")
    s3.get_object_attributes(Bucket="all", Key="k", ObjectAttributes=["ETag", "ObjectSize"])
    s3.put_object_acl(Bucket="all", Key="k", ACL="private")
    s3.get_object_acl(Bucket="all", Key="k")
    s3.put_object_tagging(Bucket="all", Key="k", Tagging=tags)
    assert s3.get_object_tagging(Bucket="all", Key="k")["TagSet"] == tags["TagSet"]
    s3.delete_object_tagging(Bucket="all", Key="k")
    s3.copy_object(Bucket="all", Key="copy", CopySource="all/k")

    part = {"Bucket": "all", "Key": "large"}
    part["UploadId"] = s3.create_multipart_upload(**part)["UploadId"]
    etags = [
        s3.upload_part(**part, PartNumber=1, Body=bytes(5 << 20))["ETag"],
        s3.upload_part_copy(**part, PartNumber=2, CopySource="all/k")["CopyPartResult"]["ETag"],
    ]
    s3.list_multipart_uploads(Bucket="all")
    assert len(s3.list_parts(**part)["Parts"]) == 2
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    s3.complete_multipart_upload(**part, MultipartUpload={"Parts": parts})
    given_up = s3.create_multipart_upload(Bucket="all", Key="given up")["UploadId"]
    s3.abort_multipart_upload(Bucket="all", Key="given up", UploadId=given_up)

    s3.list_objects(Bucket="all")
    s3.list_objects_v2(Bucket="all")
    s3.delete_object(Bucket="all", Key="k")
    answer = s3.list_object_versions(Bucket="all")
    every = answer["Versions"] + answer["DeleteMarkers"]
    objects = [{"Key": entry["Key"], "VersionId": entry["VersionId"]} for entry in every]
    assert not s3.delete_objects(Bucket="all", Delete={"Objects": objects}).get("Errors")
    s3.delete_bucket(Bucket="all")


def test_every_operation_that_the_page_calls_built_succeeds(own_server):
    number, names = ROW.search((ROOT / "docs/s3-coverage.md").read_text()).groups()
    built = set(names.split(", "))
    assert len(built) == int(number)
    call_everything(own_server.client())
    metrics = own_server.get("/metrics")[1]
    done = set(re.findall(r'^siltstone_s3_requests_total\{code="20\d",op="(\w+)"\} [1-9]', metrics, re.M))
    assert built - done == set(), "called built, and never done here"
    assert done - built == set(), "done here, and not called built"
