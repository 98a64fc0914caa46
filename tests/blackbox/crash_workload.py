"""A load whose every acknowledgement is written down, to be compared with what a server holds after a crash or another fault."""

import hashlib
import random
import threading
import time

from botocore.exceptions import BotoCoreError, ClientError
from test_objects import KIB, MIB

BUCKET = "crash"
VERSIONED = "crash-versions"
SIZES = [0, 100, 4 * KIB, 64 * KIB, 65 * KIB, 300 * KIB, MIB]
PART = 5 * MIB
VERSIONS = 6  # of a key, before one is removed for good


class Place:
    """What may stand at one key or bucket name: the acknowledged state, and that of a call whose outcome is unknown."""

    def __init__(self):
        self.possible = {None}

    @property
    def state(self):
        (state,) = self.possible
        return state

    def settle(self, found, name):
        assert found in self.possible, f"{name}: {found} is none of {self.possible}"
        self.possible = {found}


class History(Place):
    """The versions of a key. One that was never answered has no known id (`None`) and takes the one that is found."""

    def __init__(self):
        self.possible = {()}

    def settle(self, found, name):
        """`found`: (versions, markers, latest), each newest first, since a listing tells no order between the two kinds."""
        versions, markers, latest = found
        known = {entry[0] for state in self.possible for entry in state}
        new = [entry[0] for entry in (*versions, *markers) if entry[0] not in known]
        named = {tuple((entry[0] or (new[0] if new else None), entry[1]) for entry in state) for state in self.possible}
        fitting = {state for state in named if seen_as(state) == found}
        assert fitting, f"{name}: {found} is none of {named}"
        self.possible = fitting


def seen_as(history):
    """What a listing shows of a history."""
    versions = tuple(entry for entry in history if entry[1])
    markers = tuple(entry for entry in history if not entry[1])
    return versions, markers, history[0][0] if history else None


class Upload:
    """A multipart upload: the parts acknowledged, and whether it may be under way still."""

    def __init__(self, key):
        self.key, self.parts, self.may_be_open, self.may_be_gone = key, {}, True, False

    def ending(self):
        self.may_be_gone = True

    def ended(self):
        self.may_be_open, self.may_be_gone = False, True


class Lost(Exception):
    """The connection ended, so the outcome is unknown."""


class SlowDown(Exception):
    """The server refused (503, or 507 in a fault): nothing may have changed."""


def state_of(body, part=None):
    """(hash of the content, ETag, size): what a GET and a listing must agree on."""
    content = hashlib.md5(body)
    if part is None:
        return content.hexdigest(), content.hexdigest(), len(body)
    hashes = [hashlib.md5(body[at : at + part]).digest() for at in range(0, len(body), part)]
    return content.hexdigest(), f"{hashlib.md5(b''.join(hashes)).hexdigest()}-{len(hashes)}", len(body)


