"""Signatures against botocore's: links and headers of both versions, over many random requests, and what is refused."""

import base64
import datetime
import hashlib
import hmac
import random
import time
import urllib.error
import urllib.request
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from rawsign import EMPTY_SHA256, Signer, read_answer, request_bytes
from siltstone import ACCESS_KEY, SECRET_KEY, Server
from test_objects import code_of

SIGNATURES = ("s3v4", "s3")
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """A server with a domain of its own, on which signed headers of version 2 are on."""
    switched = {"SILTSTONE_S3__DOMAINS": "s3.test,localhost", "SILTSTONE_S3__SIGV2_HEADERS": "true"}
    server = Server(tmp_path_factory.mktemp("links") / "data", environment=switched)
    server.start()
    server.client().create_bucket(Bucket="links")
    yield server
    server.stop()


def fetch(url, method="GET", body=None, **headers):
    """(status, headers, body); no header but those given and urllib's own."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body, method=method, headers=named)
    if body is not None and "Content-Type" not in named:
        # urllib would send a form's type, which a link of version 2 covers.
        request.add_unredirected_header("Content-Type", "")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def refusal(answer):
    status, _, body = answer
    return status, body.decode().partition("<Code>")[2].partition("</Code>")[0]


def changed(url, **changes):
    """The same link with some parameters changed or, where None, left out."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    query.update({name.replace("_", "-"): value for name, value in changes.items()})
    kept = {name: value for name, value in query.items() if value is not None}
    return urlunsplit(parts._replace(query=urlencode(kept, quote_via=quote)))


@pytest.mark.parametrize("signature", SIGNATURES)
def test_links_put_read_and_delete(linked, signature):
    s3 = linked.client(signature_version=signature)
    key = {"Bucket": "links", "Key": f"{signature}/ä b+c&d//e?f%2F"}
    link = lambda operation, **more: s3.generate_presigned_url(operation, Params={**key, **more}, ExpiresIn=60)
    assert fetch(link("put_object"), "PUT", b"linked")[0] == 200
    assert fetch(link("get_object"))[2] == b"linked"
    assert fetch(link("get_object"), Range="bytes=1-2")[2] == b"in"
    assert fetch(link("head_object"), "HEAD")[0] == 200
    override = link("get_object", ResponseContentType="text/x; a=b", ResponseContentDisposition='attachment; filename="ä b"')
    status, headers, _ = fetch(override)
    assert (status, headers["content-type"]) == (200, "text/x; a=b")
    assert refusal(fetch(changed(override, response_content_type="text/html"))) == (403, "SignatureDoesNotMatch")
    assert refusal(fetch(link("get_object") + "&response-expires=x")) == (403, "SignatureDoesNotMatch")
    assert refusal(fetch(link("get_object"), "DELETE")) == (403, "SignatureDoesNotMatch")
    assert refusal(fetch(link("get_object"), x_amz_meta_a="b")) in ((403, "AccessDenied"), (403, "SignatureDoesNotMatch"))
    assert fetch(link("delete_object"), "DELETE")[0] == 204
    assert refusal(fetch(link("get_object"))) == (404, "NoSuchKey")
    upload = s3.create_multipart_upload(**key)["UploadId"]
    part = link("upload_part", UploadId=upload, PartNumber=1)
    assert refusal(fetch(changed(part, partNumber="2"), "PUT", b"part"))[1] == "SignatureDoesNotMatch"
    status, headers, _ = fetch(part, "PUT", b"part")
    parts = {"Parts": [{"PartNumber": 1, "ETag": headers["etag"]}]}
    s3.complete_multipart_upload(**key, UploadId=upload, MultipartUpload=parts)
    assert fetch(link("get_object"))[2] == b"part"


