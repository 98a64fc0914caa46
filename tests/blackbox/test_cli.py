"""The command line beside the server: configuration, documents, reading the log, progress."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import time
import tomllib

import jsonschema
import pytest

from siltstone import ACCESS_KEY, BINARY, SECRET_KEY, Server, digest, run

CANARY = "canary-secret-7d21"


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """The folder of a server that has run and was stopped."""
    server = Server(tmp_path_factory.mktemp("cli") / "data").start()
    client = server.client()
    client.create_bucket(Bucket="first")
    for number in range(40):
        client.put_object(Bucket="first", Key=f"k{number:02}", Body=b"x" * number)
    client.delete_object(Bucket="first", Key="k00")
    assert server.admin("user", "create", "anna").returncode == 0
    assert server.admin("key", "create", "--user", "anna").returncode == 0
    assert server.stop() == 0
    return server.data_dir


def test_config_show_tells_where_each_value_came_from(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[log]\n\nsegment_size = '8 MiB'\n[server]\nregion = 'eu-1'\n")
    environment = {
        "SILTSTONE_SERVER__REGION": "eu-2",
        "SILTSTONE_ROOT_ACCESS_KEY": "root",
        "SILTSTONE_ROOT_SECRET_KEY": CANARY,
    }
    flags = ["--config", config, "--s3-listen", "127.0.0.1:9"]
    shown = run("config", "show", "--origin", "--json", *flags, environment=environment)
    assert shown.returncode == 0, shown.stderr
    found = {entry["setting"]: (entry["value"], entry["origin"]) for entry in json.loads(shown.stdout)}
    assert found["log.segment_size"] == ("8 MiB", f"{config}:3:1")
    assert found["server.region"] == ("eu-2", "SILTSTONE_SERVER__REGION")
    assert found["listeners.s3"] == ("127.0.0.1:9", "--s3-listen")
    assert found["listeners.metrics"] == ("127.0.0.1:8083", "default")
    plain = run("config", "show", *flags, environment=environment)
    assert "8 MiB" in plain.stdout and "default" not in plain.stdout
    checked = run("config", "check", "--json", *flags, environment=environment)
    assert json.loads(checked.stdout)["given"] == 3
    for answer in (shown, plain, checked):
        assert CANARY not in answer.stdout + answer.stderr


def test_a_refused_setting_names_its_place_and_changes_nothing(tmp_path):
    config = tmp_path / "c.toml"
    config.write_text("[log]\nsegmnt_size = 1\n")
    for command in ("check", "show"):
        refused = run("config", command, "--config", config)
        assert refused.returncode == 2 and refused.stdout == ""
        assert f"{config}:2:1" in refused.stderr and "segment_size" in refused.stderr


def test_the_schema_of_the_file_takes_what_the_program_takes(tmp_path):
    schema = json.loads(run("config", "schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    taken = [
        "[log]\nsegment_size = '8 MiB'\n[content]\npack_size = 16777216\n",
        "[server]\ndata_dir = '${HOME}/x'\ndrain_timeout = '1 min'\n[telemetry]\nlog_level = 'debug'\n",
        "[s3]\ndomains = ['s3.example.org', 'localhost']\nsigv2_links = false\n",
        "[s3]\ndomains = 's3.example.org, localhost'\nsigv2_links = 'false'\n[history]\nmax_bytes = 'auto'\nwindow_days = 3\n",
        "[listeners]\ns3 = '[::1]:80'\n[telemetry]\nlog_level = '${LEVEL}'\n",
    ]
    refused = [
        "[log]\nsegmnt_size = '8 MiB'\n", "[lgo]\nsegment_size = '8 MiB'\n", "log = 1\n", "[log]\nsegment_size = 'big'\n",
        "[log]\nsegment_size = 1.5\n", "[server]\ndrain_timeout = '1 year'\n", "[server]\ndrain_timeout = 5\n",
        "[s3]\ndomains = ['http://a']\n", "[s3]\ndomains = 'a:80'\n", "[s3]\nsigv2_links = 'no'\n",
        "[telemetry]\nlog_level = 'loud'\n", "[listeners]\ns3 = 'here'\n", "[history]\nwindow_days = -1\n",
    ]
    config = tmp_path / "c.toml"
    for text in taken + refused:
        config.write_text(text)
        checked = run("config", "check", "--config", config, environment={"HOME": "/tmp", "LEVEL": "warn"})
        valid = validator.is_valid(tomllib.loads(text))
        assert (checked.returncode == 0, valid) == (text in taken, text in taken), (text, checked.stderr)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "elvish", "powershell"])
def test_completions_are_scripts_of_their_shell(shell, tmp_path):
    done = run("completions", shell)
    assert done.returncode == 0 and "siltstone" in done.stdout and "projection" in done.stdout
    if shell == "bash":
        script = tmp_path / "completions"
        script.write_text(done.stdout)
        ask = f"source {script}; COMP_WORDS=(siltstone log ver); COMP_CWORD=2; _siltstone siltstone ver log; echo ${{COMPREPLY[@]}}"
        answer = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=30)
        assert answer.stdout.split() == ["verify"], answer
    assert run("completions", "csh").returncode == 2


def test_manual_pages_describe_each_command(tmp_path):
    assert run("man").stdout.count(".SH") > 3
    done = run("man", tmp_path / "pages")
    names = {os.path.basename(line) for line in done.stdout.split()}
    assert names == {path.name for path in (tmp_path / "pages").iterdir()}
    assert {"siltstone.1", "siltstone-log-verify.1", "siltstone-admin-user-create.1"} <= names
    page = (tmp_path / "pages" / "siltstone-log-export.1").read_text()
    assert re.search(r"siltstone.{1,6}log.{1,6}export", page) and "resume" in page


def test_export_has_every_record_once_and_no_secrets(stopped, tmp_path):
    exported = run("log", "export", stopped)
    assert exported.returncode == 0, exported.stderr
    records = lines(exported.stdout)
    assert [record["position"] for record in records] == list(range(1, len(records) + 1))
    puts = [record for record in records if record["event"] == "ObjectPut"]
    assert [put["body"]["key"] for put in puts] == [f"k{number:02}" for number in range(40)]
    assert all(re.fullmatch("[0-9a-f]{32}", put["stream"]) for put in puts)
    assert puts[3]["actor"]["door"] == "S3" and puts[3]["body"]["size"] == 3
    (key,) = [record for record in records if record["event"] == "AccessKeyCreated"]
    assert key["body"]["secret"] == "sealed"
    verified = json.loads(run("log", "verify", stopped, "--json").stdout)
    heads = {stream["stream"]: stream["head"] for stream in verified["streams"]}
    assert {record["stream"]: record["head"] for record in records} == heads
    inspected = run("log", "inspect", stopped, "-o", "ndjson")
    assert inspected.stdout == exported.stdout, "one form of a record"
    for command in ("export", "inspect", "tail"):
        for wrong in (("--event", "Foo"), ("--stream", "foo")):
            refused = run("log", command, stopped, *wrong)
            assert refused.returncode == 2 and wrong[1] in refused.stderr and refused.stdout == ""
    some = run("log", "export", stopped, "--from", 5, "--to", 9)
    assert lines(some.stdout) == records[4:9]
    assert lines(run("log", "export", stopped, "--to", records[20]["time"]).stdout) == [
        record for record in records if record["time"] <= records[20]["time"]
    ]
    assert lines(run("log", "inspect", stopped, "--from", records[20]["time"], "-o", "ndjson").stdout) == [
        record for record in records if record["time"] >= records[20]["time"]
    ]
    assert run("log", "export", stopped, "--from", "1h ago").stdout == exported.stdout
    assert run("log", "export", stopped, "--to", "1h ago").stdout == ""
    for command in ("export", "inspect", "tail"):
        refused = run("log", command, stopped, "--from", "yesterday")
        assert refused.returncode == 2 and "2h ago" in refused.stderr
    streams = run("log", "export", stopped, "--stream", "system")
    assert lines(streams.stdout) == [record for record in records if record["name"] == "system"]


def test_an_export_that_was_cut_off_goes_on(stopped, tmp_path):
    whole = run("log", "export", stopped).stdout
    file = tmp_path / "export"
    first = run("log", "export", stopped, "--file", file, "--to", 20)
    assert first.returncode == 0 and first.stdout.startswith("20 records")
    again = run("log", "export", stopped, "--file", file)
    assert again.returncode == 5 and "--resume" in again.stderr
    for cut in (0, 1, 40):
        os.truncate(file, file.stat().st_size - cut)
        done = run("log", "export", stopped, "--file", file, "--resume")
        assert done.returncode == 0, done.stderr
        assert file.read_text() == whole
    (position,) = lines(whole)[-1:]
    assert done.stdout.startswith("1 records added to ") and f"position {position['position']}" in done.stdout
    again = run("log", "export", stopped, "--file", file, "--resume")
    assert again.returncode == 0 and again.stdout.startswith("nothing to add to ") and file.read_text() == whole
    file.write_text("notes\n")
    assert run("log", "export", stopped, "--file", file, "--resume").returncode == 1
    assert file.read_text() == "notes\n"


def test_an_export_past_damage_says_so(stopped, tmp_path):
    damaged = tmp_path / "data"
    shutil.copytree(stopped, damaged)
    (segment,) = (damaged / "log").glob("*.seg")
    raw = bytearray(segment.read_bytes())
    at = raw.index(b"k20")
    raw[at] ^= 1
    segment.write_bytes(raw)
    done = run("log", "export", damaged)
    assert done.returncode == 6
    (lost,) = [record["unreadable"] for record in lines(done.stdout) if "unreadable" in record]
    assert lost["first"] == lost["last"] and not lost["accepted"]


def test_tail_shows_the_last_records(stopped):
    records = lines(run("log", "export", stopped).stdout)
    tail = run("log", "tail", stopped, "-n", 3, "-o", "ndjson")
    assert lines(tail.stdout) == records[-3:]
    assert json.loads(run("log", "tail", stopped, "-n", 1000, "--json").stdout) == records
    assert lines(run("log", "tail", stopped, "--from", 30, "-o", "ndjson").stdout) == records[29:]
    puts = [record for record in records if record["event"] == "ObjectPut"]
    assert lines(run("log", "tail", stopped, "-n", 2, "--event", "ObjectPut", "-o", "ndjson").stdout) == puts[-2:]
    table = run("log", "tail", stopped, "-n", 1).stdout.splitlines()
    assert len(table) == 2 and "POSITION" in table[0]


def read_until(stream, wanted, seconds=30):
    """Whole lines until one has the wanted text, with nothing behind it; fails when it does not come in time."""
    guard, found = time.monotonic() + seconds, b""
    while wanted not in found or not found.endswith(b"\n"):
        ready, _, _ = select.select([stream], [], [], max(0, guard - time.monotonic()))
        assert ready, found
        piece = os.read(stream, 1 << 16)
        assert piece, found
        found += piece
    return found


def test_tail_follows_a_running_server_from_segment_to_segment(tmp_path):
    server = Server(tmp_path / "data", environment={"SILTSTONE_LOG__SEGMENT_SIZE": "64 KiB"}).start()
    client = server.client()
    client.create_bucket(Bucket="live")
    command = [BINARY, "log", "tail", server.data_dir, "--follow", "-n", "1", "--event", "ObjectPut", "--json"]
    # Whoever runs the tests in the background may have them ignore SIGINT, which children inherit.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    follower = subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=heed)
    try:
        found = b""
        for number in range(60):
            client.put_object(Bucket="live", Key=f"key-{number:02}", Body=b"x" * 4000)
            if number % 20 == 19:
                found += read_until(follower.stdout.fileno(), b"key-%02d" % number)
        records = lines(found.decode())
        keys = [record["body"]["key"] for record in records]
        # Where it began depends on how fast it started; from there on nothing is missing and nothing comes twice.
        begin = int(keys[0].removeprefix("key-"))
        assert keys == [f"key-{number:02}" for number in range(begin, 60)]
        assert begin < 20 and len(list((server.data_dir / "log").glob("*.seg"))) > 3
    finally:
        follower.send_signal(signal.SIGINT)
        assert follower.wait(30) == -signal.SIGINT  # which a shell shows as 130
        follower.stdout.close()
    assert server.stop() == 0


def test_a_replay_has_the_digest_of_the_store_and_leaves_the_store_alone(stopped, tmp_path):
    expected = digest(stopped)
    before = {path: path.stat().st_mtime_ns for path in stopped.rglob("*")}
    done = run("log", "replay", stopped, "--into", tmp_path / "copy", "--json")
    assert done.returncode == 0, done.stderr
    replayed = json.loads(done.stdout)
    assert {name: replayed[name] for name in expected} == expected
    assert {path: path.stat().st_mtime_ns for path in stopped.rglob("*")} == before
    again = run("log", "replay", stopped, "--into", tmp_path / "copy")
    assert again.returncode == 5 and "exists" in again.stderr
    inside = run("log", "replay", stopped, "--into", stopped / "mine")
    assert inside.returncode == 2 and not (stopped / "mine").exists()
    part = json.loads(run("log", "replay", stopped, "--into", tmp_path / "part", "--to", 20, "--json").stdout)
    assert part["position"] == 20 and part["state"] != expected["state"]


def test_a_replay_works_beside_a_running_server(own_server, tmp_path):
    client = own_server.client()
    client.create_bucket(Bucket="beside")
    client.put_object(Bucket="beside", Key="k", Body=b"v")
    done = run("log", "replay", own_server.data_dir, "--into", tmp_path / "copy", "--json")
    assert done.returncode == 0, done.stderr
    assert own_server.stop() == 0
    assert json.loads(done.stdout)["records"] >= 3


LONG = [
    ("log", "verify"), ("log", "stats"), ("log", "repair"), ("projection", "digest"), ("projection", "verify"), ("projection", "rebuild"),
]


@pytest.mark.parametrize("command", LONG, ids=" ".join)
def test_progress_keeps_off_stdout(stopped, command):
    plain = run(*command, stopped, "--json", "--progress", "plain")
    assert plain.returncode == 0, plain.stderr
    assert json.loads(plain.stdout)
    assert re.search(r"^\w+: 100 %, .* done in", plain.stderr, re.M), plain.stderr
    quiet = run(*command, stopped, "--json")
    assert quiet.returncode == 0 and quiet.stderr == "", "no bar where stderr is no terminal"
    assert json.loads(quiet.stdout)


def on_terminal(*arguments, environment=None):
    """Runs a command with stderr on a terminal; returns (stdout, what the terminal got)."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [BINARY, *map(str, arguments)],
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        )
        out, _ = process.communicate(timeout=60)
        os.set_blocking(ours, False)
        shown = b""
        while select.select([ours], [], [], 0)[0]:
            piece = os.read(ours, 1 << 16)
            if not piece:
                break
            shown += piece
        return out.decode(), shown.decode(errors="replace")
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_bar_is_drawn_on_a_terminal_only(stopped):
    out, shown = on_terminal("log", "verify", stopped, "--json")
    assert "verify" in shown and "%" in shown and json.loads(out)["intact"]
    out, shown = on_terminal("log", "verify", stopped, "--json", "--progress", "off")
    assert shown == "" and json.loads(out)["intact"]


