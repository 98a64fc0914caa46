"""What attackers try that no other file does. docs/s3-limits.md names the test of every limit; here each sees S3's own
code, and that no stream but `access` has changed."""

import base64
import hashlib
import socket
import threading

import pytest
from rawsign import EMPTY_SHA256, Signer, read_answer, request_bytes
from siltstone import Server, heads
from test_bad_input import code
from test_objects import MIB, code_of
from test_program import created_key


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("refusals") / "data")
    server.start()
    for bucket in ("raw", "other"):
        server.client().create_bucket(Bucket=bucket)
    server.client().put_object(Bucket="raw", Key="good", Body=b"good")
    yield server
    server.stop()


@pytest.fixture
def unchanged(server):
    """Nothing but the access stream may have grown from where the test says so until it is over."""
    before = []
    yield lambda: before.append(heads(server.data_dir))
    assert before and heads(server.data_dir) == before[0]


def send(server, method, path, *, query="", body=b"", headers=None, signer=None):
    """(status, headers, body) of a signed request. The body is sent beside the reading: it may be refused in the middle."""
    signer = signer or Signer(server.address())
    every = {"content-length": len(body), **(headers or {})}
    signed = signer.headers(method, path, hashlib.sha256(body).hexdigest(), every, query)
    with server.connect() as connection:

        def write():
            try:
                connection.sendall(request_bytes(method, f"{path}?{query}".rstrip("?"), signed, body))
            except OSError:
                pass  # refused before its end, which the answer says

        writer = threading.Thread(target=write)
        writer.start()
        answer = read_answer(connection)
        connection.close()
        writer.join()
        return answer


@pytest.mark.parametrize("what", ["key", "user"])
def test_suspended_and_removed_keys_and_users_are_refused_until_they_are_let_in_again(server, unchanged, what):
    name = f"of-{what}"
    assert server.admin("user", "create", name).returncode == 0
    assert server.admin("policy", "attach", "readwrite", "--user", name).returncode == 0
    key = created_key(server.admin("key", "create", "--user", name, "--json"))
    client = server.client(key["access_key"], key["secret_key"])
    link = Signer(server.address(), access_key=key["access_key"], secret_key=key["secret_key"])
    subject = {"key": key["access_key"], "user": name}[what]
    for status in ("suspended", "active", "suspended"):
        assert server.admin(what, "set", subject, "--status", status).returncode == 0
        if status == "active":
            assert client.get_object(Bucket="raw", Key="good")["Body"].read() == b"good"
            continue
        before = heads(server.data_dir)
        assert code_of(client.put_object, Bucket="raw", Key="never", Body=b"x") == ("InvalidAccessKeyId", 403)
        answer = send(server, "DELETE", "/raw/good", signer=link)
        assert (answer[0], code(answer[2])) == (403, "InvalidAccessKeyId")
        assert heads(server.data_dir) == before
    assert server.admin(what, "rm", subject, "--yes").returncode == 0
    unchanged()
    assert code_of(client.put_object, Bucket="raw", Key="never", Body=b"x") == ("InvalidAccessKeyId", 403)


