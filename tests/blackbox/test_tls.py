"""TLS and HTTP/2 as clients meet them, and what SIGHUP renews."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import boto3
import pytest
from botocore.config import Config
from siltstone import ACCESS_KEY, SECRET_KEY, Server, run


def certificate(folder, name):
    """A new certificate of its own for loopback; returns its path."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
         "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "key.pem").chmod(0o600)
    return folder / "cert.pem"


@pytest.fixture
def tls_server(tmp_path):
    cert = certificate(tmp_path, "first")
    environment = {"SILTSTONE_TLS__CERT": str(cert), "SILTSTONE_TLS__KEY": str(tmp_path / "key.pem")}
    server = Server(tmp_path / "data", environment=environment)
    server.start()
    yield server, tmp_path
    server.kill()


def boto(server, ca):
    return boto3.client(
        "s3",
        endpoint_url=server.ready["s3"],
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        verify=str(ca),
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def shown(server):
    host, port = server.ready["s3"].removeprefix("https://").split(":")
    return ssl.get_server_certificate((host, int(port)))


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_clients_that_verify_the_certificate_store_and_read(tls_server):
    server, folder = tls_server
    ca = folder / "cert.pem"
    assert server.ready["s3"].startswith("https://") and server.ready["console"].startswith("https://")
    s3 = boto(server, ca)
    s3.create_bucket(Bucket="tls")
    body = os.urandom(1 << 20)
    s3.put_object(Bucket="tls", Key="k", Body=body)
    assert s3.get_object(Bucket="tls", Key="k")["Body"].read() == body
    admin = run(
        "admin", "user", "create", "anna", "--endpoint", server.ready["console"],
        environment={"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "SSL_CERT_FILE": str(ca)},
    )  # fmt: skip
    assert admin.returncode == 0, admin.stderr


def test_curl_speaks_http2_over_tls_and_in_clear_text(tls_server, shared_server):
    if shutil.which("curl") is None:
        pytest.fail("curl is missing")
    server, folder = tls_server
    for flag, endpoint in [("--http2", server.ready["s3"]), ("--http2-prior-knowledge", shared_server.ready["s3"])]:
        done = subprocess.run(
            ["curl", "-sS", flag, "--cacert", folder / "cert.pem", "--aws-sigv4", "aws:amz:us-east-1:s3",
             "--user", f"{ACCESS_KEY}:{SECRET_KEY}", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", endpoint + "/"],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.stdout == "2 200", done.stderr + done.stdout


def test_answers_over_http2_have_a_body_only_where_they_may_and_expectations_are_no_obstacle(own_server, tmp_path):
    own_server.client().create_bucket(Bucket="bkt")
    (tmp_path / "body").write_bytes(b"x" * 100_000)

    def curl(path, *more):
        done = subprocess.run(
            ["curl", "-sS", "--http2-prior-knowledge", "--max-time", "20", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", f"{ACCESS_KEY}:{SECRET_KEY}",
             "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download} %header{content-length} %header{etag}",
             *more, own_server.ready["s3"] + path],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split(" ")

    expecting = ["-H", "Expect: 100-continue", "-T", str(tmp_path / "body")]
    stored = curl("/bkt/k", *expecting)
    assert stored[:3] == ["2", "200", "0"]
    etag = stored[4]
    assert curl("/absent/k", *expecting)[:2] == ["2", "404"]
    assert curl("/bkt/k") == ["2", "200", "100000", "100000", etag]
    assert curl("/bkt/k", "-I") == ["2", "200", "0", "100000", etag]
    assert curl("/bkt/k", "-H", f"If-None-Match: {etag}")[:3] == ["2", "304", "0"]
    assert curl("/bkt/absent", "-I")[:3] == ["2", "404", "0"]
    assert curl("/bkt/k", "-X", "DELETE")[:3] == ["2", "204", "0"]


def test_a_handshake_under_way_does_not_delay_a_stop(tls_server):
    server, _ = tls_server
    host, port = server.ready["s3"].removeprefix("https://").split(":")
    with socket.create_connection((host, int(port))):
        shown(server)  # Connections are taken in turn, so that the silent one was.
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 5


def test_sighup_renews_the_certificate_and_keeps_connections_and_a_bad_file_keeps_the_old_one(tls_server):
    server, folder = tls_server
    old_ca = folder / "old.pem"
    shutil.copy(folder / "cert.pem", old_ca)
    s3 = boto(server, old_ca)
    s3.create_bucket(Bucket="kept")
    first = shown(server)
    certificate(folder, "second")
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: shown(server) != first)
    # The open connection goes on with the certificate it was made with; a new one would not be verified.
    s3.head_bucket(Bucket="kept")
    second = shown(server)
    (folder / "cert.pem").write_text("nothing")
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: any("the old one stays" in line for line in server.log))
    assert shown(server) == second


def test_sighup_takes_the_certificate_from_where_the_configuration_has_it_now(tmp_path):
    paths = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        paths.append(certificate(tmp_path / name, name))
    config = tmp_path / "config.toml"
    written = lambda cert: config.write_text(f'[tls]\ncert = "{cert}"\nkey = "{cert.parent / "key.pem"}"\n')
    written(paths[0])
    server = Server(tmp_path / "data", arguments=["--config", str(config)])
    server.start()
    try:
        first = shown(server)
        written(paths[1])
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: shown(server) != first)
        config.write_text("")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: any("by a restart only" in line for line in server.log))
        assert shown(server) != first
    finally:
        server.kill()


def test_a_key_that_others_may_read_is_refused(tmp_path):
    cert = certificate(tmp_path, "open")
    (tmp_path / "key.pem").chmod(0o644)
    done = run(
        "serve", "--data-dir", tmp_path / "data",
        environment={"SILTSTONE_TLS__CERT": str(cert), "SILTSTONE_TLS__KEY": str(tmp_path / "key.pem")},
    )  # fmt: skip
    assert done.returncode == 2 and "make it 600 or 640" in done.stderr


def test_a_secret_sent_as_access_key_is_not_kept(own_server):
    swapped = own_server.client(access_key=SECRET_KEY, secret_key=ACCESS_KEY)
    with pytest.raises(swapped.exceptions.ClientError, match="InvalidAccessKeyId"):
        swapped.list_buckets()
    with pytest.raises(swapped.exceptions.ClientError, match="SignatureDoesNotMatch"):
        own_server.client(secret_key="wrong").list_buckets()
    own_server.stop()
    shown = run("log", "inspect", own_server.data_dir, "--stream", "access", "-o", "ndjson").stdout
    assert "SignatureDoesNotMatch" in shown and ACCESS_KEY in shown, shown
    assert SECRET_KEY not in shown


def test_a_variable_that_nobody_reads_is_refused(tmp_path):
    done = run("serve", "--data-dir", tmp_path / "d", environment={"SILTSTONE_SPACE_FLOOR": "1"})
    assert done.returncode == 2 and "did you mean `SILTSTONE_SPACE__FLOOR`?" in done.stderr
