"""The largest uploads that S3 takes, through real clients: 5 GiB in one request and a byte more in parts, and 10,000 parts.
`make big` runs the sizes themselves (about 6 GiB of disk at a time), otherwise the same steps are taken with smaller ones."""

import base64
import hashlib
import os
import shutil
import zlib

import pytest
from boto3.s3.transfer import TransferConfig
from rawsign import Signer, read_answer, request_bytes
from siltstone import heads
from test_bad_input import code
from test_load import BOUND
from test_objects import MIB, code_of

GIB = 1024 * MIB
# The most that one request may carry (S3 User Guide, "Amazon S3 multipart upload limits").
MOST = 5 * GIB
LONG = os.environ.get("SILTSTONE_BIG") == "1"
SIZE = MOST if LONG else 256 * MIB
# The short form has a second page of parts, too.
PARTS = 10_000 if LONG else 1_001
CHUNK = 16 * MIB
FILLER = os.urandom(MIB)


def pieces(size):
    """A body of this size in pieces of 1 MiB, each unlike the others."""
    for place in range(0, size, MIB):
        yield (place.to_bytes(8, "big") + FILLER[8:])[: size - place]


class Generated:
    """A body that no client can know the size of or go back in; keeps the hashes of its chunks."""

    def __init__(self, size):
        self.rest, self.buffer, self.hashed = pieces(size), b"", 0
        self.md5s, self.crcs = [], []

    def read(self, amount):
        while len(self.buffer) < amount and (piece := next(self.rest, None)):
            if self.hashed % CHUNK == 0:
                self.md5s.append(hashlib.md5())
                self.crcs.append(0)
            self.md5s[-1].update(piece)
            self.crcs[-1] = zlib.crc32(piece, self.crcs[-1])
            self.hashed += len(piece)
            self.buffer += piece
        taken, self.buffer = self.buffer[:amount], self.buffer[amount:]
        return taken


def crc_of(values):
    """The checksum of checksums, as headers have it, without the count."""
    joined = b"".join(value.to_bytes(4, "big") for value in values)
    return base64.b64encode(zlib.crc32(joined).to_bytes(4, "big")).decode()


@pytest.fixture
def server(own_server):
    own_server.client().create_bucket(Bucket="big")
    yield own_server
    peak = own_server.peak_bytes()
    own_server.kill()
    shutil.rmtree(own_server.data_dir)  # of a failed test too: this is gigabytes
    print(f"{peak / MIB:.0f} MiB at most")
    assert peak <= BOUND, f"{peak / MIB:.0f} MiB"


def assert_is_stored(s3, key, size):
    body = s3.get_object(Bucket="big", Key=key)["Body"]
    for place, piece in enumerate(pieces(size)):
        assert body.read(len(piece)) == piece, f"{key} differs in its MiB {place}"
    assert body.read(1) == b""


def test_an_object_of_more_than_one_request_comes_in_parts_from_a_generator(server):
    s3, size = server.client(), SIZE + 1
    source = Generated(size)
    config = TransferConfig(multipart_threshold=CHUNK, multipart_chunksize=CHUNK, max_concurrency=4)
    s3.upload_fileobj(source, "big", "parts", Config=config, ExtraArgs={"ChecksumAlgorithm": "CRC32"})
    count = len(source.md5s)
    assert count == SIZE // CHUNK + 1
    head = s3.head_object(Bucket="big", Key="parts", ChecksumMode="ENABLED")
    md5s = b"".join(md5.digest() for md5 in source.md5s)
    assert (head["ContentLength"], head["ETag"]) == (size, f'"{hashlib.md5(md5s).hexdigest()}-{count}"')
    assert (head["ChecksumCRC32"], head["ChecksumType"]) == (f"{crc_of(source.crcs)}-{count}", "COMPOSITE")
    assert_is_stored(s3, "parts", size)
    end = s3.get_object(Bucket="big", Key="parts", Range="bytes=-3")
    assert end["ContentRange"] == f"bytes {size - 3}-{size - 1}/{size}"
    assert end["Body"].read() == list(pieces(size))[-2][-2:] + list(pieces(size))[-1]
    copy = lambda: s3.copy_object(Bucket="big", Key="copy", CopySource="big/parts")
    if LONG:
        assert code_of(copy) == ("InvalidRequest", 400), "more than one copy may carry"
    else:
        assert copy()["CopyObjectResult"]["ETag"]


