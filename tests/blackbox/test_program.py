"""The program itself: start and stop, commands, users, secrets, health and metrics."""

import base64
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from rawsign import EMPTY_SHA256, Signer, read_answer, request_bytes
from siltstone import BINARY, SECRET_KEY, Server, heads, run, verify
from test_objects import KIB, MIB, code_of


def test_sigterm_drains_and_a_clean_start_is_the_same_store(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="clean")
    client.put_object(Bucket="clean", Key="k", Body=b"kept")
    assert own_server.stop() == 0
    own_server.start()
    assert own_server.client().get_object(Bucket="clean", Key="k")["Body"].read() == b"kept"


def test_root_credentials_are_shown_by_the_start_that_makes_them_even_if_it_fails(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILTSTONE_")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [str(BINARY), "serve", "--data-dir", str(tmp_path / "data"), "--s3-listen", address]
        failed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert failed.returncode == 1 and address in failed.stderr
    made = json.loads((tmp_path / "data" / "keys" / "root.json").read_text())
    assert f"access key: {made['access_key']}" in failed.stderr
    assert f"secret key: {made['secret_key']}" in failed.stderr


def test_the_id_that_a_client_was_given_is_in_the_log(tmp_path):
    server = Server(tmp_path / "data", environment={"SILTSTONE_TELEMETRY__LOG_LEVEL": "debug"}).start()
    client = server.client()
    client.create_bucket(Bucket="logged")
    answer = client.put_object(Bucket="logged", Key="private-key", Body=b"x")["ResponseMetadata"]
    link = client.generate_presigned_url("get_object", Params={"Bucket": "logged", "Key": "private-key"})
    with urllib.request.urlopen(link, timeout=30) as read:
        assert read.read() == b"x"
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log if line.startswith("{")]
    requests = {line["request_id"]: line for line in lines if line.get("message") == "S3 request"}
    line = requests[answer["RequestId"]]
    assert (line["level"], line["method"], line["operation"], line["status"]) == ("DEBUG", "PUT", "PutObject", 200)
    assert (line["bucket"], line["address"], line["code"]) == ("logged", "127.0.0.1", "")
    assert line["duration_ms"] >= 0
    assert len(requests) == 3 and not any("private-key" in str(line) or "X-Amz" in str(line) for line in requests.values())


def test_a_request_under_way_is_answered_before_the_end(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="drain")
    signer = Signer(own_server.address())
    every = {"content-length": 10, "expect": "100-continue"}
    headers = signer.headers("PUT", "/drain/k", "UNSIGNED-PAYLOAD", every)
    with own_server.connect() as connection:
        connection.sendall(request_bytes("PUT", "/drain/k", headers))
        assert read_answer(connection)[0] == 100  # so it is under way, and not only in the queue of the listener
        connection.sendall(b"01234")
        with ThreadPoolExecutor(1) as pool:
            stopping = pool.submit(own_server.stop)
            deadline = time.monotonic() + 20
            while True:  # until it no longer takes new connections, so that the signal has arrived
                try:
                    own_server.connect(1).close()
                except OSError:
                    break
                assert time.monotonic() < deadline
            connection.sendall(b"56789")
            assert read_answer(connection)[0] == 200
            assert stopping.result() == 0


def test_a_second_server_is_refused_and_told_who_holds_the_lock(own_server):
    second = run("serve", "--data-dir", own_server.data_dir, "--s3-listen", "127.0.0.1:0", environment=own_server.environment)
    assert second.returncode == 5
    assert str(own_server.process.pid) in second.stderr
    repair = run("log", "repair", own_server.data_dir, "--accept-loss")
    assert repair.returncode == 5 and str(own_server.process.pid) in repair.stderr


def test_an_unknown_data_format_is_refused(own_server):
    own_server.stop()
    (own_server.data_dir / "FORMAT").write_text("siltstone 999\n")
    with pytest.raises(RuntimeError, match="999"):
        own_server.start()


def test_reading_commands_work_beside_a_running_server(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="beside")
    for number in range(20):
        client.put_object(Bucket="beside", Key=f"k{number}", Body=os.urandom(number * 10 * KIB))
    done = run("log", "verify", own_server.data_dir)
    assert done.returncode == 0 and "intact" in done.stdout
    assert len(heads(own_server.data_dir)) >= 2
    stats = run("log", "stats", own_server.data_dir, "-o", "json")
    assert stats.returncode == 0 and json.loads(stats.stdout)
    inspected = run("log", "inspect", own_server.data_dir, "-o", "ndjson")
    lines = [json.loads(line) for line in inspected.stdout.splitlines()]
    assert "ObjectPut" in inspected.stdout and len(lines) >= 22