def test_colour_is_for_terminals_without_no_color():
    _, coloured = on_terminal("no-such-command")
    assert "\x1b[" in coloured
    _, plain = on_terminal("no-such-command", environment={"NO_COLOR": "1"})
    assert "\x1b[" not in plain and "no-such-command" in plain
    assert "\x1b[" not in run("no-such-command").stderr


EVERYWHERE = [
    ("version",), ("config", "show"), ("config", "check"), ("log", "verify", "DIR"), ("log", "stats", "DIR"),
    ("log", "tail", "DIR"), ("projection", "digest", "DIR"),
]


@pytest.mark.parametrize("command", EVERYWHERE, ids=" ".join)
def test_every_answer_has_a_form_for_programs(stopped, command):
    command = [stopped if word == "DIR" else word for word in command]
    value = json.loads(run(*command, "--json").stdout)
    assert json.loads(run(*command, "-o", "json").stdout) == value
    as_lines = lines(run(*command, "-o", "ndjson").stdout)
    assert as_lines == (value if isinstance(value, list) else [value])
    yaml = run(*command, "-o", "yaml")
    assert yaml.returncode == 0 and yaml.stdout.count("\n") >= len(value)


def test_errors_say_what_to_do_next(stopped, tmp_path):
    missing = run("log", "verify", tmp_path)
    assert missing.returncode == 3 and "--data-dir" in missing.stderr and missing.stdout == ""
    nobody = run("admin", "user", "ls", "--endpoint", "http://127.0.0.1:1", environment={
        "SILTSTONE_ACCESS_KEY": "a", "SILTSTONE_SECRET_KEY": CANARY})
    assert nobody.returncode == 7 and "SILTSTONE_ENDPOINT" in nobody.stderr and CANARY not in nobody.stderr
    unsigned = run("admin", "user", "ls")
    assert unsigned.returncode == 4 and "SILTSTONE_ACCESS_KEY" in unsigned.stderr


