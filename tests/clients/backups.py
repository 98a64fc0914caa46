"""Backup tools: they choose their own keys, so each step asks of a folder what the journey asks of an object, and looks
at the server's own counts where the step is about how."""

import random

import pytest
from adapter import BUILT, Adapter, Refused, Unable
from journey import MIB, Server, is_refusal

BIN = BUILT / "venv" / "bin"


class Backup(Adapter):
    """A backup tool. `backup` and `restore` are of a whole folder, in a bucket of its own."""

    makes_buckets = True

    def backup(self, bucket, folder):
        raise NotImplementedError

    def restore(self, bucket, target):
        """Restores the newest backup; returns the folder that has the files."""
        raise NotImplementedError

    def forget(self, bucket):
        """Removes all backups but the newest."""
        raise NotImplementedError

    @property
    def own_steps(self):
        return {
            "create bucket": create_bucket,
            "0 bytes": file_step({"empty.bin": b""}),
            "4 KiB": file_step({"small.bin": random.Random(4).randbytes(4096)}),
            "20 MiB in parts": in_parts,
            "key with spaces": file_step({"a key/with  two spaces.bin": b"spaces"}),
            "key in Unicode": file_step({"schlüssel/鍵-🗝.bin": b"unicode"}),
            "key with + = & % ? #": file_step({"one+one=2&x%20y?z#.bin": b"plus"}),
            "list over pages with delimiter": pages,
            "range": ranges,
            "delete many": forget,
            "wrong key refused": wrong_key,
        }


def tree(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def write_files(journey, files):
    source = journey.folder / Server.unique("source")
    for name, body in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(body)
    return source


def fresh_bucket(journey):
    """The name of a bucket for one backup, made for tools that do not make theirs."""
    bucket = Server.unique("backup")
    if not journey.client.makes_buckets:
        journey.reference.create_bucket(Bucket=bucket)
    return bucket


def goes_and_returns(journey, files):
    """Backs these files up and restores them; returns the bucket."""
    bucket = fresh_bucket(journey)
    source = write_files(journey, files)
    journey.client.backup(bucket, source)
    restored = journey.client.restore(bucket, journey.folder / Server.unique("restored"))
    assert tree(restored) == files
    return bucket


def file_step(files):
    return lambda journey: goes_and_returns(journey, files) and None


def create_bucket(journey):
    if not journey.client.makes_buckets:
        raise Unable
    bucket = goes_and_returns(journey, {"file": b"first"})
    assert journey.reference.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 200


def in_parts(journey):
    before = journey.count("CompleteMultipartUpload")
    goes_and_returns(journey, {"large.bin": random.Random(20).randbytes(20 * MIB)})
    if journey.count("CompleteMultipartUpload") == before:
        raise Unable


def pages(journey):
    """More files of the tool's own kind than a page holds: it must see those behind the first page."""
    journey.client.list_many(journey)


def ranges(journey):
    before = journey.count("GetObject", "206")
    goes_and_returns(journey, {"file": random.Random(6).randbytes(100_000)})
    if journey.count("GetObject", "206") == before:
        raise Unable


def forget(journey):
    bucket = fresh_bucket(journey)
    size = lambda: sum(entry["Size"] for entry in journey.reference.list_objects_v2(Bucket=bucket)["Contents"])
    large = write_files(journey, {"file": random.Random(7).randbytes(3 * MIB)})
    journey.client.backup(bucket, large)
    (large / "file").write_bytes(b"little is left")
    journey.client.backup(bucket, large)
    assert size() > 3 * MIB
    journey.client.forget(bucket)
    assert size() < MIB
    restored = journey.client.restore(bucket, journey.folder / Server.unique("restored"))
    assert tree(restored) == {"file": b"little is left"}


def wrong_key(journey):
    bucket = goes_and_returns(journey, {"file": b"secret"})
    with pytest.raises(Refused) as refused:
        journey.stranger.restore(bucket, journey.folder / Server.unique("stolen"))
    assert is_refusal(refused.value), refused.value


class Restic(Backup):
    def start(self):
        self.environment.update({"RESTIC_PASSWORD": "p", "RESTIC_CACHE_DIR": str(self.folder / "cache")})
        self.known = set()

    def restic(self, bucket, *words):
        return self.run("restic", "-r", f"s3:{self.endpoint}/{bucket}", *words)

    def backup(self, bucket, folder):
        if bucket not in self.known:
            self.restic(bucket, "init")
            self.known.add(bucket)
        self.restic(bucket, "backup", "--pack-size", "64", folder)

    def restore(self, bucket, target):
        self.restic(bucket, "restore", "latest", "--no-cache", "--target", target)
        return next(path for path in target.rglob("source-*") if path.is_dir())

    def forget(self, bucket):
        self.restic(bucket, "forget", "--keep-last", "1", "--prune", "--max-unused", "0")

    def list_many(self, journey):
        bucket = goes_and_returns(journey, {"file": b"one"})
        packs = [f"{number:064x}" for number in range(1010)]
        journey.put_many(bucket, [f"data/{name[:2]}/{name}" for name in packs])
        assert set(packs) <= set(self.restic(bucket, "list", "packs", "--no-lock").split())


class Duplicity(Backup):
    makes_buckets = False

    def duplicity(self, action, *words):
        options = ["--no-encryption", "--s3-endpoint-url", self.endpoint, "--archive-dir", self.folder / "archive"]
        options += ["--num-retries", "1", "--volsize", "50"]
        return self.run(BIN / "python", BIN / "duplicity", action, *options, *words)

    def backup(self, bucket, folder):
        self.duplicity("full", folder, f"boto3+s3://{bucket}/chain")

    def restore(self, bucket, target):
        self.duplicity("restore", f"boto3+s3://{bucket}/chain", target)
        return target

    def forget(self, bucket):
        self.duplicity("remove-all-but-n-full", "1", "--force", f"boto3+s3://{bucket}/chain")

    def list_many(self, journey):
        bucket = goes_and_returns(journey, {"file": b"one"})
        # All before its own files, which it finds only behind the first page.
        journey.put_many(bucket, [f"chain/a{number:04}" for number in range(1010)])
        assert "Number of contained backup sets: 1" in self.duplicity("collection-status", f"boto3+s3://{bucket}/chain")