class Worker(threading.Thread):
    """Owns its keys and its bucket, so that what was acknowledged last is known without a clock. Ends at the first
    change whose outcome is unknown; `failure` is what must not happen before (or because of) the fault. Once `killed` is set,
    the fault has begun: then answers of 5xx are allowed, wrong ones never are. An answer that a power cut of its `volume`
    overtook counts as none."""

    def __init__(self, number, seed, client=None, killed=None, before=None, volume=None):
        super().__init__(name=f"worker {number}")
        self.number, self.random = number, random.Random(seed)
        self.client, self.killed, self.volume = client, killed, volume
        self.keys = before.keys if before else {f"w{number}/{key}": Place() for key in range(12)}
        # Of each key in the bucket with versions, newest first: (version id, state), where a delete marker's state is `None`.
        self.histories = before.histories if before else {f"w{number}/{key}": History() for key in range(2)}
        self.bucket_name = f"crash-own-{number}"
        self.bucket = before.bucket if before else Place()
        self.uploads = before.uploads if before else {}
        self.failure = None
        self.acknowledged = self.refused = self.unknown = self.failed_reads = 0

    def run(self):
        acts = [self.own_bucket, self.multipart, self.delete, self.version, self.read, self.put]
        try:
            while True:
                [act] = self.random.choices(acts, [20, 5, 20, 10, 10, 35])
                try:
                    act()
                except SlowDown:
                    continue
        except Lost:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, it fails the test
            self.failure = error

    def call(self, method, **arguments):
        """One request. Before the fault only S3's own SlowDown is forgiven."""
        sent = time.monotonic()
        try:
            answer = getattr(self.client, method)(**arguments)
        except ClientError as error:
            code, status = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
            begun = self.killed.is_set()
            if (status, code) == (503, "SlowDown") or (begun and status in (503, 507)):
                self.refused += 1
                if begun and method in ("create_bucket", "delete_bucket"):
                    raise Lost from error  # docs/status.md: refused between its halves, it may still take effect
                raise SlowDown from error
            if begun and status >= 500:
                raise Lost from error
            raise
        except BotoCoreError as error:
            if self.killed.is_set():
                raise Lost from error
            raise
        if self.volume is not None and self.volume.was_cut_since(sent):
            raise Lost
        self.acknowledged += 1
        return answer

    def change(self, place, state, method, **arguments):
        before = place.possible
        place.possible = before | {state}
        try:
            answer = self.call(method, **arguments)
        except SlowDown:
            place.possible = before
            raise
        except Lost:
            self.unknown += 1
            raise
        place.possible = {state}
        return answer

    def body(self):
        size, seed = self.random.choice(SIZES), self.random.randbytes(32)
        return (seed * (size // 32 + 1))[:size]

    def put(self):
        name, body = self.random.choice(list(self.keys)), self.body()
        answer = self.change(self.keys[name], state_of(body), "put_object", Bucket=BUCKET, Key=name, Body=body)
        assert answer["ETag"].strip('"') == state_of(body)[1]

    def delete(self):
        name = self.random.choice(list(self.keys))
        self.change(self.keys[name], None, "delete_object", Bucket=BUCKET, Key=name)

    def read(self):
        """What was acknowledged last is what a GET shows at once; in a fault it may fail, and must not lie."""
        name = self.random.choice(list(self.keys))
        try:
            found = content_of(lambda: self.call("get_object", Bucket=BUCKET, Key=name))
        except (Lost, SlowDown, BotoCoreError):
            if not self.killed.is_set():
                raise
            self.failed_reads += 1
        else:
            self.keys[name].settle(found, name)

    def version(self):
        """Puts a version or a delete marker, and removes one for good where there are many."""
        name = self.random.choice(list(self.histories))
        place, (before,) = self.histories[name], self.histories[name].possible
        where = {"Bucket": VERSIONED, "Key": name}
        if len(before) >= VERSIONS:
            gone = self.random.choice(before)
            rest = tuple(entry for entry in before if entry != gone)
            self.change(place, rest, "delete_object", VersionId=gone[0], **where)
            return
        if self.random.random() < 0.25:
            state = None
            answer = self.change(place, ((None, state), *before), "delete_object", **where)
        else:
            body = self.body()
            state = state_of(body)
            answer = self.change(place, ((None, state), *before), "put_object", Body=body, **where)
        place.possible = {((answer["VersionId"], state), *before)}

    def multipart(self):
        name = self.random.choice(list(self.keys))
        where = {"Bucket": BUCKET, "Key": name}
        where["UploadId"] = self.call("create_multipart_upload", **where)["UploadId"]
        upload = self.uploads[where["UploadId"]] = Upload(name)
        body = self.random.randbytes(PART) + b"the end" + self.body()
        for number, at in enumerate(range(0, len(body), PART), 1):
            answer = self.call("upload_part", **where, PartNumber=number, Body=body[at : at + PART])
            upload.parts[number] = answer["ETag"]
        upload.ending()
        if self.random.random() < 0.3:
            self.call("abort_multipart_upload", **where)
        else:
            parts = [{"PartNumber": number, "ETag": etag} for number, etag in upload.parts.items()]
            self.change(
                self.keys[name], state_of(body, PART), "complete_multipart_upload", **where, MultipartUpload={"Parts": parts}
            )
        upload.ended()

    def own_bucket(self):
        """Creates, fills, empties and deletes the worker's own bucket. Its state: `None`, `()` or that of its object."""
        name, state = self.bucket_name, self.bucket.state
        if state is None:
            self.change(self.bucket, (), "create_bucket", Bucket=name)
        elif state == () and self.random.random() < 0.5:
            self.change(self.bucket, None, "delete_bucket", Bucket=name)
        elif state == ():
            body = self.body()
            self.change(self.bucket, state_of(body), "put_object", Bucket=name, Key="only", Body=body)
        elif self.random.random() < 0.3:
            self.refused_as_not_empty(name)
        else:
            self.change(self.bucket, (), "delete_object", Bucket=name, Key="only")

    def refused_as_not_empty(self, name):
        try:
            self.call("delete_bucket", Bucket=name)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "BucketNotEmpty", error
        else:
            raise AssertionError("a bucket that held an object was deleted")


def listing(client, bucket):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {entry["Key"]: (entry["ETag"].strip('"'), entry["Size"]) for page in pages for entry in page.get("Contents", [])}


def content_of(get):
    """The state that a GET shows; `None` where the key is absent."""
    try:
        answer = get()
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
        return None
    body = answer["Body"].read()
    return hashlib.md5(body).hexdigest(), answer["ETag"].strip('"'), len(body)


def found_at(client, bucket, key, listed):
    """The state a key holds, the same in GET and in the listing; `None` where the listing lacks it and GET does too."""
    found = content_of(lambda: client.get_object(Bucket=bucket, Key=key))
    assert listed.get(key) == (found and found[1:]), f"{key}: listed as {listed.get(key)}, holds {found}"
    return found


def prepare(client):
    """Makes the buckets that all workers share."""
    client.create_bucket(Bucket=BUCKET)
    client.create_bucket(Bucket=VERSIONED)
    client.put_bucket_versioning(Bucket=VERSIONED, VersioningConfiguration={"Status": "Enabled"})


def wait_for(workers, seconds):
    """Lets them work for so long; returns the names of those that ended meanwhile."""
    deadline = time.monotonic() + seconds
    for worker in workers:
        worker.join(max(0, deadline - time.monotonic()))
    return [worker.name for worker in workers if not worker.is_alive()]


def check(client, workers):
    """Every key, bucket and upload is in an acknowledged or a possible state, which thereby is the acknowledged one."""
    listed = listing(client, BUCKET)
    names = {entry["Name"] for entry in client.list_buckets()["Buckets"]}
    for worker in workers:
        for name, place in worker.keys.items():
            place.settle(found_at(client, BUCKET, name, listed), name)
            listed.pop(name, None)
        own = worker.bucket_name
        found = None
        if own in names:
            inside = listing(client, own)
            assert set(inside) <= {"only"}, f"phantoms in {own}: {inside}"
            found = found_at(client, own, "only", inside) or ()
        worker.bucket.settle(found, own)
    assert not listed, f"phantoms: {listed}"
    assert names <= {BUCKET, VERSIONED, *(worker.bucket_name for worker in workers)}, names
    check_versions(client, workers)
    check_uploads(client, workers)


def check_versions(client, workers):
    found = {}
    for page in client.get_paginator("list_object_versions").paginate(Bucket=VERSIONED):
        for kind, entries in enumerate((page.get("Versions", []), page.get("DeleteMarkers", []))):
            for entry in entries:
                where = {"Bucket": VERSIONED, "Key": entry["Key"], "VersionId": entry["VersionId"]}
                state = None if kind else content_of(lambda: client.get_object(**where))
                of_key = found.setdefault(entry["Key"], ([], [], []))
                of_key[kind].append((entry["VersionId"], state))
                if entry["IsLatest"]:
                    of_key[2].append(entry["VersionId"])
    for worker in workers:
        for name, place in worker.histories.items():
            versions, markers, latest = found.pop(name, ([], [], [None]))
            assert len(latest) == 1, f"{name} has the latest versions {latest}"
            place.settle((tuple(versions), tuple(markers), latest[0]), name)
    assert not found, f"phantoms: {found}"


def check_uploads(client, workers):
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=BUCKET)
    open_now = {upload["UploadId"]: upload["Key"] for page in pages for upload in page.get("Uploads", [])}
    for worker in workers:
        for upload_id, upload in worker.uploads.items():
            if upload_id not in open_now:
                assert upload.may_be_gone, f"the upload of {upload.key} is lost"
                continue
            assert upload.may_be_open, f"the upload of {upload.key} came back"
            answer = client.list_parts(Bucket=BUCKET, Key=upload.key, UploadId=upload_id)
            stored = {part["PartNumber"]: part["ETag"] for part in answer.get("Parts", [])}
            assert stored.items() >= upload.parts.items(), f"acknowledged parts of {upload.key} are lost"
        worker.uploads.clear()
    for upload_id, key in open_now.items():
        client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload_id)