def test_health_and_metrics(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="metrics")
    client.put_object(Bucket="metrics", Key="k", Body=b"x")
    for listener in ("metrics", "console"):
        assert own_server.get("/healthz", listener)[0] == own_server.get("/readyz", listener)[0] == 200
    assert run("healthcheck", "--endpoint", own_server.ready["metrics"]).returncode == 0
    text = own_server.get("/metrics")[1]
    value = lambda name: float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M).group(1))
    assert re.search(r'siltstone_s3_requests_total\{.*op="PutObject".*\} 1', text)
    assert value("siltstone_log_head_position") >= 2
    assert re.search(r"^siltstone_log_fsync_duration_seconds_count [1-9]", text, re.M)
    assert re.search(r"^siltstone_projection_position", text, re.M)
    own_server.kill()
    nobody = run("healthcheck", "--endpoint", own_server.ready["metrics"])
    assert nobody.returncode == 7 and "SILTSTONE_LISTENERS__METRICS" in nobody.stderr
    assert "SILTSTONE_ENDPOINT" not in nobody.stderr


def created_key(answer):
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_users_keys_and_policies(own_server):
    admin = own_server.admin
    root = own_server.client()
    root.create_bucket(Bucket="shared")
    root.put_object(Bucket="shared", Key="k", Body=b"x")
    assert admin("user", "create", "reader", "--json").returncode == 0
    assert admin("user", "create", "reader").returncode == 5, "a taken name is a conflict"
    key = created_key(admin("key", "create", "--user", "reader", "--json"))
    client = own_server.client(key["access_key"], key["secret_key"])
    assert code_of(client.get_object, Bucket="shared", Key="k") == ("AccessDenied", 403)
    assert admin("policy", "attach", "readonly", "--user", "reader").returncode == 0
    assert client.get_object(Bucket="shared", Key="k")["Body"].read() == b"x"
    assert client.list_objects_v2(Bucket="shared")["KeyCount"] == 1
    assert code_of(client.put_object, Bucket="shared", Key="k", Body=b"y") == ("AccessDenied", 403)
    assert code_of(client.delete_object, Bucket="shared", Key="k") == ("AccessDenied", 403)
    named = client.delete_objects(Bucket="shared", Delete={"Objects": [{"Key": "k"}, {"Key": "none"}]})
    denied = [(entry["Key"], entry["Code"]) for entry in named["Errors"]]
    assert denied == [("k", "AccessDenied"), ("none", "AccessDenied")] and "Deleted" not in named
    given = admin("key", "create", "--user", "reader", "--access-key", "GIVENKEY", "--secret-key-file", "-", "--json", stdin="given-secret\n")
    assert created_key(given)["access_key"] == "GIVENKEY"
    assert own_server.client("GIVENKEY", "given-secret").get_object(Bucket="shared", Key="k")["Body"].read() == b"x"
    assert admin("policy", "attach", "no-such-policy", "--user", "reader").returncode in (2, 3)
    as_reader = {"AWS_ACCESS_KEY_ID": key["access_key"], "AWS_SECRET_ACCESS_KEY": key["secret_key"]}
    refused = run("admin", "user", "create", "other", "--endpoint", own_server.ready["console"], environment=as_reader)
    assert refused.returncode == 4, refused.stderr
    own_server.kill()
    own_server.start()
    client = own_server.client("GIVENKEY", "given-secret")
    assert client.get_object(Bucket="shared", Key="k")["Body"].read() == b"x"
    assert own_server.admin("key", "rm", "GIVENKEY", "--yes").returncode == 0
    assert code_of(client.get_object, Bucket="shared", Key="k") == ("InvalidAccessKeyId", 403)


def test_another_account_sees_nothing_of_ours(own_server):
    own_server.client().create_bucket(Bucket="ours")
    own_server.client().put_object(Bucket="ours", Key="k", Body=b"x")
    assert own_server.admin("user", "create", "stranger", "--id", "canonical-stranger", "--display-name", "S").returncode == 0
    assert own_server.admin("policy", "attach", "readwrite", "--user", "stranger").returncode == 0
    key = created_key(own_server.admin("key", "create", "--user", "stranger", "--json"))
    client = own_server.client(key["access_key"], key["secret_key"])
    for call in (client.get_object, client.delete_object):
        assert code_of(call, Bucket="ours", Key="k") == ("AccessDenied", 403)
    assert code_of(client.list_objects_v2, Bucket="ours") == ("AccessDenied", 403)
    named = client.delete_objects(Bucket="ours", Delete={"Objects": [{"Key": "k"}]})
    assert [entry["Code"] for entry in named["Errors"]] == ["AccessDenied"]
    assert own_server.client().get_object(Bucket="ours", Key="k")["Body"].read() == b"x"
    assert code_of(client.delete_bucket, Bucket="ours") == ("AccessDenied", 403)
    assert code_of(client.create_bucket, Bucket="ours") == ("BucketAlreadyExists", 409)
    client.create_bucket(Bucket="theirs")
    assert [entry["Name"] for entry in client.list_buckets()["Buckets"]] == ["theirs"]
    assert client.list_buckets()["Owner"]["ID"] == "canonical-stranger"


