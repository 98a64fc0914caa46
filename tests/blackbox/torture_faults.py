"""Faults on the real program, each while a load runs. A fault ends with the server gone and the disk well again; what the
server promises meanwhile it asserts itself, what must be there afterwards `torture.py` compares."""

import os
import shutil
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

from botocore.exceptions import BotoCoreError, ClientError
from crash_workload import BUCKET, content_of, wait_for
from siltstone import run, verify
from test_objects import KIB, MIB



def kill_9(bench):
    """kill -9 under load."""
    bench.server.kill()


def interrupted_start(bench, interrupt):
    """Ends several starts after a random while each: recovery, catching up, or a rebuild of the projections."""
    for _ in range(3):
        if bench.dice.random() < 0.4:
            shutil.rmtree(bench.data / "projections", ignore_errors=True)
        lines, _ = bench.server.launch()
        try:
            code = bench.server.process.wait(bench.dice.uniform(0.01, 0.5))
            raise AssertionError(f"the start failed with {code}:\n{''.join(lines)}")
        except subprocess.TimeoutExpired:
            interrupt()


def kill_9_at_start(bench):
    """kill -9 under load, and again while it starts, with the projections deleted at random."""
    bench.server.kill()
    interrupted_start(bench, bench.server.kill)


def cut(bench):
    """The power goes; half of the time the server meets the dead disk, and must end by itself, before it is gone too."""
    bench.volume.cut_power()
    if bench.server.process is not None and bench.dice.random() < 0.5 and bench.ready:
        assert bench.server.wait(30) == 74
    bench.server.kill()
    bench.volume.restore_power()


def power_cut(bench):
    """A power cut under load: what was not synced is gone, the file system's journal is replayed."""
    cut(bench)


def power_cut_at_start(bench):
    """A power cut under load, and again while it starts."""
    cut(bench)
    bench.ready = False
    interrupted_start(bench, lambda: cut(bench))


@contextmanager
def injected(bench, calls, what, files=()):
    """System calls of the running server fail or wait, those on `files` only where given. Needs ptrace. One must have been hit."""
    trace = bench.volume.path.parent / "trace"
    only = [word for file in files for word in ("-P", str(file))]
    tracer = subprocess.Popen(
        ["strace", "-f", "-o", str(trace), *only, "-e", f"trace={calls}", "-e", f"inject={calls}:{what}",
         "-p", str(bench.server.process.pid)], stderr=subprocess.PIPE, text=True)
    said = tracer.stderr.readline()
    assert "attached" in said, said
    drain = threading.Thread(target=tracer.stderr.read, daemon=True)
    drain.start()
    try:
        yield
    finally:
        tracer.terminate()
        tracer.wait()
        drain.join()
    hit = trace.read_text()
    assert "(INJECTED)" in hit or "(DELAYED)" in hit, f"no {calls} was hit"


def failed_fsync(bench):
    """fdatasync fails from the n-th call on: exit code 74. Half of the time what was written is lost too (fsyncgate)."""
    with injected(bench, "fdatasync", f"error=EIO:when={bench.dice.randint(1, 30)}+"):
        assert bench.server.wait(30) == 74
    if bench.dice.random() < 0.5:
        bench.volume.cut_power()
        bench.volume.restore_power()


def unreadable_disk(bench):
    """Reads of segments and packs fail with EIO for a while: errors are allowed, wrong bytes are not."""
    files = [*(bench.data / "log").glob("*.seg"), *(bench.data / "packs").iterdir()]
    with injected(bench, "pread64,preadv,read", f"error=EIO:when={bench.dice.randint(1, 4)}+2", files):
        for worker in bench.workers:
            for name in worker.keys:
                try:
                    bench.client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
                except (ClientError, BotoCoreError):
                    pass
    bench.server.kill()
    come_to_its_senses(bench)


def slow_disk(bench):
    """Each fdatasync takes 50 to 300 ms longer: slower, and still right."""
    with injected(bench, "fdatasync", f"delay_enter={bench.dice.randint(50_000, 300_000)}"):
        still_works(bench, 2)
    bench.server.kill()


def still_works(bench, seconds):
    """Every worker goes on, and together they get answers."""
    before = sum(worker.acknowledged for worker in bench.workers)
    ended = wait_for(bench.workers, seconds)
    assert not ended, f"{ended} ended: {[worker.failure for worker in bench.workers]}"
    assert sum(worker.acknowledged for worker in bench.workers) > before, "no answer"


def paused(bench):
    """SIGSTOP, seconds, SIGCONT: it goes on where it was."""
    os.killpg(bench.server.process.pid, signal.SIGSTOP)
    ended = wait_for(bench.workers, bench.dice.uniform(0.5, 3))
    assert not ended, f"{ended} ended while it was stopped"
    os.killpg(bench.server.process.pid, signal.SIGCONT)
    still_works(bench, 1)
    bench.server.kill()


