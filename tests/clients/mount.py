"""Buckets as folders, by s3fs-fuse."""

import os
import shutil
import subprocess
import time

from adapter import CALL_SECONDS, Adapter, Refused, Unable


class S3fsFuse(Adapter):
    """Mounts each bucket when it is first asked for."""

    def start(self):
        self.mounts = {}
        self.passwords = self.folder / "passwd"
        self.passwords.write_text(f"{self.access_key}:{self.secret_key}\n")
        self.passwords.chmod(0o600)

    def stop(self):
        for place, process in self.mounts.values():
            subprocess.run(["fusermount", "-u", "-z", place], check=False, capture_output=True)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def mounted(self, bucket):
        if bucket not in self.mounts:
            self.mounts[bucket] = self.mount(bucket)
        return self.mounts[bucket][0]

    def mount(self, bucket):
        place = self.folder / "mounts" / bucket
        place.mkdir(parents=True)
        options = f"url={self.endpoint},use_path_request_style,passwd_file={self.passwords},multipart_size=10,retries=1"
        log = open(self.folder / f"{bucket}.log", "w+")
        process = subprocess.Popen(
            ["s3fs", bucket, str(place), "-f", "-o", options], env=self.environment, stdout=log, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + CALL_SECONDS
        while not os.path.ismount(place):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                process.wait()
                log.seek(0)
                raise Refused(log.read())
            time.sleep(0.02)
        log.close()
        return place, process

    def put(self, bucket, key, source, metadata=None):
        if metadata:
            raise Unable
        if key.endswith("/"):
            raise Unable
        target = self.mounted(bucket) / key
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        except OSError as error:
            raise Refused(str(error)) from error

    def upload(self, bucket, key, source):
        self.put(bucket, key, source)

    def get(self, bucket, key, target, version=None):
        if version:
            raise Unable
        try:
            shutil.copyfile(self.mounted(bucket) / key, target)
        except OSError as error:
            raise Refused(str(error)) from error

    def get_range(self, bucket, key, target, first, last):
        with open(self.mounted(bucket) / key, "rb") as source:
            source.seek(first)
            target.write_bytes(source.read(last - first + 1))

    def list(self, bucket, prefix, delimiter):
        entries = list(os.scandir(self.mounted(bucket) / prefix))
        files = [f"{prefix}{entry.name}" for entry in entries if entry.is_file()]
        return files, [f"{prefix}{entry.name}/" for entry in entries if entry.is_dir()]

    def copy(self, bucket, source, key):
        """A rename, which is what becomes a copy and a delete there."""
        os.rename(self.mounted(bucket) / source, self.mounted(bucket) / key)

    def delete(self, bucket, key):
        os.remove(self.mounted(bucket) / key)

    def delete_many(self, bucket, keys):
        shutil.rmtree(self.mounted(bucket) / keys[0].partition("/")[0])