def refused_in_every_way(server, canary):
    """Requests that fail in sight of the secret; returns what was answered."""
    answers = [code_of(server.client("CANARYKEY", wrong).list_buckets) for wrong in ("wrong" + canary, "wrong")]
    address = server.address()
    for signer, query in (
        (Signer(address, access_key="CANARYKEY", secret_key=canary, scope_date="20200101"), ""),
        (Signer(address, access_key="CANARYKEY", secret_key=canary, region="nowhere-1"), ""),
        (Signer(address, access_key="CANARYKEY", secret_key="wrong" + canary), "X-Amz-Signature=0"),
        (Signer(address, access_key="CANARYKEY", secret_key=canary), "list-type=3"),
    ):
        headers = signer.headers("GET", "/canary", EMPTY_SHA256, query=query)
        with server.connect() as connection:
            connection.sendall(request_bytes("GET", f"/canary?{query}", headers))
            answers.append(read_answer(connection))
    link = server.client("CANARYKEY", "wrong" + canary).generate_presigned_url("get_object", {"Bucket": "canary", "Key": "k"})
    with server.connect() as connection:
        target = link.removeprefix(server.ready["s3"])
        connection.sendall(request_bytes("GET", target, {"host": f"{address[0]}:{address[1]}"}))
        answers.append(read_answer(connection))
    as_canary = {"AWS_ACCESS_KEY_ID": "CANARYKEY", "AWS_SECRET_ACCESS_KEY": "wrong" + canary}
    done = run("admin", "user", "ls", "--endpoint", server.ready["console"], environment=as_canary)
    assert done.returncode != 0
    return repr(answers) + done.stdout + done.stderr


