"""The journey: the same steps for every client, checked through the client and, beside it, through a reference."""

import email.header
import os
import random
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from adapter import Adapter, Refused
from siltstone import Server

MIB = 1 << 20
UNICODE = "Größe 日本"
# The same as one word of RFC 2047, for the clients that send nothing but ASCII.
ENCODED = "=?UTF-8?B?R3LDtsOfZSDml6XmnKw=?="
# More keys than a page holds, and prefixes on both sides of its end.
LISTED_KEYS = [f"list/{number:04}" for number in range(1010)]
LISTED_PREFIXES = [f"list/{number:04}-folder/" for number in range(0, 1010, 100)]


@dataclass
class Journey:
    """A client on its way: its adapter, a second one with a wrong key, and the reference that looks at what it did."""

    client: Adapter
    stranger: Adapter
    server: Server
    reference: object
    bucket: str
    folder: Path

    def file(self, body):
        """A new file with this content."""
        path = self.folder / Server.unique("body")
        path.write_bytes(body)
        return path

    def got(self, key, bucket=None, **options):
        """What the client reads."""
        target = self.folder / Server.unique("got")
        self.client.get(bucket or self.bucket, key, target, **options)
        return target.read_bytes()

    def seen(self, key):
        """What the reference reads."""
        try:
            return self.reference.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.reference.exceptions.NoSuchKey:
            raise AssertionError(f"the client made no object of the key {key!r}") from None

    def there(self, key, body=b"there before"):
        """Stores an object with the reference, for the client to find."""
        self.reference.put_object(Bucket=self.bucket, Key=key, Body=body)
        return body

    def put_many(self, bucket, keys):
        """Stores many empty objects with the reference."""
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: self.reference.put_object(Bucket=bucket, Key=key, Body=b""), keys))

    def list_is_there(self):
        """Stores what is listed, once."""
        if not self.reference.list_objects_v2(Bucket=self.bucket, Prefix="list/")["KeyCount"]:
            self.put_many(self.bucket, LISTED_KEYS + [f"{prefix}x" for prefix in LISTED_PREFIXES])

    def count(self, operation, status="200"):
        """How often the server answered an operation with this status."""
        start = f'siltstone_s3_requests_total{{code="{status}",op="{operation}"}} '
        lines = self.server.get("/metrics")[1].splitlines()
        return sum(int(float(line.removeprefix(start))) for line in lines if line.startswith(start))


def round_trip(journey, key, body):
    journey.client.put(journey.bucket, key, journey.file(body))
    assert journey.seen(key) == body
    assert journey.got(key) == body


def create_bucket(journey):
    name = Server.unique("made")
    journey.client.create_bucket(name)
    assert journey.reference.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200


def empty_object(journey):
    round_trip(journey, "empty.bin", b"")


def small_object(journey):
    round_trip(journey, "small.bin", random.Random(4).randbytes(4096))


def multipart_object(journey):
    body = random.Random(20).randbytes(20 * MIB)
    before = journey.count("CompleteMultipartUpload")
    journey.client.upload(journey.bucket, "large.bin", journey.file(body))
    assert journey.count("CompleteMultipartUpload") > before
    etag = journey.reference.head_object(Bucket=journey.bucket, Key="large.bin")["ETag"].strip('"')
    # How many parts is the client's choice: s3fs-fuse makes one of it all.
    assert int(etag.partition("-")[2]) >= 1, etag
    assert journey.seen("large.bin") == body
    assert journey.got("large.bin") == body


def key_with_spaces(journey):
    round_trip(journey, "a key/with  two spaces.bin", b"spaces")


def key_in_unicode(journey):
    round_trip(journey, "schlüssel/鍵-🗝.bin", b"unicode")


def key_with_plus(journey):
    round_trip(journey, "one+one=2&x%20y?z#.bin", b"plus")


def key_with_empty_segment(journey):
    round_trip(journey, "double//slash.bin", b"empty segment")


def key_with_dots(journey):
    round_trip(journey, "up/../and/./here.bin", b"dots")


def key_with_trailing_slash(journey):
    round_trip(journey, "folder/marked/", b"trailing slash")


def decoded(value):
    words = email.header.decode_header(value)
    return "".join(part.decode(charset or "ascii") if isinstance(part, bytes) else part for part, charset in words)


def metadata_with(journey, key, value):
    journey.client.put(journey.bucket, key, journey.file(b"with metadata"), metadata={"title": value})
    seen = journey.reference.head_object(Bucket=journey.bucket, Key=key)["Metadata"]
    assert decoded(seen["title"]) == UNICODE
    assert decoded(journey.client.metadata(journey.bucket, key)["title"]) == UNICODE