@pytest.mark.parametrize("signature", SIGNATURES)
def test_links_and_headers_of_a_bucket(linked, signature):
    s3 = linked.client(signature_version=signature)
    bucket = f"of-{signature}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    link = lambda operation, **more: s3.generate_presigned_url(operation, Params={"Bucket": bucket, **more}, ExpiresIn=60)
    assert urlsplit(link("head_bucket")).path == f"/{bucket}"
    status, _, listed = fetch(link("list_objects_v2", Prefix="a/"))
    assert (status, b"<Key>a/b</Key>" in listed) == (200, True), listed
    assert fetch(link("head_bucket"), "HEAD")[0] == 200
    assert fetch(link("get_bucket_location"))[0] == 200
    assert refusal(fetch(link("head_bucket"))) == (403, "SignatureDoesNotMatch")
    other = link("list_objects_v2").replace(f"/{bucket}?", "/links?")
    assert refusal(fetch(other)) == (403, "SignatureDoesNotMatch")
    assert [held["Key"] for held in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b"]
    s3.delete_object(Bucket=bucket, Key="a/b")
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_what_a_link_says_of_the_object_is_stored(linked, signature):
    s3 = linked.client(signature_version=signature)
    named = {"Bucket": "links", "Key": f"{signature}-described"}
    described = {"ContentType": "text/x", "Metadata": {"a": "b c"}, "Tagging": "t=1"}
    link = s3.generate_presigned_url("put_object", Params={**named, **described}, ExpiresIn=60)
    headers = {"Content-Type": "text/x"}
    if signature == "s3v4":
        # Version 4 of botocore leaves them to the sender, signed.
        headers.update({"x-amz-meta-a": "b c", "x-amz-tagging": "t=1"})
    answer = fetch(link, "PUT", b"x", **headers)
    assert answer[0] == 200, answer
    stored = s3.get_object(**named)
    assert (stored["ContentType"], stored["Metadata"], stored["TagCount"]) == ("text/x", {"a": "b c"}, 1)
    assert refusal(fetch(link, "PUT", b"x", **{**headers, "Content-Type": "text/y"}))[0] == 403


def query_link(server, query_of, method="PUT", path="/links/hoisted"):
    """A link of version 4 with parameters of the caller's, as SDKs sign that put headers there."""
    url = server.ready["s3"] + path + "?" + urlencode(query_of, quote_via=quote)
    request = AWSRequest(method=method, url=url)
    S3SigV4QueryAuth(CREDENTIALS, "s3", "us-east-1", expires=60).add_auth(request)
    return request.url


def test_headers_in_the_query_of_a_link_count_and_checksums_there_do_not(linked):
    described = {
        "x-amz-meta-a": "b+c d",
        "x-amz-tagging": "t=1",
        "x-amz-checksum-crc32": "AAAAAA==",
        "x-amz-sdk-checksum-algorithm": "CRC32",
    }
    link = query_link(linked, described)
    assert fetch(link, "PUT", b"body", Content_Type="text/x")[0] == 200
    stored = linked.client().get_object(Bucket="links", Key="hoisted")
    assert (stored["Metadata"], stored["TagCount"], stored["Body"].read()) == ({"a": "b+c d"}, 1, b"body")
    assert refusal(fetch(query_link(linked, {"x-amz-acl": "public-read"}), "PUT", b""))[0] == 400


def test_links_of_version_4_are_refused_for_their_own_reasons(linked):
    s3 = linked.client(signature_version="s3v4")
    link = s3.generate_presigned_url("get_object", Params={"Bucket": "links", "Key": "k"}, ExpiresIn=60)
    malformed = (400, "AuthorizationQueryParametersError")
    for changes, expected in (
        ({"X_Amz_Expires": "0"}, malformed),
        ({"X_Amz_Expires": "604801"}, malformed),
        ({"X_Amz_Expires": "-1"}, malformed),
        ({"X_Amz_Expires": "x"}, malformed),
        ({"X_Amz_Expires": None}, malformed),
        ({"X_Amz_Date": None}, malformed),
        ({"X_Amz_Algorithm": "AWS4-HMAC-SHA1"}, malformed),
        ({"X_Amz_Credential": "a/b"}, malformed),
        ({"X_Amz_SignedHeaders": "x-amz-date"}, (403, "AccessDenied")),
        ({"X_Amz_Signature": "0" * 64}, (403, "SignatureDoesNotMatch")),
        ({"X_Amz_Expires": "61"}, (403, "SignatureDoesNotMatch")),
        ({"X_Amz_Security_Token": "t"}, (400, "InvalidToken")),
    ):
        assert refusal(fetch(changed(link, **changes))) == expected, changes
    assert refusal(fetch(link, Authorization="AWS4-HMAC-SHA256 Credential=x")) == (400, "InvalidArgument")
    assert refusal(fetch(link + "&Signature=x&AWSAccessKeyId=y&Expires=1")) == (400, "InvalidArgument")
    unknown = linked.client(access_key="nobody", signature_version="s3v4")
    foreign = unknown.generate_presigned_url("get_object", Params={"Bucket": "links", "Key": "k"}, ExpiresIn=60)
    assert refusal(fetch(foreign)) == (403, "InvalidAccessKeyId")


def presigned_at(server, when, expires, region="us-east-1"):
    """A link of version 4 as of another time."""
    signer = Signer(server.address(), now=when, region=region)
    query = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{ACCESS_KEY}/{signer.scope}",
        "X-Amz-Date": signer.date,
        "X-Amz-Expires": str(expires),
        "X-Amz-SignedHeaders": "host",
    }
    text = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted(query.items()))
    canonical = f"GET\n/links/k\n{text}\nhost:{signer.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = signer._sign(f"AWS4-HMAC-SHA256\n{signer.date}\n{signer.scope}\n{digest}")
    return f"{server.ready['s3']}/links/k?{text}&X-Amz-Signature={signature}"


