"""Broken and hostile requests: S3's own code, nothing stored, no stream changed but `access`."""

import base64
import datetime
import hashlib
import re
import zlib

import pytest
from rawsign import EMPTY_SHA256, Signer, put, read_answer, request_bytes
from siltstone import Server, heads
from test_objects import KIB, MIB, code_of

STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def code(body):
    return re.search(rb"<Code>(\w+)</Code>", body).group(1).decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("raw") / "data")
    server.start()
    server.client().create_bucket(Bucket="raw")
    yield server
    server.stop()


@pytest.fixture
def unchanged(server):
    """Nothing but the access stream may have grown when the test is over."""
    before = heads(server.data_dir)
    yield
    assert heads(server.data_dir) == before


def signed_now(server, **options):
    return Signer(server.address(), **options)


def test_the_raw_signer_itself_is_right(server):
    status, _, _ = put(server, "good", b"abc")
    assert status == 200
    signer = signed_now(server)
    length = {"x-amz-decoded-content-length": 70_000, "content-encoding": "aws-chunked"}
    total = sum(len(f"{size:x};chunk-signature=") + 64 + 2 + size + 2 for size in (65536, 4464, 0))
    path = "/raw/chunked"
    headers = signer.headers("PUT", path, STREAMING, {**length, "content-length": total})
    body = signer.chunk(b"a" * 65536) + signer.chunk(b"b" * 4464) + signer.chunk(b"")
    assert len(body) == total
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", path, headers, body))
        assert read_answer(connection)[0] == 200
    got = server.client().get_object(Bucket="raw", Key="chunked")
    assert got["Body"].read() == b"a" * 65536 + b"b" * 4464
    assert "ContentEncoding" not in got


def chunked(server, chunks, *, decoded, payload=STREAMING, extra=None, trailer=b"", declared=None):
    """Sends a framed body built by `chunks(signer)`; returns the answer."""
    signer = signed_now(server)
    headers = {"x-amz-decoded-content-length": decoded, "content-encoding": "aws-chunked", **(extra or {})}
    path = "/raw/never"
    # The length is signed before the chunks are; only its digits matter, so a dry run measures it.
    dry = signed_now(server)
    dry.headers("PUT", path, payload, headers)
    length = len(chunks(dry)) + len(trailer(dry) if callable(trailer) else trailer)
    headers["content-length"] = declared or length
    signed = signer.headers("PUT", path, payload, headers)
    body = chunks(signer)
    body += trailer(signer) if callable(trailer) else trailer
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", path, signed, body))
        return read_answer(connection)


FRAMES = {
    "a wrong chunk signature": (lambda s: s.chunk(b"x" * 9, signature="0" * 64) + s.chunk(b""), 9, (403, "SignatureDoesNotMatch")),
    "a wrong last signature": (lambda s: s.chunk(b"x" * 9) + s.chunk(b"", signature="0" * 64), 9, (403, "SignatureDoesNotMatch")),
    "no last chunk": (lambda s: s.chunk(b"x" * 9), 9, (400, "IncompleteBody")),
    "a chunk cut short": (lambda s: s.chunk(b"x" * 900)[:-100], 900, (400, "IncompleteBody")),
    "more than declared": (lambda s: s.chunk(b"x" * 9) + s.chunk(b""), 8, (400, "IncompleteBody")),
    "less than declared": (lambda s: s.chunk(b"x" * 9) + s.chunk(b""), 10, (400, "IncompleteBody")),
    "a size that is no number": (lambda s: b"zz;chunk-signature=" + b"0" * 64 + b"\r\n", 9, (403, "InvalidChunkSizeError")),
    "a size beyond all bounds": (lambda s: b"f" * 40 + b";chunk-signature=" + b"0" * 64 + b"\r\n", 9, (403, "InvalidChunkSizeError")),
    "a header without an end": (lambda s: b"9;chunk-signature=" + b"0" * 90_000, 9, (403, "InvalidChunkSizeError")),
    "no signature": (lambda s: b"9\r\nxxxxxxxxx\r\n0\r\n\r\n", 9, (403, "SignatureDoesNotMatch")),
    "a small chunk that is not the last": (lambda s: s.chunk(b"x" * 8191) + s.chunk(b"x") + s.chunk(b""), 8192, (403, "InvalidChunkSizeError")),
}