def metadata_encoded(journey):
    metadata_with(journey, "described.bin", ENCODED)


def metadata_raw(journey):
    metadata_with(journey, "described-raw.bin", UNICODE)


def read_range(journey):
    body = journey.there("range.bin", random.Random(5).randbytes(100_000))
    target = journey.folder / "range"
    journey.client.get_range(journey.bucket, "range.bin", target, 70_000, 70_999)
    assert target.read_bytes() == body[70_000:71_000]


def list_pages(journey):
    journey.list_is_there()
    keys, prefixes = journey.client.list(journey.bucket, "list/", "/")
    assert sorted(keys) == LISTED_KEYS
    assert sorted(prefixes) == LISTED_PREFIXES


def copy_object(journey):
    body = journey.there("copy source+é.bin", b"to be copied")
    before = journey.count("CopyObject")
    journey.client.copy(journey.bucket, "copy source+é.bin", "copied.bin")
    assert journey.seen("copied.bin") == body
    assert journey.count("CopyObject") > before, "the client read it and wrote it again"


def tag_object(journey):
    journey.there("tagged.bin")
    tags = {"colour": "blå", "size class": "4+ KiB"}
    journey.client.put_tags(journey.bucket, "tagged.bin", tags)
    seen = journey.reference.get_object_tagging(Bucket=journey.bucket, Key="tagged.bin")["TagSet"]
    assert {tag["Key"]: tag["Value"] for tag in seen} == tags
    assert journey.client.tags(journey.bucket, "tagged.bin") == tags


def keep_versions(journey):
    bucket, key = Server.unique("versions"), "versioned.bin"
    journey.reference.create_bucket(Bucket=bucket)
    journey.client.enable_versioning(bucket)
    assert journey.reference.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    for body in (b"first", b"second"):
        journey.client.put(bucket, key, journey.file(body))
    journey.client.delete(bucket, key)
    every = journey.client.versions(bucket, key)
    assert len(every) == 3, every
    marker, second, first = every
    assert (marker["deleted"], second["deleted"], first["deleted"]) == (True, False, False)
    assert (marker["latest"], second["latest"], first["latest"]) == (True, False, False)
    assert journey.got(key, bucket, version=first["version"]) == b"first"
    assert journey.got(key, bucket, version=second["version"]) == b"second"


def presign_link(journey):
    body = journey.there("a link+é.bin", b"for whoever has the link")
    link = journey.client.presign(journey.bucket, "a link+é.bin")
    with urllib.request.urlopen(link, timeout=30, context=journey.server.trust()) as answer:
        assert answer.read() == body
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(link.replace("a%20link", "another%20link"), timeout=30, context=journey.server.trust())
    assert refused.value.code == 403


def delete_many(journey):
    keys = ["gone/1", "gone/two words", "gone/a+b", "gone/é", "gone/<&>"]
    for key in keys:
        journey.there(key)
    journey.client.delete_many(journey.bucket, keys)
    assert journey.reference.list_objects_v2(Bucket=journey.bucket, Prefix="gone/")["KeyCount"] == 0


def is_refusal(error):
    """Whether this is how a client words that it is not let in. s3cmd comes back with a SigV2 header, which is a bad
    request."""
    words = ("signature", "403", "forbidden", "denied", "not permitted", "400 (bad request)")
    return any(word in str(error).lower() for word in words)


def wrong_key(journey):
    journey.there("secret.bin")
    target = journey.folder / "stolen"
    with pytest.raises(Refused) as refused:
        journey.stranger.get(journey.bucket, "secret.bin", target)
    assert is_refusal(refused.value), refused.value
    assert not target.exists() or not os.path.getsize(target)


STEPS = {
    "create bucket": create_bucket,
    "0 bytes": empty_object,
    "4 KiB": small_object,
    "20 MiB in parts": multipart_object,
    "key with spaces": key_with_spaces,
    "key in Unicode": key_in_unicode,
    "key with + = & % ? #": key_with_plus,
    "key with //": key_with_empty_segment,
    "key with ..": key_with_dots,
    "key ending in /": key_with_trailing_slash,
    "metadata, encoded Unicode": metadata_encoded,
    "metadata, raw UTF-8": metadata_raw,
    "range": read_range,
    "list over pages with delimiter": list_pages,
    "copy": copy_object,
    "tags": tag_object,
    "versions": keep_versions,
    "presigned link": presign_link,
    "delete many": delete_many,
    "wrong key refused": wrong_key,
}