def test_a_link_of_version_4_lives_as_long_as_it_says(linked):
    linked.client().put_object(Bucket="links", Key="k", Body=b"k")
    now = datetime.datetime.now(datetime.timezone.utc)
    at = lambda seconds, expires: fetch(presigned_at(linked, now + datetime.timedelta(seconds=seconds), expires))
    assert at(0, 604800)[0] == 200 and at(-604000, 604800)[0] == 200 and at(600, 60)[0] == 200
    assert refusal(at(-120, 60)) == (403, "AccessDenied")
    assert b"Request has expired" in at(-120, 60)[2]
    assert refusal(at(1200, 60)) == (403, "AccessDenied")
    elsewhere = presigned_at(linked, now, 60, region="eu-west-1")
    status, headers, body = fetch(elsewhere)
    assert refusal((status, headers, body)) == (400, "AuthorizationQueryParametersError")
    assert b"<Region>us-east-1</Region>" in body and headers["x-amz-bucket-region"] == "us-east-1"


def test_links_of_version_2_are_refused_for_their_own_reasons(linked):
    s3 = linked.client(signature_version="s3")
    key = {"Bucket": "links", "Key": "k"}
    link = s3.generate_presigned_url("get_object", Params=key, ExpiresIn=60)
    assert "AWSAccessKeyId=" in link and "X-Amz" not in link
    for changes, expected in (
        ({"Expires": "1"}, (403, "AccessDenied")),
        ({"Expires": "x"}, (403, "AccessDenied")),
        ({"Expires": None}, (403, "AccessDenied")),
        ({"Signature": None}, (403, "AccessDenied")),
        ({"AWSAccessKeyId": None}, (403, "AccessDenied")),
        ({"AWSAccessKeyId": "nobody"}, (403, "InvalidAccessKeyId")),
        ({"Signature": base64.b64encode(bytes(20)).decode()}, (403, "SignatureDoesNotMatch")),
        ({"versionId": "null"}, (403, "SignatureDoesNotMatch")),
        ({"x_amz_acl": "private"}, (403, "SignatureDoesNotMatch")),
        ({"retention": ""}, (403, "AccessDenied")),
        ({"attributes": ""}, (403, "AccessDenied")),
    ):
        assert refusal(fetch(changed(link, **changes))) == expected, changes
    long = s3.generate_presigned_url("get_object", Params=key, ExpiresIn=8 * 24 * 3600)
    assert refusal(fetch(long)) == (403, "AccessDenied")
    assert refusal(fetch(link, Authorization="AWS a:b")) == (400, "InvalidArgument")


def test_signatures_of_version_2_have_their_switches(shared_server, linked, tmp_path):
    v2 = dict(signature_version="s3")
    linked.client(**v2).put_object(Bucket="links", Key="by header", Body=b"x")
    assert code_of(shared_server.client(**v2).list_buckets)[0] == "InvalidRequest"
    closed = Server(tmp_path / "data", environment={"SILTSTONE_S3__SIGV2_LINKS": "false"}).start()
    try:
        link = closed.client(**v2).generate_presigned_url("get_object", Params={"Bucket": "b12", "Key": "k"})
        assert refusal(fetch(link)) == (400, "InvalidRequest")
    finally:
        closed.stop()


def random_text(dice, alphabet, longest):
    return "".join(dice.choice(alphabet) for _ in range(dice.randint(1, longest)))


ODD = "abzAZ09 -._~!$&'()*+,;=:@/%#?[]{}|\\^`\"<>äß€漢😀\t"
SAFE_VALUE = "abz019 -._~!$&'()*+,;=:@/%#?[]{}|^`"