def clock_jump(bench):
    """The wall clock jumps by up to 13 minutes to and fro (a signature is good for 15), and is right after the restart."""
    for jump in bench.dice.choice([(60, -780), (780, -60), (-780, 60), (-60, 780)]):
        bench.clock.write_text(f"{jump:+d}")
        off = server_clock(bench) - time.time()
        assert abs(off - jump) < 5, f"the server's clock is off by {off} s and not {jump}"
        still_works(bench, 0.5)
    bench.server.kill()
    bench.clock.write_text("+0")


def server_clock(bench):
    """The server's wall clock, in seconds since 1970, as its answers show it."""
    answer = bench.client.head_bucket(Bucket=BUCKET)
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()


def full_disk(bench):
    """Something else takes the room: what does not fit is refused, reads and deletes go on. Half of the time it is killed
    and started like that; then the room comes back, and it stores again without a restart."""
    filler = bench.volume.fill(24 * MIB)
    wait_for(bench.workers, 1)
    if bench.dice.random() < 0.5:
        bench.server.kill()
        bench.join()
        bench.server.start()
        bench.client = bench.server.client()
    refused = store(bench, "while-full")
    assert refused in (503, 507), f"a full disk answered {refused}"
    assert bench.client.list_objects_v2(Bucket=BUCKET)["KeyCount"] >= 0
    bench.client.delete_object(Bucket=BUCKET, Key="never-there")
    filler.unlink()
    recovered = threading.Event()
    guard = threading.Timer(30, recovered.set)
    guard.start()
    while store(bench, "room-again") != 200:
        assert not recovered.wait(0.05), "it did not recover by itself"
    guard.cancel()
    bench.client.delete_object(Bucket=BUCKET, Key="room-again")
    bench.server.kill()


def store(bench, name):
    """The HTTP status of a PUT."""
    try:
        bench.client.put_object(Bucket=BUCKET, Key=name, Body=b"x" * (100 * KIB))
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"]
    return 200


def rot(bench):
    """A byte of a stored object flips while the server is off. `log verify` names one range where it lay in the log; its
    readers get an error and all others what they stored; nothing is truncated."""
    assert bench.server.stop() == 0
    bench.join()
    bench.server.start()
    bench.check()
    assert bench.server.stop() == 0
    name, file, at = sought = find_content(bench)
    flip(file, at)
    size = file.stat().st_size
    verified = run("log", "verify", bench.data)
    in_log = file.suffix == ".seg"
    assert verified.returncode == (6 if in_log else 0), (sought, verified.stdout)
    bench.server.start()
    client = bench.server.client()
    for worker in bench.workers:
        for key, place in worker.keys.items():
            try:
                found = content_of(lambda: client.get_object(Bucket=BUCKET, Key=key))
                assert key != name, f"the damage of {sought} is not seen"
                place.settle(found, key)
            except (ClientError, BotoCoreError) as error:
                assert key == name, f"{key} suffers from {sought}: {error}"
    if in_log:
        deadline = time.monotonic() + 10
        while not (bench.data / "log" / "QUARANTINE").exists():
            assert time.monotonic() < deadline, "what a reader met is not remembered"
            time.sleep(0.02)
    assert bench.server.stop() == 0
    assert file.stat().st_size == size, f"{file} was truncated"
    flip(file, at)
    come_to_its_senses(bench)


def come_to_its_senses(bench):
    """The disk is whole again, but `log/QUARANTINE` may remember what a reader met: a repair ends that. It gives up nothing
    that can be read, as the comparison after it shows."""
    repaired = run("log", "repair", bench.data, "--accept-loss")
    assert repaired.returncode == 0, repaired.stdout + repaired.stderr
    verify(bench.data)


def find_content(bench):
    """(key, file, offset) of a byte in the content of a key: its body repeats 32 random bytes, which are sought."""
    bench.server.start()
    client, keys = bench.server.client(), [name for worker in bench.workers for name, place in worker.keys.items()
                                           if place.state and place.state[2] >= 4 * KIB]
    assert keys, "no key holds anything to damage"
    name = bench.dice.choice(keys)
    start = client.get_object(Bucket=BUCKET, Key=name, Range="bytes=0-511")["Body"].read()
    assert bench.server.stop() == 0
    for file in sorted([*(bench.data / "log").glob("*.seg"), *(bench.data / "packs").iterdir()]):
        at = file.read_bytes().find(start)
        if at >= 0:
            return name, file, at + 200
    raise AssertionError(f"no file holds {name}")


def flip(file, at):
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 0x10]))


KINDS = [kill_9, kill_9_at_start, power_cut, power_cut_at_start, failed_fsync, unreadable_disk, rot, full_disk, slow_disk, paused,
         clock_jump]