def test_what_destroys_needs_a_yes_where_nobody_can_be_asked(shared_server):
    assert shared_server.admin("user", "create", "kept").returncode == 0
    refused = shared_server.admin("user", "rm", "kept", stdin="y\n")
    assert refused.returncode == 5 and "--yes" in refused.stderr
    assert "kept" in shared_server.admin("user", "ls").stdout
    assert shared_server.admin("user", "rm", "kept", "--yes").returncode == 0
    gone = shared_server.admin("user", "rm", "kept", "--yes")
    assert gone.returncode == 3 and SECRET_KEY not in gone.stderr


def test_a_change_can_be_tried_before_it_is_made(shared_server):
    tried = shared_server.admin("user", "create", "tried", "--dry-run", "--json")
    answer = json.loads(tried.stdout)
    assert tried.returncode == 0 and answer["dry_run"] is True and answer["position"] is None
    assert shared_server.admin("user", "get", "tried").returncode == 3
    assert shared_server.admin("user", "create", "tried").returncode == 0
    assert shared_server.admin("user", "create", "tried", "--dry-run").returncode == 5
    key = json.loads(shared_server.admin("key", "create", "--user", "tried", "--dry-run", "--json").stdout)
    assert key["secret_key"] is None and json.loads(shared_server.admin("key", "ls", "--user", "tried", "--json").stdout) == []
    assert shared_server.admin("user", "rm", "tried", "--dry-run").returncode == 0, "nothing to confirm"
    user = json.loads(shared_server.admin("user", "get", "tried", "--json").stdout)
    assert (user["user"], user["status"]) == ("tried", "active")