def random_requests(seed, count):
    dice = random.Random(seed)
    for _ in range(count):
        key = random_text(dice, ODD, 20)
        query = {f"x-q{n}": random_text(dice, ODD, 12) for n in range(dice.randint(0, 3))}
        if dice.random() < 0.5:
            query["response-content-language"] = random_text(dice, SAFE_VALUE, 12).strip() or "x"
        headers = {
            f"x-amz-{random_text(dice, 'abcxyz-', 6)}-h": random_text(dice, SAFE_VALUE, 12).strip()
            for _ in range(dice.randint(0, 3))
        }
        yield key, query, headers


@pytest.mark.parametrize("signer", [S3SigV4Auth, S3SigV4QueryAuth, HmacV1Auth, HmacV1QueryAuth])
def test_random_requests_signed_by_botocore_are_accepted_and_no_changed_one_is(linked, signer):
    """The server answers 404 to what is rightly signed for a key that is not there, 403 to all else."""
    base = linked.ready["s3"]
    for key, query, headers in random_requests(signer.__name__, 120):
        text = urlencode(query, quote_via=quote)
        url = f"{base}/links/absent{quote(key, safe='/~')}" + (f"?{text}" if text else "")
        request = AWSRequest(method="GET", url=url, headers=dict(headers))
        if signer in (S3SigV4Auth, S3SigV4QueryAuth):
            signer(CREDENTIALS, "s3", "us-east-1").add_auth(request)
        else:
            signer(CREDENTIALS).add_auth(request)
        split = urlsplit(request.url)
        target = split.path + (f"?{split.query}" if split.query else "")
        sent = {"host": split.netloc, **{name.lower(): value for name, value in request.headers.items()}}
        if signer is HmacV1QueryAuth:
            sent.pop("date", None)
        with linked.connect() as connection:
            for altered, expected in ((target, (404, "NoSuchKey")), (target.replace("absent", "bsent", 1), (403, "SignatureDoesNotMatch"))):
                connection.sendall(request_bytes("GET", altered, sent))
                answer = read_answer(connection)
                assert refusal(answer) == expected, (altered, sent, answer)


def test_buckets_are_addressed_by_host(linked):
    host, port = linked.address()

    def ask(method, bucket_host, path, body=b"", signer=None):
        signer = signer or Signer((bucket_host, port))
        payload = hashlib.sha256(body).hexdigest()
        headers = signer.headers(method, path, payload, {"content-length": len(body)})
        headers["host"] = f"{bucket_host}:{port}"
        with linked.connect() as connection:
            connection.sendall(request_bytes(method, path, headers, body))
            return read_answer(connection)

    assert ask("PUT", "virtual.s3.test", "/")[0] == 200
    assert ask("PUT", "virtual.s3.test", "/a/b", b"by host")[0] == 200
    assert ask("GET", "VIRTUAL.s3.test", "/a/b")[2] == b"by host"
    assert ask("GET", "s3.test", "/virtual/a/b")[2] == b"by host"
    assert linked.client().get_object(Bucket="virtual", Key="a/b")["Body"].read() == b"by host"
    assert b"<Key>a/b</Key>" in ask("GET", "virtual.s3.test", "/")[2]
    assert refusal(ask("GET", "nobody.s3.test", "/a/b")) == (404, "NoSuchBucket")
    assert refusal(ask("GET", "a_b.s3.test", "/a/b")) == (400, "InvalidBucketName")
    other = Signer(("other.s3.test", port))
    assert refusal(ask("GET", "virtual.s3.test", "/a/b", signer=other)) == (403, "SignatureDoesNotMatch")
    abroad = Signer(("virtual.s3.test", port), region="eu-west-1")
    assert refusal(ask("GET", "virtual.s3.test", "/a/b", signer=abroad)) == (400, "AuthorizationHeaderMalformed")


@pytest.mark.parametrize("signature", SIGNATURES)
def test_boto3_addresses_by_host(linked, signature):
    import boto3
    from botocore.config import Config

    port = linked.address()[1]
    config = Config(s3={"addressing_style": "virtual"}, signature_version=signature, retries={"max_attempts": 1})
    s3 = boto3.client(
        "s3",
        endpoint_url=f"http://localhost:{port}",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=config,
    )
    named = {"Bucket": "links", "Key": "virtual ä"}
    link = s3.generate_presigned_url("put_object", Params=named)
    parts = urlsplit(link)
    assert parts.hostname == "links.localhost"
    direct = urlunsplit(parts._replace(netloc=f"127.0.0.1:{port}"))
    request = urllib.request.Request(direct, data=b"v", method="PUT", headers={"Host": parts.netloc, "Content-Type": ""})
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200
    assert linked.client().get_object(**named)["Body"].read() == b"v"
