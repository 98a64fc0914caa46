"""Clients that are command-line tools."""

import json
import re
from datetime import datetime

from adapter import BUILT, ROOT, Adapter, Unable

BIN = BUILT / "venv" / "bin"


class AwsCli(Adapter):
    """The AWS CLI: `s3` where it has the command, `s3api` for the rest."""

    def aws(self, *words):
        return self.run(ROOT / ".venv/bin/aws", "--endpoint-url", self.endpoint, "--output", "json", *words)

    def api(self, command, *words):
        printed = self.aws("s3api", command, *words)
        return json.loads(printed) if printed.strip() else {}

    def create_bucket(self, bucket):
        self.aws("s3", "mb", f"s3://{bucket}")

    def put(self, bucket, key, source, metadata=None):
        if key.endswith("/"):
            # `s3 cp` would put the file into that folder.
            self.api("put-object", "--bucket", bucket, "--key", key, "--body", source)
            return
        self.aws("s3", "cp", source, f"s3://{bucket}/{key}", *(["--metadata", json.dumps(metadata)] if metadata else []))

    def upload(self, bucket, key, source):
        self.put(bucket, key, source)

    def get(self, bucket, key, target, version=None):
        if version or key.endswith("/"):
            self.api("get-object", "--bucket", bucket, "--key", key, *(["--version-id", version] if version else []), target)
        else:
            self.aws("s3", "cp", f"s3://{bucket}/{key}", target)

    def get_range(self, bucket, key, target, first, last):
        self.api("get-object", "--bucket", bucket, "--key", key, "--range", f"bytes={first}-{last}", target)

    def metadata(self, bucket, key):
        return self.api("head-object", "--bucket", bucket, "--key", key)["Metadata"]

    def list(self, bucket, prefix, delimiter):
        answer = self.api("list-objects-v2", "--bucket", bucket, "--prefix", prefix, "--delimiter", delimiter)
        return [entry["Key"] for entry in answer["Contents"]], [entry["Prefix"] for entry in answer["CommonPrefixes"]]

    def copy(self, bucket, source, key):
        self.aws("s3", "cp", f"s3://{bucket}/{source}", f"s3://{bucket}/{key}")

    def put_tags(self, bucket, key, tags):
        pairs = {"TagSet": [{"Key": name, "Value": value} for name, value in tags.items()]}
        self.api("put-object-tagging", "--bucket", bucket, "--key", key, "--tagging", json.dumps(pairs))

    def tags(self, bucket, key):
        pairs = self.api("get-object-tagging", "--bucket", bucket, "--key", key)["TagSet"]
        return {pair["Key"]: pair["Value"] for pair in pairs}

    def enable_versioning(self, bucket):
        self.api("put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")

    def versions(self, bucket, key):
        answer = self.api("list-object-versions", "--bucket", bucket, "--prefix", key)
        every = [(entry, False) for entry in answer["Versions"]] + [(entry, True) for entry in answer["DeleteMarkers"]]
        every.sort(key=lambda entry: (entry[0]["IsLatest"], entry[0]["LastModified"]), reverse=True)
        return [{"version": entry["VersionId"], "latest": entry["IsLatest"], "deleted": gone} for entry, gone in every]

    def presign(self, bucket, key):
        return self.aws("s3", "presign", f"s3://{bucket}/{key}").strip()

    def delete(self, bucket, key):
        self.aws("s3", "rm", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        objects = json.dumps({"Objects": [{"Key": key} for key in keys]})
        assert not self.api("delete-objects", "--bucket", bucket, "--delete", objects).get("Errors")


class S3cmd(Adapter):
    def start(self):
        self.configuration = self.folder / "s3cfg"
        self.configuration.write_text(
            f"[default]\naccess_key = {self.access_key}\nsecret_key = {self.secret_key}\nhost_base = {self.host}\n"
            f"host_bucket = {self.host}\nuse_https = False\nprogress_meter = False\nmax_retries = 1\n"
        )

    def s3cmd(self, *words):
        return self.run(BIN / "s3cmd", "--config", self.configuration, *words)

    def create_bucket(self, bucket):
        self.s3cmd("mb", f"s3://{bucket}")

    def put(self, bucket, key, source, metadata=None):
        headers = [f"--add-header=x-amz-meta-{name}:{value}" for name, value in (metadata or {}).items()]
        self.s3cmd("put", *headers, source, f"s3://{bucket}/{key}")

    def upload(self, bucket, key, source):
        self.s3cmd("put", "--multipart-chunk-size-mb=5", source, f"s3://{bucket}/{key}")

    def get(self, bucket, key, target, version=None):
        if version:
            raise Unable
        self.s3cmd("get", "--force", f"s3://{bucket}/{key}", target)

    def metadata(self, bucket, key):
        printed = self.s3cmd("info", f"s3://{bucket}/{key}")
        return dict(re.findall(r"x-amz-meta-([\w-]+):\s+(.*)", printed))

    def list(self, bucket, prefix, delimiter):
        lines = self.s3cmd("ls", f"s3://{bucket}/{prefix}").splitlines()
        names = [line.partition(f"s3://{bucket}/")[2] for line in lines]
        return [name for name in names if not name.endswith("/")], [name for name in names if name.endswith("/")]

    def copy(self, bucket, source, key):
        self.s3cmd("cp", f"s3://{bucket}/{source}", f"s3://{bucket}/{key}")

    def put_tags(self, bucket, key, tags):
        self.s3cmd("settagging", f"s3://{bucket}/{key}", "&".join(f"{name}={value}" for name, value in tags.items()))

    def tags(self, bucket, key):
        lines = self.s3cmd("gettagging", f"s3://{bucket}/{key}").splitlines()
        return dict(line.strip().split(":\t", 1) for line in lines if ":\t" in line)

    def enable_versioning(self, bucket):
        self.s3cmd("setversioning", f"s3://{bucket}", "enable")

    def presign(self, bucket, key):
        return self.s3cmd("signurl", f"s3://{bucket}/{key}", "+60").strip()

    def delete(self, bucket, key):
        self.s3cmd("del", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        self.s3cmd("del", *(f"s3://{bucket}/{key}" for key in keys))


class S5cmd(Adapter):
    def s5cmd(self, *words):
        return self.run(BIN / "s5cmd", "--endpoint-url", self.endpoint, "--retry-count", "0", *words)

    def create_bucket(self, bucket):
        self.s5cmd("mb", f"s3://{bucket}")

    def put(self, bucket, key, source, metadata=None):
        pairs = [word for name, value in (metadata or {}).items() for word in ("--metadata", f"{name}={value}")]
        self.s5cmd("cp", *pairs, source, f"s3://{bucket}/{key}")

    def upload(self, bucket, key, source):
        self.s5cmd("cp", "--part-size", "5", source, f"s3://{bucket}/{key}")

    def get(self, bucket, key, target, version=None):
        self.s5cmd("cp", "--raw", *(["--version-id", version] if version else []), f"s3://{bucket}/{key}", target)

    def metadata(self, bucket, key):
        answer = json.loads(self.s5cmd("--json", "head", "--raw", f"s3://{bucket}/{key}"))
        return {name.lower(): value for name, value in answer["metadata"].items()}

    def list(self, bucket, prefix, delimiter):
        entries = [json.loads(line) for line in self.s5cmd("--json", "ls", f"s3://{bucket}/{prefix}").splitlines()]
        names = lambda kind: [entry["key"].removeprefix(f"s3://{bucket}/") for entry in entries if entry["type"] == kind]
        return names("file"), names("directory")

    def copy(self, bucket, source, key):
        self.s5cmd("cp", "--raw", f"s3://{bucket}/{source}", f"s3://{bucket}/{key}")

    def enable_versioning(self, bucket):
        self.s5cmd("bucket-version", "--set", "Enabled", f"s3://{bucket}")

    def versions(self, bucket, key):
        every = ["ls", "--all-versions", f"s3://{bucket}/{key}"]
        # The ids are in the text alone, the rest in the JSON alone; both come in the same order.
        ids = [line.split()[-1] for line in self.s5cmd(*every).splitlines() if line.strip()]
        entries = [json.loads(line) for line in self.s5cmd("--json", *every).splitlines() if line.strip()]
        rows = [(datetime.fromisoformat(entry["last_modified"]), id, entry) for id, entry in zip(ids, entries, strict=True)]
        rows.sort(key=lambda row: row[0], reverse=True)
        return [
            {"version": id, "latest": place == 0, "deleted": "etag" not in entry} for place, (_, id, entry) in enumerate(rows)
        ]

    def presign(self, bucket, key):
        return self.s5cmd("presign", f"s3://{bucket}/{key}").strip()

    def delete(self, bucket, key):
        self.s5cmd("rm", "--raw", f"s3://{bucket}/{key}")

    def delete_many(self, bucket, keys):
        self.s5cmd("rm", "--raw", *(f"s3://{bucket}/{key}" for key in keys))


class Rclone(Adapter):
    def start(self):
        self.environment.update({
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ENV_AUTH": "true",
            "RCLONE_CONFIG_S_ENDPOINT": self.endpoint,
            "RCLONE_S3_UPLOAD_CUTOFF": "10Mi",
            "RCLONE_LOW_LEVEL_RETRIES": "1",
            "RCLONE_RETRIES": "1",
        })

    def rclone(self, *words):
        return self.run("rclone", *words)

    def create_bucket(self, bucket):
        self.rclone("mkdir", f"s:{bucket}")

    def put(self, bucket, key, source, metadata=None):
        if metadata:
            raise Unable
        self.rclone("copyto", source, f"s:{bucket}/{key}")

    def upload(self, bucket, key, source):
        self.put(bucket, key, source)

    def get(self, bucket, key, target, version=None):
        if version:
            raise Unable
        self.rclone("copyto", f"s:{bucket}/{key}", target)

    def get_range(self, bucket, key, target, first, last):
        part = self.run("rclone", "cat", "--offset", first, "--count", last - first + 1, f"s:{bucket}/{key}", text=False)
        target.write_bytes(part)

    def list(self, bucket, prefix, delimiter):
        names = [f"{prefix}{line}" for line in self.rclone("lsf", f"s:{bucket}/{prefix}").splitlines()]
        return [name for name in names if not name.endswith("/")], [name for name in names if name.endswith("/")]

    def copy(self, bucket, source, key):
        self.rclone("copyto", f"s:{bucket}/{source}", f"s:{bucket}/{key}")

    def presign(self, bucket, key):
        return self.rclone("link", f"s:{bucket}/{key}").strip()

    def delete(self, bucket, key):
        self.rclone("deletefile", f"s:{bucket}/{key}")

    def delete_many(self, bucket, keys):
        names = self.folder / "names"
        names.write_text("".join(f"{key}\n" for key in keys))
        self.rclone("delete", "--files-from-raw", names, f"s:{bucket}")
