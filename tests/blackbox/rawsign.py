"""Signs and sends requests byte by byte, to be wrong in ways that no SDK allows. After AWS's "Signature Calculations
for the Authorization Header" (single and multiple chunks)."""

import datetime
import hashlib
import hmac
from urllib.parse import quote

from siltstone import ACCESS_KEY, SECRET_KEY

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    def __init__(self, address, *, access_key=ACCESS_KEY, secret_key=SECRET_KEY, now=None, region="us-east-1", service="s3", scope_date=None):
        self.host = f"{address[0]}:{address[1]}"
        self.now = now or datetime.datetime.now(datetime.timezone.utc)
        self.date = self.now.strftime("%Y%m%dT%H%M%SZ")
        day = scope_date or self.date[:8]
        self.scope = f"{day}/{region}/{service}/aws4_request"
        self.access_key = access_key
        key = _hmac(b"AWS4" + secret_key.encode(), day)
        for step in (region, service, "aws4_request"):
            key = _hmac(key, step)
        self.key = key
        self.seed = None

    def headers(self, method, path, payload_hash, headers=None, query="", unsigned=()):
        """The headers of a signed request; `unsigned` ones are sent but left out of the signature."""
        every = {"host": self.host, "x-amz-content-sha256": payload_hash, "x-amz-date": self.date}
        every.update({name.lower(): str(value) for name, value in (headers or {}).items()})
        names = sorted(name for name in every if name not in unsigned)
        canonical = "\n".join(
            [method, path, query, *(f"{name}:{every[name].strip()}" for name in names), "", ";".join(names), payload_hash]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        self.seed = self._sign(f"AWS4-HMAC-SHA256\n{self.date}\n{self.scope}\n{digest}")
        every["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access_key}/{self.scope},"
            f"SignedHeaders={';'.join(names)},Signature={self.seed}"
        )
        return every

    def _sign(self, text):
        return hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()

    def chunk(self, data, *, signature=None):
        """One signed chunk; call in order, last with no data."""
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self.date}\n{self.scope}\n{self.seed}\n{EMPTY_SHA256}\n{hashlib.sha256(data).hexdigest()}"
        self.seed = self._sign(text)
        return f"{len(data):x};chunk-signature={signature or self.seed}\r\n".encode() + data + b"\r\n"

    def trailer(self, name, value, *, signature=None):
        """The signed trailer that follows the last chunk's header (which must lack its closing blank line)."""
        digest = hashlib.sha256(f"{name}:{value}\n".encode()).hexdigest()
        own = self._sign(f"AWS4-HMAC-SHA256-TRAILER\n{self.date}\n{self.scope}\n{self.seed}\n{digest}")
        return f"{name}:{value}\r\nx-amz-trailer-signature:{signature or own}\r\n\r\n".encode()


def request_bytes(method, target, headers, body=b""):
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


def read_answer(connection):
    """(status, headers, body) of one answer; (None, {}, b"") where the connection just ends."""
    stream = connection.makefile("rb")
    try:
        line = stream.readline()
        if not line:
            return None, {}, b""
        status, headers = int(line.split()[1]), {}
        while (line := stream.readline().strip()):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers, stream.read(int(headers.get("content-length", 0)))
    except ConnectionResetError:
        return None, {}, b""


def put(server, key, body, *, declared=None, payload_hash=None, headers=None, signer=None, bucket="raw", **options):
    """PUTs with a body that need not be what the headers say, then stops sending; returns the answer."""
    signer = signer or Signer(server.address())
    path = f"/{bucket}/{quote(key)}"
    payload_hash = payload_hash or hashlib.sha256(body).hexdigest()
    every = {"content-length": len(body) if declared is None else declared, **(headers or {})}
    signed = signer.headers("PUT", path, payload_hash, every, **options)
    with server.connect() as connection:
        connection.sendall(request_bytes("PUT", path, signed, body))
        if declared not in (None, len(body)):
            connection.shutdown(1)
        return read_answer(connection)