def test_an_upload_is_known_by_its_bucket_and_key_and_not_by_its_id_alone(server, unchanged):
    s3 = server.client()
    upload = s3.create_multipart_upload(Bucket="raw", Key="mine")["UploadId"]
    etag = s3.upload_part(Bucket="raw", Key="mine", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    unchanged()
    for bucket, key in (("raw", "theirs"), ("other", "mine")):
        named = {"Bucket": bucket, "Key": key, "UploadId": upload}
        for call, more in (
            (s3.upload_part, {"PartNumber": 2, "Body": b"x"}),
            (s3.upload_part_copy, {"PartNumber": 2, "CopySource": "raw/good"}),
            (s3.list_parts, {}),
            (s3.complete_multipart_upload, {"MultipartUpload": parts}),
            (s3.abort_multipart_upload, {}),
        ):
            assert code_of(call, **named, **more) == ("NoSuchUpload", 404), (call, bucket, key)
    assert [part["ETag"] for part in s3.list_parts(Bucket="raw", Key="mine", UploadId=upload)["Parts"]] == [etag]


DELETE = b"<Delete><Object><Key>absent</Key></Object></Delete>"


def delete(server, document):
    headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    return send(server, "POST", "/other", query="delete=", body=document, headers=headers)


def test_a_document_may_be_of_2_mib(server, unchanged):
    unchanged()
    assert delete(server, DELETE.ljust(2 * MIB))[0] == 200
    refused = delete(server, DELETE.ljust(2 * MIB + 1))
    assert (refused[0], code(refused[2])) == (400, "MaxMessageLengthExceeded")


def test_a_completion_may_be_of_8_mib(server, unchanged):
    s3 = server.client()
    upload = s3.create_multipart_upload(Bucket="raw", Key="mine")["UploadId"]
    document = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>absent</ETag></Part></CompleteMultipartUpload>"
    unchanged()
    complete = lambda size: send(server, "POST", "/raw/mine", query=f"uploadId={upload}", body=document.ljust(size))
    for size, expected in ((8 * MIB, "InvalidPart"), (8 * MIB + 1, "MaxMessageLengthExceeded")):
        status, _, body = complete(size)
        assert (status, code(body)) == (400, expected)


def test_answers_are_changed_by_signed_requests_only(server, unchanged):
    unchanged()
    target = "/raw/good?response-content-type=text%2Fhtml"
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", target, {"host": Signer(server.address()).host}))
        status, headers, body = read_answer(connection)
    assert (status, headers["content-type"]) == (403, "application/xml"), body
    signed = Signer(server.address()).headers("GET", "/raw/good", EMPTY_SHA256)
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", target, signed))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("listener", ["console", "metrics"])
def test_objects_are_served_by_the_s3_listener_only(server, unchanged, listener):
    unchanged()
    address = server.address(listener)
    headers = Signer(address).headers("GET", "/raw/good", EMPTY_SHA256)
    with server.connect(to=listener) as connection:
        connection.sendall(request_bytes("GET", "/raw/good", headers))
        status, _, body = read_answer(connection)
    assert status == 404 and b"good" not in body, body


def test_no_secret_and_no_expected_signature_is_logged_or_answered(server, unchanged):
    unchanged()
    signer = Signer(server.address())
    headers = signer.headers("GET", "/raw/good", EMPTY_SHA256)
    expected = signer.seed
    headers["authorization"] = headers["authorization"].replace(expected, "0" * 64)
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", "/raw/good", headers))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (403, "SignatureDoesNotMatch")
    assert expected.encode() not in body
    said = "".join(server.log) + server.get("/metrics")[1]
    assert expected not in said and server.environment["SILTSTONE_ROOT_SECRET_KEY"] not in said


def raw_get(server, door, version, hosts, target="/"):
    """The status of a GET with these hosts."""
    head = "".join(f"Host: {host}\r\n" for host in hosts)
    with socket.create_connection(("127.0.0.1", int(server.ready[door].rsplit(":", 1)[1])), timeout=10) as connection:
        connection.sendall(f"GET {target} HTTP/{version}\r\n{head}\r\n".encode())
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize("door", ["s3", "console", "metrics"])
def test_a_request_without_one_host_is_malformed(server, unchanged, door):
    """RFC 9112, 3.2. Before any signature is looked at, on every listener."""
    unchanged()
    known = raw_get(server, door, "1.1", ["a.example.org"])
    assert known in (403, 404)
    twice = (["a.example.org", "b.example.org"], ["a.example.org", "a.example.org"])
    for hosts in ([], *twice, ["a b"], ["a,b/c"], [""]):
        assert raw_get(server, door, "1.1", hosts) == 400, hosts
    for hosts in twice:
        assert raw_get(server, door, "1.0", hosts) == 400, hosts
    assert raw_get(server, door, "1.0", []) == known, "HTTP/1.0 knows no Host"
    assert raw_get(server, door, "1.1", ["a.example.org"], "http://a.example.org/") == known
    assert raw_get(server, door, "1.1", ["a.example.org"], "http://b.example.org/") == 400