def test_one_request_carries_it_all(server):
    s3, md5 = server.client(read_timeout=600), hashlib.md5()
    signed = Signer(server.address()).headers("PUT", "/big/one", "UNSIGNED-PAYLOAD", {"content-length": SIZE})
    with server.connect(600) as connection:
        connection.sendall(request_bytes("PUT", "/big/one", signed))
        for piece in pieces(SIZE):
            md5.update(piece)
            connection.sendall(piece)
        status, headers, body = read_answer(connection)
    assert status == 200, body
    assert headers["etag"] == f'"{md5.hexdigest()}"'
    assert_is_stored(s3, "one", SIZE)
    copied = s3.copy_object(Bucket="big", Key="copy", CopySource="big/one")["CopyObjectResult"]
    assert copied["ETag"] == headers["etag"], "as much as one copy may carry"


@pytest.mark.parametrize("framed", [False, True])
@pytest.mark.parametrize("expect", [False, True])
def test_a_byte_more_than_one_request_may_carry_is_refused_before_the_body(own_server, framed, expect):
    s3 = own_server.client()
    s3.create_bucket(Bucket="big")
    upload = s3.create_multipart_upload(Bucket="big", Key="never")["UploadId"]
    before = heads(own_server.data_dir)
    for query in ("", f"partNumber=1&uploadId={upload}"):
        headers = {"content-length": MOST + 1}
        if framed:
            # What frames the content does not count, what it declares does.
            headers = {"content-length": MOST + 900_000, "content-encoding": "aws-chunked", "x-amz-decoded-content-length": MOST + 1}
        if expect:
            headers["expect"] = "100-continue"
        payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" if framed else "UNSIGNED-PAYLOAD"
        signed = Signer(own_server.address()).headers("PUT", "/big/never", payload, headers, query)
        with own_server.connect() as connection:
            connection.sendall(request_bytes("PUT", f"/big/never?{query}".rstrip("?"), signed))
            status, _, body = read_answer(connection)
        assert (status, code(body)) == (400, "EntityTooLarge"), body
        assert f"<ProposedSize>{MOST + 1}</ProposedSize><MaxSizeAllowed>{MOST}</MaxSizeAllowed>".encode() in body
    assert heads(own_server.data_dir) == before


def test_as_many_parts_as_an_upload_may_have(server):
    """Each part is a copy of one source, so that all of them share 5 MiB of disk."""
    s3, size = server.client(), 5 * MIB
    source = b"".join(pieces(size))
    s3.put_object(Bucket="big", Key="source", Body=source)
    upload = s3.create_multipart_upload(Bucket="big", Key="many", ChecksumAlgorithm="CRC32")["UploadId"]
    named = {"Bucket": "big", "Key": "many", "UploadId": upload}
    before = server.allocated_bytes()
    parts = []
    for number in range(1, PARTS + 1):
        made = s3.upload_part_copy(
            **named, PartNumber=number, CopySource="big/source", CopySourceRange=f"bytes=0-{size - 1}"
        )["CopyPartResult"]
        parts.append({"PartNumber": number, "ETag": made["ETag"], "ChecksumCRC32": made["ChecksumCRC32"]})
    assert server.allocated_bytes() - before < 200 * MIB, "the parts share their bytes"
    beyond = lambda: s3.upload_part_copy(**named, PartNumber=10_001, CopySource="big/source")
    assert code_of(beyond) == ("InvalidArgument", 400)
    pages = [page["Parts"] for page in s3.get_paginator("list_parts").paginate(**named)]
    assert [len(page) for page in pages] == [1000] * (PARTS // 1000) + ([PARTS % 1000] if PARTS % 1000 else [])
    listed = [part for page in pages for part in page]
    assert [{name: part[name] for name in parts[0]} for part in listed] == parts
    done = s3.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    md5s = hashlib.md5(source).digest() * PARTS
    assert done["ETag"] == f'"{hashlib.md5(md5s).hexdigest()}-{PARTS}"'
    assert done["ChecksumCRC32"] == f"{crc_of([zlib.crc32(source)] * PARTS)}-{PARTS}"
    assert s3.head_object(Bucket="big", Key="many")["ContentLength"] == PARTS * size
    for number in (1, PARTS // 2, PARTS):
        got = s3.get_object(Bucket="big", Key="many", PartNumber=number)
        first = (number - 1) * size
        assert (got["ContentRange"], got["PartsCount"]) == (f"bytes {first}-{first + size - 1}/{PARTS * size}", PARTS)
        assert got["Body"].read() == source
    seam = s3.get_object(Bucket="big", Key="many", Range=f"bytes={size - 3}-{size + 2}")["Body"].read()
    assert seam == source[-3:] + source[:3]
    shown = s3.get_object_attributes(Bucket="big", Key="many", ObjectAttributes=["ObjectParts"], PartNumberMarker=PARTS - 1)
    assert shown["ObjectParts"]["TotalPartsCount"] == PARTS
    assert [part["PartNumber"] for part in shown["ObjectParts"]["Parts"]] == [PARTS]
