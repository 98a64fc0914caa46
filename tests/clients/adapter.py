"""What the journey asks of a client, whatever the client is. An adapter carries out the calls its client has; the others
answer `Unable`. Bodies are files, because that is what most clients move."""

import os
import subprocess
from pathlib import Path

from siltstone import ACCESS_KEY, ROOT, SECRET_KEY

REGION = "us-east-1"
FOLDER = Path(__file__).resolve().parent
# Where what the clients are made of is installed or built.
BUILT = ROOT / "target" / "clients"
CALL_SECONDS = 120


class Unable(Exception):
    """The client has no such call."""


class Refused(Exception):
    """The client, or the server through it, said no."""


class Adapter:
    """One client at one endpoint. `folder` is its own: configuration, caches and files are kept there. `authority` signed the
    certificate of an https endpoint."""

    def __init__(self, endpoint, folder, *, access_key=ACCESS_KEY, secret_key=SECRET_KEY, authority=None):
        self.endpoint = endpoint
        self.host = endpoint.partition("://")[2]
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.access_key, self.secret_key = access_key, secret_key
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "ENDPOINT": endpoint,
        }
        if authority:
            self.environment["AWS_CA_BUNDLE"] = str(authority)
        self.start()

    def start(self):
        """Makes the client ready."""

    def stop(self):
        """Ends what `start` began."""

    def run(self, *command, text=True, **options):
        """Runs a program of the client's; returns what it printed."""
        done = subprocess.run(
            [str(word) for word in command], env=self.environment, capture_output=True, timeout=CALL_SECONDS, cwd=self.folder, **options
        )
        if done.returncode != 0:
            raise Refused((done.stdout + done.stderr).decode(errors="replace").strip())
        return done.stdout.decode() if text else done.stdout

    def create_bucket(self, bucket):
        raise Unable

    def put(self, bucket, key, source, metadata=None):
        """Stores the file `source`, in one request where the client leaves the choice."""
        raise Unable

    def upload(self, bucket, key, source):
        """Stores the file `source` in parts."""
        raise Unable

    def get(self, bucket, key, target, version=None):
        """Reads an object into the file `target`."""
        raise Unable

    def get_range(self, bucket, key, target, first, last):
        """Reads the bytes `first..=last` into the file `target`."""
        raise Unable

    def metadata(self, bucket, key):
        """The user metadata of an object: names without their prefix."""
        raise Unable

    def list(self, bucket, prefix, delimiter):
        """(keys, common prefixes), of all pages."""
        raise Unable

    def copy(self, bucket, source, key):
        raise Unable

    def put_tags(self, bucket, key, tags):
        raise Unable

    def tags(self, bucket, key):
        raise Unable

    def enable_versioning(self, bucket):
        raise Unable

    def versions(self, bucket, key):
        """Of each version, newest first: {"version", "latest", "deleted"}."""
        raise Unable

    def presign(self, bucket, key):
        """A link that reads the object."""
        raise Unable

    def delete(self, bucket, key):
        raise Unable

    def delete_many(self, bucket, keys):
        raise Unable