def test_secrets_stand_nowhere_outside_keys(tmp_path):
    """Not in segments, packs, projections or the access stream, not in logs at their most talkative, not in answers."""
    canary = "canary-user-secret-77d1"
    server = Server(tmp_path / "data", environment={"SILTSTONE_TELEMETRY__LOG_LEVEL": "trace"}).start()
    server.admin("user", "create", "canary")
    server.admin("policy", "attach", "readwrite", "--user", "canary")
    given = server.admin("key", "create", "--user", "canary", "--access-key", "CANARYKEY", "--secret-key-file", "-", stdin=canary)
    assert given.returncode == 0, given.stderr
    again = server.admin("key", "create", "--user", "canary", "--access-key", "CANARYKEY", "--secret-key-file", "-", stdin=canary)
    assert again.returncode == 5, again.stderr
    client = server.client("CANARYKEY", canary)
    client.create_bucket(Bucket="canary")
    client.put_object(Bucket="canary", Key="k", Body=b"x")
    places = {"answers": refused_in_every_way(server, canary).encode(), "a conflict": (again.stdout + again.stderr).encode()}
    places["arguments"] = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    places["metrics"] = server.get("/metrics")[1].encode()
    log = server.log
    assert server.stop() == 0
    places["what is logged"] = "".join(log).encode()
    inspected = run("log", "inspect", server.data_dir, "-o", "ndjson")
    places["log inspect"] = inspected.stdout.encode()
    denied = [line for line in inspected.stdout.splitlines() if "AccessDenied" in line and "CANARYKEY" in line]
    assert len(denied) >= 2 and any("SignatureDoesNotMatch" in line for line in denied), "the access stream was looked at"
    segments = 0
    for file in server.data_dir.rglob("*"):
        if file.is_file():
            segments += file.suffix == ".seg"
            if file.parent.name == "keys":
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            else:
                places[str(file)] = file.read_bytes()
    assert segments >= 1 and any(b"CANARYKEY" in places[name] for name in places if name.endswith(".seg"))
    # A secret could also leave in another form than its own.
    forms = [form for secret in (canary.encode(), SECRET_KEY.encode())
             for form in (secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")[:-1], str(list(secret)).encode()[1:-1])]
    for place, content in places.items():
        assert not any(form in content for form in forms), place


def test_credentials_are_made_once_and_shown_once(tmp_path):
    server = Server(tmp_path / "data")
    server.environment = {}
    server.start()
    shown = "".join(server.log)
    access = re.search(r"[Aa]ccess[ _]key\W+([A-Za-z0-9]{3,128})", shown).group(1)
    secret = re.search(r"[Ss]ecret[ _]key\W+([A-Za-z0-9+/=_-]{8,128})", shown).group(1)
    server.client(access, secret).list_buckets()
    server.stop()
    server.start()
    server.client(access, secret).list_buckets()
    assert secret not in "".join(server.log)
    server.stop()


@pytest.mark.parametrize("arguments,expected", [
    ([], 2), (["no-such-command"], 2), (["serve", "--no-such-flag"], 2), (["log", "verify", "/no/such/dir"], 3),
    (["version"], 0), (["--help"], 0), (["log", "repair", "."], 3),
])
def test_exit_codes(arguments, expected):
    assert run(*arguments).returncode == expected


def test_a_configuration_with_an_unknown_key_is_refused_with_a_suggestion(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text("[content]\ninline_treshold = '64KiB'\n")
    refused = run("config", "check", "--config", config)
    assert refused.returncode == 2 and "inline_threshold" in refused.stderr
    config.write_text("[content]\ninline_threshold = '32KiB'\n")
    assert run("config", "check", "--config", config).returncode == 0


def test_memory_stays_flat_at_large_bodies(own_server):
    client = own_server.client()
    client.create_bucket(Bucket="large")
    peak = 0

    def store(number):
        nonlocal peak
        client.put_object(Bucket="large", Key=f"k{number}", Body=b"x" * (64 * MIB))
        peak = max(peak, own_server.resident_bytes())

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(store, range(12)))
    stream = client.get_object(Bucket="large", Key="k3")["Body"]
    size = sum(len(piece) for piece in stream.iter_chunks(MIB))
    peak = max(peak, own_server.resident_bytes())
    assert size == 64 * MIB and peak < 256 * MIB, f"{peak / MIB:.0f} MiB"


def test_memory_is_bounded_with_a_hundred_clients_at_once(own_server):
    own_server.client().create_bucket(Bucket="large")
    clients, size = 100, 8 * MIB
    signer, half = Signer(own_server.address()), b"x" * (size // 2)
    together = Barrier(clients)

    def store(number):
        path = f"/large/k{number}"
        headers = signer.headers("PUT", path, "UNSIGNED-PAYLOAD", {"content-length": size})
        with own_server.connect(60) as connection:
            connection.sendall(request_bytes("PUT", path, headers, half))
            together.wait(60)
            connection.sendall(half)
            return read_answer(connection)[0]

    def load(number):
        path = f"/large/k{number}"
        headers = signer.headers("GET", path, EMPTY_SHA256)
        with own_server.connect(60) as connection:
            connection.sendall(request_bytes("GET", path, headers))
            first = connection.recv(64 * KIB)
            together.wait(60)
            stream, rest = connection.makefile("rb"), size
            head, _, body = first.partition(b"\r\n\r\n")
            rest -= len(body)
            while rest > 0:
                piece = stream.read(min(rest, MIB))
                assert piece, f"{rest} bytes are missing"
                rest -= len(piece)
            return int(head.split()[1])

    with ThreadPoolExecutor(clients) as pool:
        assert set(pool.map(store, range(clients))) == {200}
        assert set(pool.map(load, range(clients))) == {200}
    peak = own_server.peak_bytes()
    assert peak < 256 * MIB, f"{peak / MIB:.0f} MiB"


def test_the_aws_command_line(own_server, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(20 * MIB))
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": own_server.environment["SILTSTONE_ROOT_ACCESS_KEY"],
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_ENDPOINT_URL": own_server.ready["s3"],
    }
    aws = lambda *words: subprocess.run(
        [str(Path(sys.executable).with_name("aws")), *words], env=environment, check=True, timeout=120, capture_output=True, text=True)
    aws("s3", "mb", "s3://cli")
    aws("s3", "cp", str(source), "s3://cli/dir/object")
    assert "object" in aws("s3", "ls", "s3://cli/dir/").stdout
    aws("s3", "cp", "s3://cli/dir/object", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    aws("s3", "rm", "--recursive", "s3://cli")
    aws("s3", "rb", "s3://cli")


def disk_usage(folder):
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("size", [64 * KIB, 300 * KIB, 8 * MIB])
def test_size_on_disk_is_close_to_what_is_stored(own_server, size):
    client = own_server.client()
    client.create_bucket(Bucket="size")
    count = 160 * MIB // size
    body = os.urandom(size)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: client.put_object(Bucket="size", Key=f"k{number}", Body=body), range(count)))
    assert own_server.stop() == 0
    used, live = disk_usage(own_server.data_dir), count * size
    print(f"{size} B objects: {used / live:.3f} of live content")
    assert used <= 1.1 * live