@pytest.mark.parametrize("case", FRAMES)
def test_broken_frames_store_nothing(server, unchanged, case):
    chunks, decoded, expected = FRAMES[case]
    status, _, body = chunked(server, chunks, decoded=decoded)
    assert (status, code(body)) == expected, body
    assert code_of(server.client().head_object, Bucket="raw", Key="never") == ("404", 404)


UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
GOOD_CRC = base64.b64encode(zlib.crc32(b"x" * 9).to_bytes(4, "big")).decode()


def test_small_chunks_are_refused_with_their_number_and_size(server, unchanged):
    frames = lambda signer: b"2000\r\n" + b"x" * 8192 + b"\r\n3\r\nxxx\r\n1\r\nx\r\n0\r\n"
    status, _, body = chunked(server, frames, decoded=8196, payload=UNSIGNED_TRAILER, trailer=b"\r\n")
    assert (status, code(body)) == (403, "InvalidChunkSizeError")
    assert b"<Chunk>3</Chunk><BadChunkSize>3</BadChunkSize>" in body


@pytest.mark.parametrize("trailer,expected", [
    (b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n", "BadDigest"),
    (b"x-amz-checksum-crc32:!\r\n\r\n", "InvalidRequest"),
    (b"\r\n", "MalformedTrailerError"),
    (b"", "IncompleteBody"),
    (b"x-amz-checksum-sha1:AAAA\r\n\r\n", "MalformedTrailerError"),
])
def test_broken_trailers_store_nothing(server, unchanged, trailer, expected):
    frames = lambda signer: b"9\r\nxxxxxxxxx\r\n0\r\n"
    extra = {"x-amz-trailer": "x-amz-checksum-crc32"}
    status, _, body = chunked(server, frames, decoded=9, payload=UNSIGNED_TRAILER, extra=extra, trailer=trailer)
    assert (status, code(body)) == (400, expected)


def test_a_signed_trailer_is_verified(server):
    frames = lambda signer: signer.chunk(b"x" * 9) + signer.chunk(b"")[:-2]
    send = lambda trailer: chunked(
        server, frames, decoded=9, payload=STREAMING + "-TRAILER",
        extra={"x-amz-trailer": "x-amz-checksum-crc32"}, trailer=trailer)
    status, _, body = send(lambda signer: signer.trailer("x-amz-checksum-crc32", GOOD_CRC, signature="0" * 64))
    assert (status, code(body)) == (403, "SignatureDoesNotMatch")
    assert send(lambda signer: signer.trailer("x-amz-checksum-crc32", GOOD_CRC))[0] == 200
    server.client().delete_object(Bucket="raw", Key="never")


def test_a_body_that_is_not_what_was_signed_is_refused(server, unchanged):
    status, _, body = put(server, "never", b"abc", payload_hash=hashlib.sha256(b"abd").hexdigest())
    assert (status, code(body)) == (400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("declared", [100, 200_000, 9 * MIB])
@pytest.mark.parametrize("sent", [0, 50])
def test_a_client_that_stops_in_mid_body_leaves_nothing(server, unchanged, declared, sent):
    status, _, body = put(server, "never", b"x" * (declared * sent // 100), declared=declared, payload_hash="UNSIGNED-PAYLOAD")
    assert (status, code(body)) == (400, "IncompleteBody")
    assert code_of(server.client().head_object, Bucket="raw", Key="never") == ("404", 404)


MINUTES = lambda count: datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=count)


@pytest.mark.parametrize("options,expected", [
    ({"secret_key": "wrong-secret-here"}, (403, "SignatureDoesNotMatch")),
    ({"access_key": "NOSUCHKEYATALL"}, (403, "InvalidAccessKeyId")),
    ({"now": MINUTES(-16)}, (403, "RequestTimeTooSkewed")),
    ({"now": MINUTES(16)}, (403, "RequestTimeTooSkewed")),
    ({"region": "eu-west-9"}, (400, "AuthorizationHeaderMalformed")),
    ({"service": "ec2"}, (400, "AuthorizationHeaderMalformed")),
    ({"scope_date": "20200101"}, (400, "AuthorizationHeaderMalformed")),
])
def test_wrong_credentials_and_dates_are_refused_before_the_body(server, unchanged, options, expected):
    signer = signed_now(server, **options)
    every = {"content-length": 9 * MIB, "expect": "100-continue"}
    headers = signer.headers("PUT", "/raw/never", "UNSIGNED-PAYLOAD", every)
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", "/raw/never", headers))
        status, answer, body = read_answer(connection)
    assert (status, code(body)) == expected
    assert answer["x-amz-request-id"].encode() in body


def unsigned_amz_header(server):
    signer = signed_now(server)
    headers = {"content-length": 0, "x-amz-meta-sneaked": "in"}
    return "PUT", signer.headers("PUT", "/raw/never", EMPTY_SHA256, headers, unsigned=("x-amz-meta-sneaked",))


def host_not_signed(server):
    return "PUT", signed_now(server).headers("PUT", "/raw/never", EMPTY_SHA256, {"content-length": 0}, unsigned=("host",))


def signed_header_absent(server):
    headers = signed_now(server).headers("PUT", "/raw/never", EMPTY_SHA256, {"content-length": 0, "x-amz-meta-a": "b"})
    del headers["x-amz-meta-a"]
    return "PUT", headers


def anonymous(server):
    return "PUT", {"host": signed_now(server).host, "content-length": 0}


def unknown_authentication(server):
    return "PUT", {"host": signed_now(server).host, "content-length": 0, "authorization": "Bearer abc"}


def signature_version_2(server):
    return "PUT", {"host": signed_now(server).host, "content-length": 0, "authorization": "AWS AK:c2ln", "date": "x"}


def another_method(server):
    return "DELETE", signed_now(server).headers("PUT", "/raw/never", EMPTY_SHA256, {"content-length": 0})


FORGERIES = [
    (unsigned_amz_header, (403, "AccessDenied")),
    (host_not_signed, (403, "AccessDenied")),
    (signed_header_absent, (403, "AccessDenied")),
    (anonymous, (403, "AccessDenied")),
    (unknown_authentication, (400, "InvalidArgument")),
    (signature_version_2, (400, "InvalidRequest")),
    (another_method, (403, "SignatureDoesNotMatch")),
]


@pytest.mark.parametrize("forge,expected", FORGERIES)
def test_forged_requests_are_refused(server, unchanged, forge, expected):
    method, headers = forge(server)
    with server.connect() as connection:
        connection.sendall(request_bytes(method, "/raw/never", headers))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == expected


def test_a_refused_claim_is_named_unless_it_could_be_a_secret(server, unchanged):
    def refusal(signer=None, **changed):
        headers = {**(signer or signed_now(server)).headers("GET", "/raw/good", EMPTY_SHA256), **changed}
        with server.connect() as connection:
            connection.sendall(request_bytes("GET", "/raw/good", headers))
            return read_answer(connection)[2]

    scheme = refusal(authorization="Bearer abc")
    assert b"<ArgumentName>Authorization</ArgumentName><ArgumentValue>Bearer abc</ArgumentValue>" in scheme
    named = lambda key: f"<AWSAccessKeyId>{key}</AWSAccessKeyId>".encode()
    unknown = "AKIAUNKNOWNKEY012345"
    assert named(unknown) in refusal(signed_now(server, access_key=unknown))
    assert named(signed_now(server).access_key) in refusal(signed_now(server, secret_key="wrong"))
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    assert secret.encode() not in refusal(signed_now(server, access_key=secret))


def test_a_preflight_hears_that_there_are_no_cors_rules(server, unchanged):
    host = {"host": signed_now(server).host}
    asks = {"origin": "http://a.example.org", "access-control-request-method": "PUT"}
    for headers, expected in (
        ({**host, **asks}, (403, "AccessForbidden")),
        ({**host, "origin": "http://a.example.org"}, (400, "BadRequest")),
        (host, (400, "BadRequest")),
    ):
        with server.connect() as connection:
            connection.sendall(request_bytes("OPTIONS", "/raw/good", headers))
            status, _, body = read_answer(connection)
        assert (status, code(body)) == expected


def test_an_expectation_that_cannot_be_met_is_refused(server, unchanged):
    headers = signed_now(server).headers("PUT", "/raw/never", "UNSIGNED-PAYLOAD", {"content-length": 5, "expect": "foo"})
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", "/raw/never", headers, b"12345"))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (417, "ExpectationFailed")


@pytest.mark.parametrize("path,query", [("/raw/never", ""), ("/raw/never", "partNumber=1&uploadId=" + "0" * 32)])
def test_content_says_how_long_it_is(server, unchanged, path, query):
    headers = signed_now(server).headers("PUT", path, EMPTY_SHA256, query=query)
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", f"{path}?{query}" if query else path, headers))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (411, "MissingContentLength")


@pytest.mark.parametrize("algorithm", ["sha512", "md5", "xxhash64", "xxhash3", "xxhash128", "newer"])
def test_a_checksum_of_an_unknown_algorithm_is_refused(server, algorithm):
    status, _, body = put(server, "never", b"abc", headers={f"x-amz-checksum-{algorithm}": "AAAA"})
    assert (status, code(body)) == (400, "InvalidRequest")
    upload = server.client().create_multipart_upload(Bucket="raw", Key="never")["UploadId"]
    try:
        for method, query, sent in (("PUT", f"partNumber=1&uploadId={upload}", b"abc"), ("POST", f"uploadId={upload}", b"<a/>")):
            every = {"content-length": len(sent), f"x-amz-checksum-{algorithm}": "AAAA"}
            headers = signed_now(server).headers(method, "/raw/never", hashlib.sha256(sent).hexdigest(), every, query=query)
            with server.connect() as connection:
                connection.sendall(request_bytes(method, f"/raw/never?{query}", headers, sent))
                status, _, body = read_answer(connection)
            assert (status, code(body)) == (400, "InvalidRequest") and b"x-amz-checksum-" in body
        assert not server.client().list_parts(Bucket="raw", Key="never", UploadId=upload).get("Parts")
    finally:
        server.client().abort_multipart_upload(Bucket="raw", Key="never", UploadId=upload)


def test_two_kinds_of_authentication_are_refused(server, unchanged):
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    headers = signed_now(server).headers("GET", "/raw/good", EMPTY_SHA256, query=query)
    with server.connect() as connection:
        connection.sendall(request_bytes("GET", f"/raw/good?{query}", headers))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (400, "InvalidArgument")


def test_content_length_with_transfer_encoding_is_refused_or_ends_the_connection(server, unchanged):
    smuggled = b"0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"
    with server.connect() as connection:
        head = f"PUT /raw/never HTTP/1.1\r\nhost: x\r\ncontent-length: {len(smuggled)}\r\ntransfer-encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + smuggled)
        status, headers, body = read_answer(connection)
        assert (status, code(body)) == (403, "AccessDenied")
        assert connection.makefile("rb").readline() == b"", "nothing else is answered on this connection"


def test_expect_continue_is_answered_only_after_authorisation(server, unchanged):
    for secret, expected in (("wrong-secret-here", 403), (None, 100)):
        signer = signed_now(server, **({"secret_key": secret} if secret else {}))
        headers = signer.headers("PUT", "/raw/never", "UNSIGNED-PAYLOAD", {"content-length": 5, "expect": "100-continue"})
        with server.connect() as connection:
            connection.sendall(request_bytes("PUT", "/raw/never", headers))
            assert read_answer(connection)[0] == expected


@pytest.mark.parametrize("document,expected", [
    (b"", "MissingRequestBodyError"),
    (b"<", "MalformedXML"),
    (b"<Delete/>", "MalformedXML"),
    (b"<Other/>", "MalformedXML"),
    (b"\xff\xfe", "MalformedXML"),
    (b"<Delete><Object></Object></Delete>", "MalformedXML"),
    (b"<Delete><Object><Key>a\x01</Key></Object></Delete>", "MalformedXML"),
    (b"<Delete><Object><Key>a&#x1;</Key></Object></Delete>", "MalformedXML"),
    (b"<!DOCTYPE d [<!ENTITY a 'b'>]><Delete><Object><Key>&a;</Key></Object></Delete>", "MalformedXML"),
    (b"<Delete>" + b"<a>" * 100 + b"</a>" * 100 + b"</Delete>", "MalformedXML"),
    (b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>", "MalformedXML"),
    (b"<Delete><Object><Key>" + b"k" * (3 * MIB) + b"</Key></Object></Delete>", "MaxMessageLengthExceeded"),
], ids=range(12))
def test_broken_documents_are_refused(server, unchanged, document, expected):
    headers = {"content-length": len(document), "content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    signed = signed_now(server).headers("POST", "/raw", hashlib.sha256(document).hexdigest(), headers, query="delete=")
    with server.connect() as connection:
        connection.sendall(request_bytes("POST", "/raw?delete=", signed, document))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (400, expected)


def test_a_body_that_nobody_asked_for_is_verified(server, unchanged):
    headers = signed_now(server).headers("DELETE", "/raw/good", hashlib.sha256(b"other").hexdigest(), {"content-length": 4})
    with server.connect() as connection:
        connection.sendall(request_bytes("DELETE", "/raw/good", headers, b"body"))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("size", [33 * KIB, 256 * KIB])
def test_heads_beyond_32_kib_are_refused(server, unchanged, size):
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + b"x-a: " + b"a" * size)
        status, headers, body = read_answer(connection)
    assert (status, code(body)) == (400, "RequestHeaderSectionTooLarge")
    assert headers["x-amz-request-id"].encode() in body


@pytest.mark.parametrize("target", ["/raw/%ff", "/raw/%zz", "/raw/%", "/raw/a%00b%c0%af"])
def test_keys_that_are_no_utf8_are_refused(server, unchanged, target):
    headers = signed_now(server).headers("PUT", target, EMPTY_SHA256, {"content-length": 0})
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", target, headers))
        status, _, body = read_answer(connection)
    assert (status, code(body)) == (400, "InvalidURI")


def test_a_hundred_broken_uploads_leave_memory_flat(server, unchanged):
    for _ in range(5):
        put(server, "never", b"x" * 3 * MIB, declared=64 * MIB, payload_hash="UNSIGNED-PAYLOAD")
    before = server.resident_bytes()
    for _ in range(100):
        put(server, "never", b"x" * MIB, declared=64 * MIB, payload_hash="UNSIGNED-PAYLOAD")
    assert server.resident_bytes() < before + 48 * MIB


def test_a_hundred_readers_that_do_not_read_leave_memory_flat(server):
    server.client().put_object(Bucket="raw", Key="small", Body=b"abc")
    server.client().put_object(Bucket="raw", Key="large", Body=b"x" * 64 * MIB)
    headers = signed_now(server).headers("GET", "/raw/large", EMPTY_SHA256)
    assert server.client().get_object(Bucket="raw", Key="large")["Body"].read(MIB)
    before = server.resident_bytes()
    readers = [server.connect() for _ in range(100)]
    try:
        for reader in readers:
            reader.sendall(request_bytes("GET", "/raw/large", headers))
        for reader in readers:
            assert reader.recv(12) == b"HTTP/1.1 200"
        # One piece on its way and one read ahead for each, and what the allocator makes of it.
        assert server.resident_bytes() < before + 96 * MIB
        assert server.client().get_object(Bucket="raw", Key="small")["Body"].read() == b"abc"
    finally:
        for reader in readers:
            reader.close()
    for key in ("large", "small"):
        server.client().delete_object(Bucket="raw", Key=key)
