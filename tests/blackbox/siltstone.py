"""Starts, kills and asks the real program. Every process it starts is ended, by `stop` or at exit."""

import atexit
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("SILTSTONE_BIN", ROOT / "target" / "debug" / "siltstone"))
ACCESS_KEY = "test-root-access"
SECRET_KEY = "test-root-secret-canary-1f9a"
START_SECONDS = 60

_names = itertools.count(1)


class Server:
    """One `siltstone serve` on a data directory and free loopback ports; over https where it has `tls` (certificates.Issued)."""

    def __init__(self, data_dir, *, wrapper=(), arguments=(), environment=None, tls=None):
        self.data_dir = Path(data_dir)
        self.tls = tls
        self.wrapper = list(wrapper)
        self.arguments = list(arguments)
        self.environment = {
            "SILTSTONE_ROOT_ACCESS_KEY": ACCESS_KEY,
            "SILTSTONE_ROOT_SECRET_KEY": SECRET_KEY,
        }
        if tls:
            self.environment.update({"SILTSTONE_TLS__CERT": str(tls.cert), "SILTSTONE_TLS__KEY": str(tls.key)})
        self.environment.update(environment or {})
        self.process = None
        self.ready = None
        self.log = []

    @staticmethod
    def unique(prefix):
        return f"{prefix}-{os.getpid()}-{next(_names)}"

    def start(self, *, same_ports=False):
        """Starts on free ports, or on those it had before, where its clients wait for it; returns when it is ready."""
        lines, reader = self.launch(same_ports=same_ports)
        guard = threading.Timer(START_SECONDS, self.kill)
        guard.start()
        try:
            for line in self.process.stdout:
                event = json.loads(line)
                if event.get("event") == "ready":
                    self.ready = event
                    return self
        finally:
            guard.cancel()
        self.process.wait()
        reader.join(START_SECONDS)  # what it said last may still be in the pipe
        raise RuntimeError(f"no ready line, exit code {self.process.returncode}:\n{''.join(lines)}")

    def launch(self, *, same_ports=False):
        """Starts it and waits for nothing; returns the lines of its log and the thread that collects them."""
        command = self.wrapper + [str(BINARY), "serve", "--data-dir", str(self.data_dir)]
        for listener in ("s3", "console", "metrics"):
            port = self.address(listener)[1] if same_ports else 0
            command += [f"--{listener}-listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(
            command + self.arguments,
            env={"PATH": os.environ["PATH"], **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        atexit.register(self.kill)
        process, lines = self.process, []
        self.log = lines
        reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
        reader.start()
        return lines, reader

    def kill(self):
        """kill -9 of the whole process group, as a crash."""
        process, self.process = self.process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        process.stdout.close()

    def stop(self, seconds=30):
        """SIGTERM; returns the exit code of the drained server."""
        process, self.process = self.process, None
        os.killpg(process.pid, signal.SIGTERM)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        finally:
            process.stdout.close()

    def wait(self, seconds):
        """Waits for the server to end by itself; returns its exit code."""
        code = self.process.wait(seconds)
        self.process.stdout.close()
        self.process = None
        return code

    def client(self, access_key=ACCESS_KEY, secret_key=SECRET_KEY, **options):
        options.setdefault("retries", {"max_attempts": 1})
        options.setdefault("read_timeout", 60)
        config = Config(s3={"addressing_style": "path"}, max_pool_connections=64, **options)
        return boto3.client(
            "s3",
            endpoint_url=self.ready["s3"],
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name="us-east-1",
            config=config,
            verify=str(self.tls.authority) if self.tls else None,
        )

    def trust(self):
        """What a client of the standard library needs to believe this server; `None` where there is nothing to believe."""
        return ssl.create_default_context(cafile=self.tls.authority) if self.tls else None

    def address(self, listener="s3"):
        host, port = self.ready[listener].partition("://")[2].split(":")
        return host, int(port)

    def connect(self, seconds=30, to="s3"):
        return socket.create_connection(self.address(to), timeout=seconds)

    def get(self, path, listener="metrics"):
        """GETs from the console or metrics listener; returns (status, text)."""
        try:
            with urllib.request.urlopen(self.ready[listener] + path, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def resident_bytes(self):
        """Memory of the process now."""
        return self._memory("VmRSS")

    def peak_bytes(self):
        """The most memory the process has had, which no sampling can miss."""
        return self._memory("VmHWM")

    def _memory(self, name):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(name))
        return int(line.split()[1]) * 1024

    def allocated_bytes(self):
        """What the data directory costs on its volume, holes left out."""
        files = (file for file in self.data_dir.rglob("*") if file.is_file())
        return sum(file.stat().st_blocks * 512 for file in files)

    def admin(self, *arguments, **options):
        endpoint = ["--endpoint", self.ready["console"]]
        environment = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, **self.environment}
        return run("admin", *arguments, *endpoint, environment=environment, **options)


def run(*arguments, environment=None, stdin=None, seconds=120):
    """Runs a `siltstone` command; returns the finished process."""
    return subprocess.run(
        [str(BINARY), *map(str, arguments)],
        env={"PATH": os.environ["PATH"], **(environment or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def verify(data_dir):
    """`log verify` as a value; fails unless the log is intact."""
    done = run("log", "verify", data_dir, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def heads(data_dir, but=("access",)):
    """The head of each stream but the access stream: equal heads, equal history."""
    return {
        stream["stream"]: (stream["seq"], stream["head"])
        for stream in verify(data_dir)["streams"]
        if stream.get("name", stream["stream"]) not in but
    }


def digest(data_dir):
    """The digests of the projections, as `projection digest` prints them."""
    done = run("projection", "digest", data_dir, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
