"""Clients that are libraries: a driver in the library's language takes one call a line on its standard input, as JSON, and
answers each with one line: {"ok": value}, {"error": text}, or {"unable": true} where the library has no such call."""

import json
import subprocess
import threading

from adapter import CALL_SECONDS, Adapter, Refused, Unable
from journey import LISTED_KEYS, MIB, STEPS


class Library(Adapter):
    """Speaks with the driver of one library."""

    command = ()

    def start(self):
        self.errors = open(self.folder / "driver.log", "w+")
        self.process = subprocess.Popen(
            [str(word) for word in self.command],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.errors.close()

    def call(self, op, **arguments):
        # A driver that hangs is ended, which ends the wait for its answer.
        guard = threading.Timer(CALL_SECONDS, self.process.kill)
        guard.start()
        try:
            line = json.dumps({"op": op, **{name: value for name, value in arguments.items() if value is not None}})
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        finally:
            guard.cancel()
        if not answer:
            self.errors.seek(0)
            raise RuntimeError(f"the driver ended: {self.errors.read()[-4000:]}")
        answer = json.loads(answer)
        if answer.get("unable"):
            raise Unable
        if "error" in answer:
            raise Refused(answer["error"])
        return answer.get("ok")

    def create_bucket(self, bucket):
        self.call("create_bucket", bucket=bucket)

    def put(self, bucket, key, source, metadata=None):
        self.call("put", bucket=bucket, key=key, file=str(source), metadata=metadata or {})

    def upload(self, bucket, key, source):
        self.call("upload", bucket=bucket, key=key, file=str(source))

    def get(self, bucket, key, target, version=None):
        self.call("get", bucket=bucket, key=key, file=str(target), version=version)

    def get_range(self, bucket, key, target, first, last):
        self.call("get", bucket=bucket, key=key, file=str(target), first=first, last=last)

    def metadata(self, bucket, key):
        return self.call("metadata", bucket=bucket, key=key)

    def list(self, bucket, prefix, delimiter):
        answer = self.call("list", bucket=bucket, prefix=prefix, delimiter=delimiter)
        return answer["keys"], answer["prefixes"]

    def copy(self, bucket, source, key):
        self.call("copy", bucket=bucket, source=source, key=key)

    def put_tags(self, bucket, key, tags):
        self.call("put_tags", bucket=bucket, key=key, tags=tags)

    def tags(self, bucket, key):
        return self.call("tags", bucket=bucket, key=key)

    def enable_versioning(self, bucket):
        self.call("enable_versioning", bucket=bucket)

    def versions(self, bucket, key):
        return self.call("versions", bucket=bucket, key=key)

    def presign(self, bucket, key):
        return self.call("presign", bucket=bucket, key=key)

    def delete(self, bucket, key):
        self.call("delete", bucket=bucket, key=key)

    def delete_many(self, bucket, keys):
        self.call("delete_many", bucket=bucket, keys=keys)


class DuckDb(Library):
    """DuckDB reads and writes tables: the steps about how large files move are taken with one."""

    @property
    def own_steps(self):
        return STEPS | {
            "20 MiB in parts": table_in_parts,
            "range": table_in_ranges,
            "list over pages with delimiter": keys_over_pages,
        }


def table_in_parts(journey):
    before = journey.count("CompleteMultipartUpload")
    journey.client.call("write_table", bucket=journey.bucket, key="table.parquet", rows=3_000_000)
    assert journey.count("CompleteMultipartUpload") > before
    assert journey.reference.head_object(Bucket=journey.bucket, Key="table.parquet")["ContentLength"] > 20 * MIB
    assert journey.client.call("sum_table", bucket=journey.bucket, key="table.parquet") == sum(range(3_000_000))


def table_in_ranges(journey):
    journey.client.call("write_table", bucket=journey.bucket, key="small.parquet", rows=1000)
    before = journey.count("GetObject", "206")
    assert journey.client.call("sum_table", bucket=journey.bucket, key="small.parquet") == sum(range(1000))
    assert journey.count("GetObject", "206") > before


def keys_over_pages(journey):
    """Its globs ask for no delimiter, and answer with keys alone."""
    journey.list_is_there()
    assert sorted(journey.client.list(journey.bucket, "list/", "/")[0]) == LISTED_KEYS