def test_a_server_has_a_name_in_a_file_that_is_closed_to_others(shared_server, tmp_path):
    home = {"HOME": str(tmp_path)}
    file = tmp_path / ".config" / "siltstone" / "profiles.json"
    endpoint = ("--endpoint", shared_server.ready["console"])
    key = ("--access-key", ACCESS_KEY, "--secret-key-file", "-")
    assert json.loads(run("profile", "ls", "--json", environment=home).stdout) == []
    added = run("profile", "add", "here", *endpoint, *key, environment=home, stdin=SECRET_KEY + "\n")
    assert added.returncode == 0, added.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    taken = run("profile", "add", "here", *endpoint, environment=home)
    assert taken.returncode == 5 and "profile rm" in taken.stderr
    listed = run("profile", "ls", "--json", environment=home)
    assert [profile["access_key"] for profile in json.loads(listed.stdout)] == [ACCESS_KEY]
    assert SECRET_KEY not in listed.stdout + run("profile", "ls", environment=home).stdout
    for chosen in (["--profile", "here"], []):
        variables = {**home, "SILTSTONE_PROFILE": "here" if not chosen else "gone"}
        assert run("admin", "user", "ls", *chosen, environment=variables).returncode == 0
    # What a flag says comes first, then the profile, then the variables.
    wrong = {**home, "SILTSTONE_ENDPOINT": "http://127.0.0.1:1", "SILTSTONE_ACCESS_KEY": "a", "SILTSTONE_SECRET_KEY": CANARY}
    assert run("admin", "user", "ls", "--profile", "here", environment=wrong).returncode == 0
    flag = run("admin", "user", "ls", "--profile", "here", "--endpoint", "http://127.0.0.1:1", environment=home)
    assert flag.returncode == 7
    gone = run("admin", "user", "ls", "--profile", "gone", environment=home)
    assert gone.returncode == 3 and "profile ls" in gone.stderr
    file.chmod(0o644)
    refused = run("profile", "ls", environment=home)
    assert refused.returncode == 4 and "chmod 600" in refused.stderr and SECRET_KEY not in refused.stderr
    file.chmod(0o600)
    assert run("profile", "rm", "here", environment=home).returncode == 5
    assert run("profile", "rm", "here", "--yes", environment=home).returncode == 0
    assert run("profile", "rm", "here", "--yes", environment=home).returncode == 3
    assert json.loads(file.read_text()) == {}
    file.write_text('{"here": "' + CANARY)
    broken = run("profile", "ls", environment=home)
    assert broken.returncode == 1 and CANARY not in broken.stderr and file.read_text().endswith(CANARY)


def test_profiles_that_are_added_at_once_are_all_kept(tmp_path):
    def add(name):
        return subprocess.Popen([str(BINARY), "profile", "add", name, "--endpoint", "http://127.0.0.1:1"], env={"HOME": str(tmp_path)})

    names = [f"p{number}" for number in range(8)]
    assert [process.wait(60) for process in [add(name) for name in names]] == [0] * 8
    listed = json.loads(run("profile", "ls", "--json", environment={"HOME": str(tmp_path)}).stdout)
    assert [profile["profile"] for profile in listed] == names


def test_a_secret_that_is_too_long_is_refused_and_never_cut(tmp_path):
    home, long = {"HOME": str(tmp_path)}, "s" * 4097
    (tmp_path / "secret").write_text(long)
    for source, stdin in (("-", long), (str(tmp_path / "secret"), None)):
        refused = run(
            "profile", "add", "p", "--endpoint", "http://127.0.0.1:1", "--access-key", "A", "--secret-key-file", source,
            environment=home, stdin=stdin,
        )
        assert refused.returncode == 1 and "longer" in refused.stderr and long not in refused.stderr
    assert run("profile", "ls", "--json", environment=home).stdout.strip() == "[]"
