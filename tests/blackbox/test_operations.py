"""No operation of the SDK's own model is taken for another, and nothing that is unknown changes anything (ADR 13)."""

import hashlib
import re

import botocore.session
import pytest
from botocore.serialize import create_serializer
from rawsign import Signer, read_answer, request_bytes
from siltstone import Server
from test_bad_input import code

# Older forms of a request that has a newer name; the wire does not tell them apart.
OLDER = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
# Texts that the SDK or the server wants in a certain form.
VALUES = {
    "Bucket": "none-such",
    "Key": "k",
    "CopySource": "/none-such/k",
    "KMSKeyArn": "arn:aws:kms:us-east-1:1:key/a",
}


def value_of(shape, name=None, depth=0):
    """The least value of a shape that the SDK sends."""
    if name in VALUES:
        return VALUES[name]
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False) or depth > 6:
            return {}
        members = list(shape.required_members)
        if not members and getattr(shape, "is_tagged_union", False):
            members = list(shape.members)[:1]
        return {member: value_of(shape.members[member], member, depth + 1) for member in members}
    if kind == "list":
        return [value_of(shape.member, depth=depth + 1)]
    if kind == "map":
        return {}
    if kind == "string":
        return shape.enum[0] if shape.enum else "a"
    return {"integer": 1, "long": 1, "boolean": True, "blob": b"x", "timestamp": "2026-01-01T00:00:00Z", "float": 1.0, "double": 1.0}[kind]


def model():
    return botocore.session.get_session().get_service_model("s3")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("operations") / "data")
    server.start()
    server.client().create_bucket(Bucket="kept")
    server.client().put_object(Bucket="kept", Key="k", Body=b"kept")
    yield server
    server.stop()


def send(server, method, path, query="", headers=None, body=b""):
    headers = {"content-length": len(body), **(headers or {})}
    # Signed as sent: a parameter without a value is one with an empty value.
    canonical = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in query.split("&") if pair))
    signed = Signer(server.address()).headers(method, path, hashlib.sha256(body).hexdigest(), headers, canonical)
    with server.connect() as connection:
        connection.sendall(request_bytes(method, f"{path}?{query}" if query else path, signed, body))
        return read_answer(connection)


def counts(server):
    found = re.findall(r'^siltstone_s3_requests_total\{(.*?)\} (\d+)', server.get("/metrics")[1], re.M)
    totals = {}
    for labels, count in found:
        name = re.search(r'op="(\w*)"', labels)[1]
        totals[name] = totals.get(name, 0) + int(count)
    return totals


@pytest.mark.parametrize("name", sorted(model().operation_names))
def test_each_operation_of_the_sdk_is_known_by_its_own_name(server, name):
    operation = model().operation_model(name)
    arguments = value_of(operation.input_shape) if operation.input_shape else {}
    if name == "ListDirectoryBuckets":
        arguments["MaxDirectoryBuckets"] = 5
    # The SDK's own serializer makes the request; sent by hand, so that no rule about endpoints gets in the way.
    made = create_serializer("rest-xml").serialize_to_request(arguments, operation)
    query = dict(made["query_string"])
    path, _, fixed = made["url_path"].partition("?")
    pairs = [*filter(None, fixed.split("&")), *(f"{key}={value}" for key, value in query.items())]
    body = made["body"]
    body = body.encode() if isinstance(body, str) else body or b""
    before = counts(server)
    send(server, made["method"], path, "&".join(pairs), {key.lower(): value for key, value in made["headers"].items()}, body)
    after = counts(server)
    grown = {key for key in after if after[key] != before.get(key, 0)}
    assert grown == {OLDER.get(name, name)}


@pytest.mark.parametrize("method,target,query,expected", [
    ("PUT", "/kept/k", "annotation&annotationName=n", (501, "NotImplemented")),
    ("DELETE", "/kept/k", "annotation&annotationName=n", (501, "NotImplemented")),
    ("PUT", "/unmade", "metadataAnnotationTable", (501, "NotImplemented")),
    ("PUT", "/unmade", "frobnicate", (501, "NotImplemented")),
    ("DELETE", "/kept", "frobnicate=", (501, "NotImplemented")),
    ("PUT", "/kept/k", "frobnicate", (501, "NotImplemented")),
    ("DELETE", "/kept/k", "a=b&frobnicate", (501, "NotImplemented")),
    ("PUT", "/kept/k", "annotationName=n", (400, "InvalidArgument")),
    ("DELETE", "/kept/k", "partNumber=1", (400, "InvalidArgument")),
    ("PUT", "/kept/k", "versionId=null", (400, "InvalidArgument")),
    ("PUT", "/kept/k", "versionId=", (400, "InvalidArgument")),
    ("POST", "/kept/k", "uploads&versionId=null", (400, "InvalidArgument")),
    ("POST", "/kept/k", "uploads&frobnicate", (501, "NotImplemented")),
])
def test_a_parameter_that_could_name_another_operation_changes_nothing(server, method, target, query, expected):
    status, _, body = send(server, method, target, query, body=b"lost" if method == "PUT" else b"")
    assert (status, code(body)) == expected
    s3 = server.client()
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"kept"
    assert [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]] == ["kept"]
    assert not s3.list_multipart_uploads(Bucket="kept").get("Uploads")


def test_a_copy_takes_no_version_of_its_own(server):
    status, _, body = send(server, "PUT", "/kept/copy", "versionId=null", {"x-amz-copy-source": "/kept/k"})
    assert (status, code(body)) == (400, "InvalidArgument")


@pytest.mark.parametrize("query", ["x-id=PutObject", "x-client=mine", "x-mine", "other=1"])
def test_what_aws_ignores_is_ignored(server, query):
    assert send(server, "PUT", "/kept/k", query, body=b"kept")[0] == 200
