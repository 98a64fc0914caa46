"""Black-box tests: they know the program by its command line, its ports and its files, never by its code."""

import pytest

from siltstone import Server


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One server for all tests that do not hurt it."""
    server = Server(tmp_path_factory.mktemp("shared") / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def s3(shared_server):
    return shared_server.client()


@pytest.fixture
def bucket(s3, request):
    """A fresh bucket, emptied and deleted afterwards, which tests both."""
    name = Server.unique("test")
    s3.create_bucket(Bucket=name)
    yield name
    for upload in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=upload["Key"], UploadId=upload["UploadId"])
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        keys = [{"Key": entry["Key"]} for entry in page.get("Contents", [])]
        for key in keys:
            s3.delete_object(Bucket=name, Key=key["Key"])
    s3.delete_bucket(Bucket=name)


@pytest.fixture
def own_server(tmp_path):
    """A server of the test's own, to be killed, filled up or damaged."""
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.kill()
